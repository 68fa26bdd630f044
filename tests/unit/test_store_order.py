"""The newest run is the one begun last in the database, whatever the controller's clock said then."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from perfctl.errors import RegressionFound
from perfctl.report.gate import gate_report
from perfctl.report.trend import trend_report
from perfctl.store import backup, open_store
from tests.unit.history_cases import add_run, facts

HOURS = 3600


def set_back(path: Path, run_id: str, seconds: float) -> None:
    """Make all that is stored of a run look as if the controller's clock had been behind."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, column in (
            ("run", "started_at"),
            ("block", "started_at"),
            ("host_snapshot", "taken_at"),
            ("environment_snapshot", "taken_at"),
            ("event", "happened_at"),
        ):
            connection.execute(
                f"UPDATE {table} SET {column} = {column} - ? WHERE run_id = ?", (seconds, run_id)
            )


def begun(path: Path) -> list[str]:
    """Return the ids of the runs as they were begun in this file."""
    with closing(sqlite3.connect(path)) as connection:
        return [run_id for (run_id,) in connection.execute("SELECT run_id FROM run ORDER BY rowid")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a database with a good run and a slower one, made after the clock had gone back two hours."""
    path = tmp_path / "results.db"
    with open_store(path, create=True) as store:
        add_run(store, ratio=1.0, fingerprint=facts(kernel_release="6.1"))
        newer = add_run(store, ratio=0.75, fingerprint=facts(kernel_release="6.2"), seed=2)
    set_back(path, newer, 2 * HOURS)
    return path


def test_latest_is_the_run_begun_last(path: Path) -> None:
    with open_store(path, read_only=True) as store:
        first, second = store.runs()
        assert second.started_at < first.started_at
        assert store.run("latest").id == second.run_id
        assert [run.run_id for run in store.history.runs()] == [first.run_id, second.run_id]


def test_a_gate_of_the_latest_run_sees_the_regression(path: Path) -> None:
    with open_store(path, read_only=True) as store:
        report = gate_report(store, "latest", max_regression=0.02)
    with pytest.raises(RegressionFound):
        report.raise_for_regression(strict=False)


def test_a_trend_ends_with_the_run_begun_last(path: Path) -> None:
    with open_store(path, read_only=True) as store:
        (series,) = [item for item in trend_report(store, "cpu-1").series if item.environment == "container"]
        assert [point.run_id for point in series.points] == begun(path)


def test_the_facts_as_last_read_are_those_of_the_run_begun_last(path: Path) -> None:
    with open_store(path) as store:
        first, second = (run.run_id for run in store.runs())
        store.writer.record_host_snapshot(first, "h1", "after", facts(kernel_release="6.1"))
        store.writer.record_host_snapshot(second, "h1", "after", facts(kernel_release="6.3"))
    set_back(path, second, 2 * HOURS)
    with open_store(path) as store:
        store.writer.record_host_snapshot(first, "h1", "before", facts(kernel_release="6.5"))
        known = store.run(first).previous_facts("h1")
        assert known is not None
        fact = known.get("kernel.release")
        assert fact is not None and fact.value == "6.3"


def test_a_copy_has_the_same_order(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    backup(path, copy)
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("VACUUM")
    with open_store(copy, read_only=True) as store:
        assert [run.run_id for run in store.runs()] == begun(path)
