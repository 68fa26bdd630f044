"""A run on many hosts that are not there: what grows with them, and what does not."""

from __future__ import annotations

import resource
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from perfctl.errors import UsageError
from perfctl.execute import RunOutcome, execute_run, execute_shard, resume_run, scheduler
from perfctl.inventory import load_hosts
from perfctl.job import hosts as job_hosts
from perfctl.model import Event, InvocationEnded, Suite, new_id
from perfctl.plan import make_plan
from perfctl.plan.file import PlanFile
from perfctl.plan.request import PlannedRun
from perfctl.plan.shards import Shard
from perfctl.report.comparison import comparison_report
from perfctl.shell.open_files import allow_open_files
from perfctl.store import open_store
from perfctl.transfer import merge
from tests.e2e.local_run import NATIVE, QUICK
from tests.fake_fleet import FakeFleet


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[FakeFleet]:
    """Return a fleet that runs reach instead of real hosts."""
    made = FakeFleet(tmp_path / "spool")
    yield made
    made.close()


def open_files() -> int:
    """Return how many descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def measure(fleet: FakeFleet, count: int, database: Path) -> tuple[int, int]:
    """Run on so many hosts; return how many threads and descriptors there were when one ended, at most."""
    hosts = fleet.hosts(count)
    plan = make_plan(Suite("quick", "", "native", (NATIVE,), (QUICK,), 1), hosts, seed="1")
    most_threads, most_files = 0, 0

    def look(event: Event) -> None:
        nonlocal most_threads, most_files
        if isinstance(event, InvocationEnded):
            most_threads = max(most_threads, threading.active_count())
            most_files = max(most_files, open_files())

    planned = PlannedRun(new_id(), plan, hosts, force=True)
    outcome = execute_run(
        planned, database_url=str(database), command=(), listener=look, connect=fleet.connect
    )
    assert (outcome.status, outcome.ok, outcome.failed) == ("complete", 2 * count, 0)
    return most_threads, most_files


def test_threads_and_descriptors_are_one_for_each_host(fleet: FakeFleet, tmp_path: Path) -> None:
    threads, files, interval_s = threading.active_count(), open_files(), sys.getswitchinterval()
    for count in (8, 60):
        fleet.dials.clear()
        most_threads, most_files = measure(fleet, count, tmp_path / f"{count}.db")
        # One for each track besides the writer's and its own; one socket besides the database's files.
        assert most_threads <= threads + count + 4
        assert count <= most_files - files <= count + 16
        assert set(fleet.dials.values()) == {1} and len(fleet.dials) == count
        assert fleet.open_count == 0
    assert threading.active_count() <= threads
    assert sys.getswitchinterval() == interval_s


def test_eight_shards_are_one_run_with_the_verdicts_of_one_controller(
    fleet: FakeFleet, tmp_path: Path
) -> None:
    """Four of eight controllers write to one database; the others' results are merged into it."""
    state = "perf_state_dir: /nowhere"
    lines = [
        f"    {host.name}: {{ansible_host: {host.address}, ansible_port: {host.port}, {state}}}"
        for host in fleet.hosts(24)
    ]
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("\n".join(["all:", "  hosts:", *lines, ""]))
    other = replace(NATIVE, name="other", env=(("A", "b"),))
    suite = Suite("quick", "", "native", (NATIVE, other), (QUICK,), 2)
    hosts = tuple(load_hosts([str(inventory)]))
    planned = PlannedRun(new_id(), make_plan(suite, hosts, seed="1"), hosts, (str(inventory),))
    path = tmp_path / "plan.json"
    PlanFile.of(planned, ()).write(path)

    def measure_shard(number: int, count: int, database: Path) -> RunOutcome:
        shard = Shard(number, count)
        return execute_shard(
            PlanFile.read(path),
            shard,
            database_url=str(database),
            listener=lambda _: None,
            force=True,
            connect=fleet.connect,
        )

    outcome = measure_shard(1, 1, tmp_path / "alone.db")
    assert (outcome.status, outcome.ok, outcome.failed) == ("complete", 144, 0)
    fleet.dials.clear()
    shared = tmp_path / "all.db"
    for number in range(1, 9):
        outcome = measure_shard(number, 8, shared if number < 5 else tmp_path / f"{number}.db")
        assert (outcome.status, outcome.ok) == ("complete", 18 * number if number < 5 else 18)
    with pytest.raises(UsageError, match="shard 2/8 was begun"):
        measure_shard(2, 8, shared)
    with pytest.raises(UsageError, match="nothing is left to do"):
        resume_run(
            "latest", database_url=str(shared), listener=print, shard=Shard(2, 8), connect=fleet.connect
        )
    with open_store(shared) as store:
        assert (store.runs()[0].status, store.runs()[0].missing) == ("planned", "shards 5, 6, 7, 8 of 8")
        for number in range(5, 9):
            with open_store(tmp_path / f"{number}.db", read_only=True) as theirs:
                merge(theirs, store)
        assert set(fleet.dials.values()) == {1} and len(fleet.dials) == 24
        (run,) = store.runs()
        assert (run.status, run.ok, run.missing, len(run.shards)) == ("complete", 144, "", 8)
        with open_store(tmp_path / "alone.db", read_only=True) as alone:
            found, wanted = (comparison_report(one, "latest") for one in (store, alone))
            assert found.comparisons == wanted.comparisons and len(found.comparisons) > 0
            where = {name: getattr(wanted, name) for name in ("run", "database", "health")}
            assert replace(found, **where) == wanted


def test_python_changes_between_many_threads_less_often() -> None:
    before_s = sys.getswitchinterval()
    with scheduler._seldom_switching(40):
        assert sys.getswitchinterval() == before_s
    with scheduler._seldom_switching(1000):
        assert sys.getswitchinterval() == pytest.approx(0.1)
    assert sys.getswitchinterval() == before_s


def test_no_more_hosts_are_connected_to_at_a_time_than_one_wave(
    fleet: FakeFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_hosts, "AT_ONCE", 4)
    measure(fleet, 20, tmp_path / "results.db")
    assert fleet.most_dialling <= 4 and len(fleet.dials) == 20


def test_a_host_that_turns_the_connection_away_is_tried_once_more(fleet: FakeFleet, tmp_path: Path) -> None:
    fleet.refusals["f3"] = 1
    measure(fleet, 5, tmp_path / "results.db")
    assert fleet.dials == {"f0": 1, "f1": 1, "f2": 1, "f3": 2, "f4": 1}


def test_the_limit_of_open_files_is_raised_as_far_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = []
    limits = (256, 4096)
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda which, found: changes.append(found))
    allow_open_files(10)
    assert changes == []
    allow_open_files(500)
    ((soft, hard),) = changes
    assert 2000 < soft < 2300 and hard == 4096
    with pytest.raises(UsageError, match=r"2000 hosts need up to 8[0-9]{3} open files.* may have 4096"):
        allow_open_files(2000)
