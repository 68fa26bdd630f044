"""The hosts of a run: leased, given back, and cleared of what killed runs have left; on this machine."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfctl.errors import HostLeased
from perfctl.execute.ahead import ReadAhead
from perfctl.execute.fleet import Fleet
from perfctl.execute.leftovers import reap_leftovers
from perfctl.execute.scheduler import Scheduler
from perfctl.execute.session import RunSession
from perfctl.job import Claim, HostLease, JobShell, LeaseLost, LeaseState, read_leases, reap
from perfctl.job.hosts import LeasedHost
from perfctl.model import Event, Host, Note, Plan, Suite, new_id
from perfctl.plan import make_plan
from perfctl.plan.request import PlannedRun
from perfctl.shell.local import LocalShell
from perfctl.store import Store, open_store
from tests.contract.job_spool import agent_pid
from tests.processes import unique_seconds, wait_until, with_argument
from tests.unit import store_cases as cases

TRANSPORT = LocalShell("here")


@pytest.fixture
def hosts(tmp_path: Path) -> list[Host]:
    """Return two hosts, which are this machine with a lease each."""
    made = [Host(name, "127.0.0.1", "local", state_dir=str(tmp_path / name)) for name in ("h1", "h2")]
    for host in made:
        Path(str(host.state_dir)).mkdir()
    return made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "results.db", create=True) as opened:
        yield opened


def plan_for(hosts: list[Host]) -> Plan:
    return make_plan(Suite("s", "", "native", (cases.NATIVE,), (cases.CPU,), 1), hosts, seed="1")


def leases(host: Host) -> tuple[LeaseState, ...]:
    return read_leases(TRANSPORT, host)[0]


def test_a_run_holds_its_hosts_and_gives_them_back(hosts: list[Host]) -> None:
    run_id = new_id()
    with Fleet(hosts, run_id, lifetime_s=600) as fleet:
        assert [state.run_id for host in hosts for state in leases(host)] == [run_id, run_id]
        with pytest.raises(HostLeased, match=run_id), Fleet(hosts[1:], new_id(), lifetime_s=600):
            pass
        assert fleet["h1"].jobs.run(["echo", "still"], timeout_s=30).text == "still\n"
    assert [leases(host) for host in hosts] == [(), ()]
    assert [list(Path(str(host.spool_root)).iterdir()) for host in hosts] == [[], []]


def test_a_host_is_read_while_its_agent_starts(hosts: list[Host], monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=60)
    start = JobShell.start

    def started(*args: Any, **options: Any) -> JobShell:
        both.wait()
        return start(*args, **options)

    def read(leased: LeasedHost) -> None:
        both.wait()

    monkeypatch.setattr(JobShell, "start", started)
    with Fleet(hosts[:1], new_id(), lifetime_s=600, meanwhile=[read]):
        pass
    assert not both.broken


def test_hosts_that_wait_for_others_are_held_to_the_end_of_the_round(hosts: list[Host], store: Store) -> None:
    slow = replace(cases.CPU, expected_s=1000)
    plan = make_plan(Suite("s", "", "native", (cases.NATIVE,), (slow,), 1), hosts[:1], seed="1")
    planned = PlannedRun(new_id(), plan, tuple(hosts))
    store.writer.begin_run(
        planned.run_id,
        planned.plan,
        planned.plan_json,
        hosts,
        command=(),
        perfctl_version="0",
        inventory=(),
    )
    left: list[float | None] = []
    with Fleet(hosts, planned.run_id, lifetime_s=600) as fleet:
        session = RunSession(planned, store, fleet, lambda event: None)

        def look(*_: object) -> None:
            left.extend(leases(host)[0].left_s for host in hosts)

        Scheduler(session, look).run(frozenset(), {})
    busy, waiting = left
    assert busy is not None and busy <= 180
    # Two invocations of at most 3010 s, and two minutes.
    assert waiting is not None and 6000 < waiting <= 6140


def test_a_host_that_was_taken_away_is_lost_and_the_others_are_not(hosts: list[Host]) -> None:
    with Fleet(hosts, new_id(), lifetime_s=600) as fleet:
        thief = HostLease.take(TRANSPORT, hosts[0], Claim.make("run", "run-2"), steal=True)
        fleet.hold({"h1", "h2"}, 1000)
        assert list(fleet.lost) == ["h1"]
        assert isinstance(fleet.lost["h1"], LeaseLost)
        spool = fleet["h2"].jobs.spool
    # What is another's now is not given back for it.
    assert [state.run_id for state in leases(hosts[0])] == ["run-2"]
    assert not Path(spool).exists()
    thief.release()
    for host in hosts:
        reap(TRANSPORT, discard=True, spool_root=host.spool_root, run_id=Path(spool).name)


def test_what_a_killed_run_left_is_removed_but_for_its_results(hosts: list[Host], store: Store) -> None:
    host, killed, seconds = hosts[0], new_id(), unique_seconds()
    jobs = JobShell.start(TRANSPORT, killed, lifetime_s=600, spool_root=host.spool_root)
    jobs.run_job("job-1", ["true"], 30)
    jobs.spawn(["sleep", seconds])
    wait_until(lambda: with_argument(seconds), "the command to run")
    os.kill(agent_pid(jobs.spool), signal.SIGKILL)
    planned = PlannedRun(new_id(), plan_for([host]), (host,))
    told: list[Event] = []
    ahead = ReadAhead()
    readers = ahead.readers(planned.plan, [host])
    try:
        with Fleet([host], planned.run_id, lifetime_s=600, meanwhile=readers) as fleet:
            assert (ahead.left, list(ahead.facts)) == ({"h1": [killed]}, ["h1"])
            reap_leftovers(RunSession(planned, store, fleet, told.append, ahead=ahead))
            # What was read beside it is read again.
            assert ahead.facts == {}
        assert with_argument(seconds) == []
        (note,) = told
        assert isinstance(note, Note)
        assert (note.level, note.where) == ("info", "h1")
        assert note.text.startswith(f"removed what run {killed} had left: ")
        assert (Path(jobs.spool) / "jobs" / "job-1.end").exists()
    finally:
        reap(TRANSPORT, killed, discard=True, spool_root=host.spool_root)
