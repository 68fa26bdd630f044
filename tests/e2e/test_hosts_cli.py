"""perfctl hosts, and what a held host means for provision and reap: real leases on this machine."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from perfctl.cli import main_group
from perfctl.errors import HostLeased, HostUnreachable
from perfctl.execute import reap_all
from perfctl.job import Claim, HostLease, JobShell, reap
from perfctl.model import Benchmark, Host, Suite, new_id
from perfctl.plan import make_plan, plan_to_json
from perfctl.provision import provision, undo
from perfctl.shell.local import LocalShell
from perfctl.store import open_store
from perfctl.workloads import resolve_parameters, workload
from tests.contract.job_spool import agent_pid
from tests.processes import unique_seconds, wait_until, with_argument
from tests.unit import store_cases as cases

TRANSPORT = LocalShell("here")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host("here", "127.0.0.1", "local", state_dir=str(tmp_path))


@pytest.fixture
def inventory(tmp_path: Path) -> str:
    path = tmp_path / "hosts.yml"
    settings = f"{{ansible_connection: local, perf_state_dir: {tmp_path}}}"
    path.write_text(f"all:\n  hosts:\n    here: {settings}\n")
    return str(path)


@pytest.fixture
def held(host: Host) -> Iterator[HostLease]:
    lease = HostLease.take(TRANSPORT, host, Claim.make("run", "run-1"))
    yield lease
    lease.release()


def hosts(inventory: str, *arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(main_group, ["hosts", "-i", inventory, *arguments], input=answer)


def row(result: Result) -> dict[str, object]:
    assert result.exception is None, result.output
    (found,) = json.loads(result.stdout)["rows"]
    assert isinstance(found, dict)
    return found


def test_a_free_host(inventory: str) -> None:
    found = row(hosts(inventory, "--format", "json"))
    assert (found["host"], found["state"], found["owner"]) == ("here", "free", None)


def test_a_held_host_is_shown_in_every_format(inventory: str, held: HostLease) -> None:
    found = row(hosts(inventory, "--format", "json"))
    assert (found["state"], found["purpose"], found["run_id"]) == ("held", "run", "run-1")
    assert found["owner"]
    left_s = found["left_s"]
    assert isinstance(left_s, float)
    assert 0 < left_s <= 180
    (line,) = csv.DictReader(io.StringIO(hosts(inventory, "--format", "csv").stdout))
    assert (line["state"], line["run_id"]) == ("held", "run-1")
    for fmt in ("table", "md"):
        assert "run-1" in hosts(inventory, "--format", fmt).stdout


def test_stealing_asks_first(inventory: str, held: HostLease) -> None:
    refused = hosts(inventory, "--steal", answer="n\n")
    assert refused.exit_code != 0
    assert "here: held, run run-1 of" in refused.stderr
    assert row(hosts(inventory, "--format", "json"))["state"] == "held"
    taken = hosts(inventory, "--steal", "--format", "json", answer="y\n")
    assert row(taken)["state"] == "free"


def test_stealing_with_consent_ends_what_runs_there(inventory: str, host: Host) -> None:
    run_id, seconds = new_id(), unique_seconds()
    lease = HostLease.take(TRANSPORT, host, Claim.make("run", run_id))
    jobs = JobShell.start(TRANSPORT, run_id, lifetime_s=600, spool_root=host.spool_root, lease=lease)
    try:
        jobs.spawn(["sleep", seconds])
        wait_until(lambda: with_argument(seconds), "the command to run")
        assert row(hosts(inventory, "--steal", "--yes", "--format", "json"))["state"] == "free"
        assert with_argument(seconds) == []
        assert not Path(jobs.spool).exists()
    finally:
        reap(TRANSPORT, run_id, discard=True, spool_root=host.spool_root)


def test_a_host_that_is_away_is_named(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text("all:\n  hosts:\n    gone: {ansible_host: 127.0.0.1, ansible_port: 1}\n")
    result = hosts(str(path), "--format", "json")
    assert isinstance(result.exception, HostUnreachable)
    assert json.loads(result.stdout)["rows"][0]["state"] == "unreachable"


@pytest.mark.parametrize("change", [provision, undo])
def test_a_held_host_is_not_changed(change: Callable[..., object], inventory: str, held: HostLease) -> None:
    with pytest.raises(HostLeased, match="run-1") as refused:
        change([inventory])
    assert (refused.value.where, refused.value.exit_code) == ("here", 6)


def leave_behind(host: Host, run_id: str, seconds: str) -> None:
    """Leave what a run leaves that lost its host: a result, and a background command without its server."""
    jobs = JobShell.start(TRANSPORT, run_id, lifetime_s=600, spool_root=host.spool_root)
    jobs.run_job("job-1", ["true"], 30)
    jobs.spawn(["sleep", seconds])
    os.kill(agent_pid(jobs.spool), signal.SIGKILL)
    wait_until(lambda: with_argument(seconds), "the command to run")


def test_reap_all_removes_the_files_of_a_run_that_ended_as_partial(tmp_path: Path, inventory: str) -> None:
    database, machines = str(tmp_path / "results.db"), [Host("here", "127.0.0.1", "local")]
    tool = workload("sysbench")
    settings = resolve_parameters(tool, {"test": "fileio", "directory": str(tmp_path)})
    benchmark = Benchmark("io", tool.name, settings, expected_s=1)
    plan = make_plan(Suite("s", "", "native", (cases.NATIVE,), (benchmark,), 1), machines, seed="1")
    partial, complete = new_id(), new_id()
    left = tmp_path / "perfctl-fileio"
    with open_store(database, create=True) as store:
        for run_id in (partial, complete):
            store.writer.begin_run(
                *(run_id, plan, plan_to_json(plan), machines),
                command=(),
                perfctl_version="0",
                inventory=(inventory,),
            )
        store.writer.end_run(complete, "complete")
        store.writer.end_run(partial, "partial")
    left.mkdir()
    reaping = reap_all(database_url=database)
    assert reaping.failures == []
    found = [(item.run_id, item.host, item.kind, item.name) for item in reaping.removed]
    assert found == [(partial, "here", "files", str(left))]
    assert not left.exists()
    with open_store(database) as store:
        assert store.run(partial).detail().summary.status == "partial"


@pytest.mark.parametrize("is_known", [True, False], ids=["ended", "of-another-database"])
def test_reap_all_looks_at_every_known_host(
    tmp_path: Path, host: Host, inventory: str, is_known: bool
) -> None:
    database, run_id, seconds = str(tmp_path / "results.db"), new_id(), unique_seconds()
    machines = [Host("here", "127.0.0.1", "local")]
    plan = make_plan(Suite("s", "", "native", (cases.NATIVE,), (cases.CPU,), 1), machines, seed="1")
    with open_store(database, create=True) as store:
        store.writer.begin_run(
            run_id,
            plan,
            plan_to_json(plan),
            machines,
            command=(),
            perfctl_version="0",
            inventory=(inventory,),
        )
        store.writer.end_run(run_id, "complete")
    left = run_id if is_known else new_id()
    leave_behind(host, left, seconds)
    try:
        reaping = reap_all(database_url=database)
        assert reaping.failures == []
        removed = {(item.host, item.kind) for item in reaping.removed if item.run_id == left}
        assert ("here", "job") in removed
        assert with_argument(seconds) == []
        # A result of a run that this database does not know may be collected by the one that does.
        assert (("here", "result") in removed) is is_known
        assert [item for item in reap_all(database_url=database).removed if item.run_id == left] == []
    finally:
        reap(TRANSPORT, left, discard=True, spool_root=host.spool_root)
