"""Which machine a host was, as a part of its key: when it becomes known, and in databases of before."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from perfctl.facts import parsers
from perfctl.model import Fact, FactState, Fingerprint, content_hash
from perfctl.store import Store, open_store, upgrade
from perfctl.store.migration import migrate
from tests.unit import store_cases as cases
from tests.unit.test_store_upkeep import problems

DATA = Path(__file__).parents[1] / "data" / "database"
COLUMNS = "name, address, connection, port, user_name, test_address, resource, machine"


def of(machine_id: str | None = None, boot_id: str | None = "b-1", kernel: str = "6.1") -> Fingerprint:
    """Return the facts of a machine."""
    texts = {"host.machine_id": machine_id, "host.boot_id": boot_id, "kernel.release": kernel}
    return Fingerprint(
        tuple(
            Fact(name, FactState.MISSING if text is None else FactState.PRESENT, text or "", name[0] == "k")
            for name, text in texts.items()
        )
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "results.db", create=True) as opened:
        yield opened


def rows(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def of_runs(path: Path) -> list[tuple[object, ...]]:
    """Return the machine of each host of each run, the runs in their order."""
    return rows(
        path,
        "SELECT run.rowid, host.name, machine FROM run_host JOIN run USING (run_id) JOIN host USING (host_id)"
        " ORDER BY 1, 2",
    )


@pytest.mark.parametrize("text", ["", "uninitialized", "0123", "0123456789ABCDEF0123456789ABCDEF"])
def test_a_machine_that_has_no_id_yet_has_none(text):
    assert parsers.machine_id([text]) is None
    assert parsers.machine_id([]) is None


def test_what_is_kept_is_not_the_machine_id_itself():
    one, other = "0" * 32, "1" * 32
    assert parsers.machine_id([one]) not in (None, one, parsers.machine_id([other]))


@pytest.mark.parametrize(
    ("facts", "machine"),
    [
        (of("m-1"), "id:m-1"),
        (of(None), "boot:b-1"),
        (of(None, None), None),
        (Fingerprint(()), None),
    ],
)
def test_a_machine_is_named_by_its_id_else_by_its_boot(facts, machine):
    assert facts.machine == machine


def test_two_machines_of_one_name_and_address_are_two_hosts(store):
    runs = [cases.begin_run(store) for _ in range(3)]
    for run_id, machine in zip(runs, ("m-1", "m-2", "m-1"), strict=True):
        store.writer.record_host_snapshot(run_id, "h1", "before", of(machine))
        cases.measure_block(
            store, run_id, cases.block(), {(leg.environment, leg.replicate): 1.0 for leg in cases.ORDER}
        )
    assert [row for row in of_runs(store.path) if row[1] == "h1"] == [
        (1, "h1", "id:m-1"),
        (2, "h1", "id:m-2"),
        (3, "h1", "id:m-1"),
    ]
    measured = [host for (host,) in rows(store.path, "SELECT host_id FROM block ORDER BY rowid")]
    assert measured[0] == measured[2] != measured[1]
    for host_id, *values in rows(store.path, f"SELECT host_id, {COLUMNS} FROM host"):
        assert host_id == content_hash(dict(zip(COLUMNS.split(", "), values, strict=True)))
    assert problems(store.path) == {}


def test_a_host_stays_what_its_first_facts_said(store):
    run_id = cases.begin_run(store)
    store.writer.record_host_snapshot(run_id, "h1", "before", of(None, None))
    assert {row[1]: row[2] for row in of_runs(store.path)} == {"h1": None, "h2": None}
    store.writer.record_host_snapshot(run_id, "h1", "before", of(None, "b-1"))
    # The machine has no id and was booted again.
    store.writer.record_host_snapshot(run_id, "h1", "after", of(None, "b-2"))
    assert {row[1]: row[2] for row in of_runs(store.path)} == {"h1": "boot:b-1", "h2": None}


def test_what_was_seen_of_another_machine_of_that_name_is_not_remembered(store):
    first, second, third = (cases.begin_run(store) for _ in range(3))
    store.writer.record_host_snapshot(first, "h1", "before", of("m-1"))
    store.writer.record_host_snapshot(first, "h1", "after", of("m-1", kernel="6.2"))
    for run_id, machine in ((second, "m-2"), (third, "m-1")):
        store.writer.record_host_snapshot(run_id, "h1", "before", of(machine))
    assert store.run(second).previous_facts("h1") is None
    known = store.run(third).previous_facts("h1")
    assert known is not None and [f.value for f in known.facts if f.name == "kernel.release"] == ["6.2"]


def test_what_was_measured_before_facts_were_read_is_of_the_same_host(store):
    run_id = cases.begin_run(store)
    values = {(leg.environment, leg.replicate): 1.0 for leg in cases.ORDER}
    cases.measure_block(store, run_id, cases.block(), values)
    store.writer.record_host_snapshot(run_id, "h1", "before", of("m-1"))
    cases.measure_block(store, run_id, cases.block(index=1), values)
    cells = store.history.benchmark_cells("cpu-1")
    assert {(str(cell.target), len(cell.values)) for cell in cells} == {("h1", 2)}
    assert len(store.run(run_id).observations()) == 6


@pytest.fixture
def of_0009(tmp_path: Path) -> Path:
    """A database of the schema before: two runs, between which h1 was booted. Nobody read facts of h2."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((DATA / "0001.sql").read_text())
    migrate(path, target="0009")
    dynamic = json.dumps([["host.boot_id", "present", "b-1"], ["load.average", "present", "1"]])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE host_snapshot SET dynamic_json = ?", (dynamic,))
        (first,) = connection.execute("SELECT run_id FROM run").fetchone()
        for name, (changed, value) in {
            "run": ("run_id", "later"),
            "host_snapshot": ("host_snapshot_id", "later"),
            "environment_snapshot": ("environment_snapshot_id", "later"),
            "run_host": ("run_id", "later"),
            "run_benchmark": ("run_id", "later"),
            "run_environment": ("run_id", "later"),
            "block": ("block_id", "block_id || '-later'"),
        }.items():
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
            new = {"run_id": "'later'", changed: value if "||" in value else f"'{value}'"}
            chosen = ", ".join(new.get(column, column) for column in columns)
            connection.execute(f"INSERT INTO {name} SELECT {chosen} FROM {name} WHERE run_id = ?", (first,))
        later = dynamic.replace("b-1", "b-2")
        connection.execute("UPDATE host_snapshot SET dynamic_json = ? WHERE run_id = 'later'", (later,))
        connection.execute(
            "INSERT INTO host SELECT 'unused', 'h9', address, connection, port, user_name,"
            " test_address, resource FROM host WHERE name = 'h2'"
        )
    return path


