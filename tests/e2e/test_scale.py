"""A run on many hosts that are not there: what grows with them, and what does not."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfctl.errors import UsageError
from perfctl.execute import execute_run
from perfctl.job import hosts as job_hosts
from perfctl.model import Event, InvocationEnded, Suite, new_id
from perfctl.plan import make_plan
from perfctl.plan.request import PlannedRun
from perfctl.shell.open_files import allow_open_files
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
    threads, files = threading.active_count(), open_files()
    for count in (8, 60):
        fleet.dials.clear()
        most_threads, most_files = measure(fleet, count, tmp_path / f"{count}.db")
        # One for each track besides the writer's and its own; one socket besides the database's files.
        assert most_threads <= threads + count + 4
        assert count <= most_files - files <= count + 16
        assert set(fleet.dials.values()) == {1} and len(fleet.dials) == count
        assert fleet.open_count == 0
    assert threading.active_count() <= threads


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
