"""What a run says is stored is in the file that the user named, and a run that was cut can be closed."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfctl import facts
from perfctl.errors import DatabaseMoved, DatabaseUnavailable, UsageError
from perfctl.execute import resume_run
from perfctl.facts import read_host
from perfctl.job import reap
from perfctl.model import Event, Fingerprint, InvocationEnded, Listener, ignore
from perfctl.shell import Shell
from perfctl.shell.local import LocalShell
from perfctl.store import check, open_store, query
from tests.e2e.local_run import execute, kept_on_host, planned_run
from tests.unit import store_cases as cases


def moved(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


def deleted(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    other = path.with_name("other.db")
    with open_store(other, create=True):
        pass
    moved(path)
    other.rename(path)


def cut(path: Path) -> None:
    os.truncate(path, 0)


def overwritten(path: Path) -> None:
    other = path.with_name("other.db")
    with open_store(other, create=True) as store:
        run_id = cases.begin_run(store)
        for index in range(100):
            store.writer.record_event(run_id, "info", "here", f"{index} " + "x" * 10_000)
    assert other.stat().st_size > path.stat().st_size
    # Into the same file, as cp does it.
    shutil.copyfile(other, path)


def without_log(path: Path) -> None:
    path.with_name(path.name + "-wal").unlink()


def harming(harm: Callable[[Path], None], database: Path) -> tuple[list[Event], Listener]:
    """Return the ended invocations, and a listener that harms the database after the first of them."""
    ended: list[Event] = []

    def listen(event: Event) -> None:
        if isinstance(event, InvocationEnded):
            ended.append(event)
            if len(ended) == 1:
                harm(database)

    return ended, listen


@pytest.mark.parametrize("harm", [moved, deleted, replaced, cut, overwritten, without_log])
def test_a_run_whose_database_goes_away_ends_and_leaves_its_results_on_the_host(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    planned, database = planned_run(tmp_path), tmp_path / "results.db"
    ended, listener = harming(harm, database)
    try:
        with pytest.raises(DatabaseMoved) as caught:
            execute(planned, database, listener)
        assert caught.value.exit_code == 8
        assert f"perfctl resume {planned.run_id}" in str(caught.value.hint)
        assert len(ended) == 1, "nothing more is called measured"
        kept = [job for job in kept_on_host(planned) if not job.startswith("auto-")]
        assert len(kept) == 2, "what could not be stored is there, and what may have gone with the file"
    finally:
        reap(LocalShell(), planned.run_id, discard=True, spool_root=str(tmp_path / "spool"))


def test_what_was_copied_over_a_database_stays_as_it_is(tmp_path: Path) -> None:
    database, other = tmp_path / "results.db", tmp_path / "other.db"
    with open_store(database, create=True) as store:
        run_id = cases.begin_run(store)
        overwritten(database)
        with pytest.raises(DatabaseMoved, match="something else was copied into its file"):
            store.writer.record_event(run_id, "info", "here", "lost")
        with pytest.raises(DatabaseMoved):
            store.writer.record_event(run_id, "info", "here", "lost as well")
    assert database.read_bytes() == other.read_bytes()
    with open_store(database) as store:
        assert [run.run_id for run in store.runs()] != [run_id]
        assert all(not look.problems for look in check(store))


def test_a_log_that_another_program_copies_into_the_file_is_no_harm(tmp_path: Path) -> None:
    database = tmp_path / "results.db"
    with open_store(database, create=True) as store:
        run_id = cases.begin_run(store)
        with open_store(database) as second:
            other_id = cases.begin_run(second)
            with closing(sqlite3.connect(database)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            second.writer.record_event(other_id, "info", "here", "kept")
        store.writer.record_event(run_id, "info", "here", "kept")
        assert {run.run_id for run in store.runs()} == {run_id, other_id}


@pytest.mark.parametrize(
    ("harm", "place"), [(moved, "results.db"), (moved, "found.db"), (replaced, "found.db")]
)
def test_the_run_is_finished_in_the_file_that_was_moved(
    tmp_path: Path, harm: Callable[[Path], None], place: str
) -> None:
    planned, database = planned_run(tmp_path), tmp_path / "results.db"
    _, listener = harming(harm, database)
    with pytest.raises(DatabaseMoved):
        execute(planned, database, listener)
    # Put back, or alone, without what SQLite has beside it.
    found = (tmp_path / "elsewhere.db").rename(tmp_path / place)
    outcome = resume_run(planned.run_id, database_url=str(found), listener=ignore, force=True)
    assert (outcome.status, outcome.ok) == ("complete", 4)
    with open_store(found, read_only=True) as store:
        states = store.run(planned.run_id).block_states()
        assert [state.attempt for state in states] == [1, 1], "what lay on the host was collected"
    assert kept_on_host(planned) == []


def test_a_report_that_was_cut_is_stored_and_not_read(tmp_path: Path) -> None:
    planned, database = planned_run(tmp_path, blocks=1), tmp_path / "results.db"
    (benchmark,) = planned.plan.benchmarks
    limited = replace(planned.plan, benchmarks=(replace(benchmark, output_limit_bytes=500),))
    outcome = execute(replace(planned, plan=limited), database)
    assert (outcome.status, outcome.ok) == ("partial", 0)
    with open_store(database) as store:
        assert store.run(planned.run_id).observations() == []
        counts = {(count.status, count.reason) for count in store.run(planned.run_id).counts()}
        assert counts == {("failed", "output_cut")}
        found = query(
            store, "SELECT detail, size_bytes FROM v_invocation JOIN artifact ON sha256 = stdout_sha256"
        )
        assert {(row[1], "500 bytes" in str(row[0])) for row in found.rows} == {(500, True)}
        assert store.writer.reparse().changed == 0, "a cut report is not read later either"


def test_a_run_whose_database_cannot_grow_names_the_command_that_goes_on(tmp_path: Path) -> None:
    planned, database = planned_run(tmp_path), tmp_path / "results.db"
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(path: Path) -> None:
        # As on a full disk, every write beyond what is there fails.
        log_bytes = path.with_name(path.name + "-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (log_bytes, unlimited[1]))

    _, listener = harming(fill, database)
    try:
        with pytest.raises(DatabaseUnavailable) as caught:
            execute(planned, database, listener)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert f"go on: perfctl resume {planned.run_id}" in str(caught.value.hint)
    outcome = resume_run(planned.run_id, database_url=str(database), listener=ignore, force=True)
    assert (outcome.status, outcome.ok) == ("complete", 4)
    assert kept_on_host(planned) == []


def test_a_run_that_was_killed_after_its_last_invocation_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, database = planned_run(tmp_path), tmp_path / "results.db"
    read: list[str] = []

    def noted(shell: Shell, **options: Any) -> Fingerprint:
        read.append(shell.name)
        return read_host(shell, **options)

    monkeypatch.setattr(facts, "read_host", noted)
    execute(planned, database)
    # Before its first block and after its last one.
    assert read == ["here"] * 2
    with open_store(database) as store:
        store.writer.reopen_run(planned.run_id)
        before = len(store.run(planned.run_id).block_states())
    outcome = resume_run(planned.run_id, database_url=str(database), listener=ignore)
    assert (outcome.status, outcome.ok) == ("complete", 4)
    with open_store(database, read_only=True) as store:
        detail = store.run(planned.run_id).detail()
        assert detail.summary.status == "complete" and detail.summary.ended_at is not None
        assert len(store.run(planned.run_id).block_states()) == before
    with closing(sqlite3.connect(database)) as connection:
        taken = connection.execute("SELECT phase FROM host_snapshot ORDER BY rowid").fetchall()
    assert taken == [("before",), ("after",), ("after",)], "facts are read, and nothing is surveyed again"
    with pytest.raises(UsageError, match="nothing is left to do"):
        resume_run(planned.run_id, database_url=str(database), listener=ignore)