def test_the_migration_reads_machines_from_stored_facts(of_0009):
    every = "SELECT * FROM {0} ORDER BY 1"
    kept = {name: len(rows(of_0009, every.format(name))) for name in ("block", "invocation", "sample", "run")}
    assert kept == {"block": 6, "invocation": 8, "sample": 6, "run": 2}
    upgrade(of_0009)
    assert of_runs(of_0009) == [
        (1, "h1", "boot:b-1"),
        (1, "h2", None),
        (2, "h1", "boot:b-2"),
        (2, "h2", None),
    ]
    assert {name: len(rows(of_0009, every.format(name))) for name in kept} == kept
    found = rows(of_0009, f"SELECT host_id, {COLUMNS} FROM host ORDER BY name, machine")
    assert [(row[1], row[-1]) for row in found] == [
        ("h1", "boot:b-1"),
        ("h1", "boot:b-2"),
        ("h2", None),
        ("h9", None),
    ]
    for host_id, *values in found:
        assert host_id == content_hash(dict(zip(COLUMNS.split(", "), values, strict=True)))
    for table in ("block", "host_snapshot", "environment_snapshot"):
        of_run = rows(
            of_0009,
            f"SELECT DISTINCT run.rowid, host.name, machine FROM {table} JOIN run USING (run_id)"
            f" JOIN host USING (host_id) ORDER BY 1, 2",
        )
        assert set(of_run) <= set(of_runs(of_0009)) and len(of_run) >= 2, table
    assert problems(of_0009) == {}
