"""Merging databases: what is new is copied once, what contradicts stops it, a run that went on goes on."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from perfctl.__main__ import main
from perfctl.errors import DataError, UsageError
from perfctl.store import open_store
from perfctl.transfer import Merged, merge
from tests.unit import store_cases as cases
from tests.unit.test_store_machines import of
from tests.unit.test_store_upkeep import dump, problems

VALUES = {(leg.environment, leg.replicate): 100.0 + leg.position for leg in cases.ORDER}


def measure(path: Path, *, machine: str = "m-1", seed: int = 1) -> str:
    """Add a run to a database: facts of a host, a block with rows, one with a packed series, an event."""
    with open_store(path, create=True) as store:
        run_id = cases.begin_run(store)
        store.writer.record_host_snapshot(run_id, "h1", "before", of(machine))
        key = store.writer.record_environment_snapshot(run_id, "h1", "native", of(machine), {"image": "i"})
        cases.measure_block(store, run_id, cases.block(), VALUES)
        block_id = store.writer.begin_block(run_id, cases.block(index=1), 1)
        record = cases.record(
            block_id,
            fingerprint_id=key,
            stdout=f"run {seed}".encode(),
            artifacts={"console": f"console {seed}".encode(), "empty": b""},
        )
        long = cases.samples(*(float(seed * item) for item in range(100)), metric=cases.LATENCY, warmups=2)
        store.writer.record_invocation(record, cases.METRICS, long)
        store.writer.end_block(block_id, "failed")
        store.writer.record_event(run_id, "warning", "h1", "the load is high")
        store.writer.end_run(run_id, "partial")
    return run_id


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `other.db`, and `here.db` into which its first run was merged: made once."""
    folder = tmp_path_factory.mktemp("made")
    measure(folder / "other.db")
    merged(folder / "other.db", folder / "here.db")
    measure(folder / "other.db", seed=2)
    return folder


@pytest.fixture
def pair(made: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Return a copy of both: (here, other)."""
    here, other = (Path(shutil.copy(made / name, tmp_path)) for name in ("here.db", "other.db"))
    return here, other


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "here.db"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return tmp_path / "other.db"


def merged(source: Path, target: Path, **options) -> Merged:
    with open_store(source, read_only=True) as theirs, open_store(target, create=True) as ours:
        return merge(theirs, ours, **options)


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def content(path: Path) -> dict[str, object]:
    """Return what is in a database, without the numbers of invocations and metrics."""
    found: dict[str, object] = dict(dump(path))
    with closing(sqlite3.connect(path)) as connection:
        for name in ("invocation", "sample", "series", "invocation_metric", "invocation_artifact", "metric"):
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
            kept = ", ".join(f"t.{column}" for column in columns if not column.endswith("_pk"))
            joins = ""
            if name != "invocation" and "invocation_pk" in columns:
                kept, joins = f"i.invocation_id, {kept}", " JOIN invocation i USING (invocation_pk)"
            if name != "metric" and "metric_pk" in columns:
                kept, joins = f"m.metric_id, {kept}", f"{joins} JOIN metric m USING (metric_pk)"
            rows = connection.execute(f"SELECT {kept} FROM {name} t{joins}").fetchall()
            found[name] = sorted(rows, key=repr)
    return found


def test_an_empty_database_becomes_a_copy(here, other):
    runs = [measure(other), measure(other, machine="m-2", seed=2)]
    # Hosts that no run refers to any more are not copied.
    change(other, "DELETE FROM host WHERE host_id NOT IN (SELECT host_id FROM run_host)")
    done = merged(other, here)
    assert content(here) == content(other)
    assert (done.runs, done.new["run"], done.new["invocation"], done.changed.total()) == (2, 2, 8, 0)
    with open_store(here) as store:
        assert [run.run_id for run in store.runs()] == runs
        assert len(store.run(runs[1]).observations()) == 4
    assert problems(here) == {}


def test_merging_twice_adds_nothing(here, other):
    measure(here, machine="m-1")
    measure(other, machine="m-2", seed=2)
    first = merged(other, here)
    before = dump(here)
    again = merged(other, here)
    assert not first.is_nothing and again.is_nothing
    assert dump(here) == before
    back = merged(here, other)
    assert (back.new["run"], back.new["environment"], back.new["metric"]) == (1, 0, 0)
    assert content(here) == content(other)


def test_numbers_differ_between_databases_and_values_stay_with_their_invocations(here, other):
    """The metrics come in another order there, and its invocations have the same numbers as others here."""
    with open_store(here, create=True) as store:
        run_id = cases.begin_run(store)
        block_id = store.writer.begin_block(run_id, cases.block(), 1)
        only = cases.samples(7.0, metric=cases.LATENCY)
        store.writer.record_invocation(cases.record(block_id), cases.METRICS, only)
    theirs = measure(other)
    merged(other, here)
    with open_store(other) as there, open_store(here) as store:
        assert store.run(theirs).observations() == there.run(theirs).observations()
    assert problems(here) == {}


def test_two_machines_of_one_name_at_two_sites_stay_two(here, other):
    measure(here, machine="m-1")
    measure(other, machine="m-2")
    merged(other, here)
    with closing(sqlite3.connect(here)) as connection:
        found = connection.execute(
            "SELECT machine FROM host JOIN run_host USING (host_id) WHERE host.name = 'h1'"
        )
        assert sorted(found.fetchall()) == [("id:m-1",), ("id:m-2",)]


def test_what_is_new_is_shown_first_and_a_dry_run_writes_nothing(pair):
    here, other = pair
    before = dump(here)
    shown: list[tuple[int, object]] = []

    def show(found: Merged) -> None:
        shown.append((found.new["run"], dump(here) == before))

    dry = merged(other, here, dry_run=True, show=show)
    assert dump(here) == before and shown == [(1, True)]
    done = merged(other, here, show=show)
    assert shown == [(1, True), (1, True)]
    assert done.new == dry.new and done.new["series"] == 1 and done.new["artifact"] == 2


def test_only_the_runs_that_are_named_are_copied(pair, tmp_path):
    here, other = tmp_path / "new.db", pair[1]
    wanted, _ = (run_id for (run_id, *_) in dump(other)["run"])
    assert merged(other, here, runs=[wanted]).new["run"] == 1
    with open_store(here) as store:
        assert [run.run_id for run in store.runs()] == [wanted]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE run SET seed = 'x'", "differs in seed"),
        ("UPDATE run SET plan_json = 'x'", "differs in plan_json"),
        ("UPDATE block SET status = 'failed' WHERE status = 'complete'", "differs in status"),
        ("UPDATE block SET started_at = 1", "differs in started_at"),
        ("UPDATE invocation SET exit_code = 9", "differs in exit_code"),
        ("UPDATE invocation_metric SET value = value + 1", "the values of invocation"),
        ("DELETE FROM invocation_metric", "the values of invocation"),
        ("DELETE FROM invocation_artifact WHERE name = 'empty'", "the artifacts of invocation"),
        ("UPDATE event SET text = 'x'", "differs in text"),
        ("UPDATE host_snapshot SET dynamic_json = '[]'", "differs in dynamic_json"),
        ("UPDATE metric SET unit = 'x'", "differs in unit"),
    ],
)
def test_another_content_stops_it_and_nothing_is_written(pair, statement, words):
    here, other = pair
    change(here, statement)
    before = dump(here)
    with pytest.raises(DataError, match=words) as stopped:
        merged(other, here)
    assert "nothing was written" in (stopped.value.hint or "")
    assert dump(here) == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE environment SET description = 'as another version describes it'",
        "UPDATE benchmark SET expected_s = 99",
        "UPDATE metric SET description = 'x', show_difference = 1",
    ],
)
def test_how_something_is_described_contradicts_nothing(pair, statement):
    here, other = pair
    change(here, statement)
    first, _ = (run_id for (run_id, *_) in dump(other)["run"])
    before = dump(here)
    assert merged(other, here, runs=[first]).is_nothing
    assert dump(here) == before


def going_on(path: Path) -> tuple[str, Callable[[], None]]:
    """Begin a run whose host is not known yet; return its id and what ends it."""
    with open_store(path, create=True) as store:
        run_id = cases.begin_run(store)
        cases.measure_block(store, run_id, cases.block(), VALUES)
        block_id = store.writer.begin_block(run_id, cases.block(index=1), 1)

    def end() -> None:
        with open_store(path) as store:
            store.writer.record_host_snapshot(run_id, "h1", "before", of("m-1"))
            store.writer.record_invocation(cases.record(block_id), cases.METRICS, cases.samples(1.0))
            store.writer.end_block(block_id, "failed")
            store.writer.end_run(run_id, "partial")

    return run_id, end


def test_a_run_that_went_on_goes_on_there_and_not_back(here, other):
    _, end = going_on(other)
    merged(other, here)
    end()
    done = merged(other, here)
    assert dict(done.changed) == {"run": 1, "run_host": 1, "block": 1}
    assert (done.new["invocation"], done.new["host"], done.new["host_snapshot"]) == (1, 1, 1)
    assert content(here) == content(other)
    stale = here.with_name("stale.db")
    run_id, end = going_on(stale)
    merged(stale, here)
    end()
    merged(stale, here)
    newest = dump(here)
    change(stale, f"UPDATE run SET status = 'running', ended_at = NULL WHERE run_id = '{run_id}'")
    assert merged(stale, here).is_nothing
    assert dump(here) == newest


def test_a_run_that_was_resumed_in_both_is_refused(here, other):
    run_id, _ = going_on(other)
    merged(other, here)
    for path in (here, other):
        with open_store(path) as store:
            store.writer.begin_block(run_id, cases.block(index=2), 1)
    with pytest.raises(DataError, match="cpu-1 h1 2 1 is another one"):
        merged(other, here)


def test_a_database_is_not_merged_into_itself(pair):
    here, _ = pair
    with open_store(here) as store, pytest.raises(UsageError, match="the database itself"):
        merge(store, store)


def test_a_run_that_is_written_meanwhile_is_seen_as_it_was(here, other):
    _, end = going_on(other)

    def go_on(_: Merged) -> None:
        end()

    done = merged(other, here, show=go_on)
    assert (done.new["invocation"], done.new["host_snapshot"]) == (3, 0)
    assert problems(here) == {}
    assert merged(other, here).new["invocation"] == 1


@pytest.fixture
def perfctl(here, capsys):
    """Return a function that runs a command and gives (exit code, stdout, stderr)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["--db", str(here), *arguments])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def test_merge_push_and_pull_as_a_user_types_them(pair, perfctl, tmp_path):
    here, other = pair
    before = dump(here)
    code, out, err = perfctl("db", "merge", str(other), "--dry-run")
    assert (code, dump(here) == before) == (0, True)
    assert "nothing was written (--dry-run)" in err and "invocation" in out
    code, out, err = perfctl("db", "merge", str(other), "--format", "json")
    new = {row["table"]: row["new"] for row in json.loads(out)["rows"]}
    assert (code, new["run"], new["invocation"]) == (0, 1, 4)
    assert f"{sum(new.values())} rows are new, 0 were updated" in err
    assert perfctl("db", "merge", str(other))[0::2] == (0, "nothing to do: all of it is there\n")
    team = tmp_path / "team.db"
    with open_store(here) as store:
        first, second = (run.run_id for run in store.runs())
    assert perfctl("db", "push", str(team), first)[0] == 0
    assert perfctl("db", "push", str(team))[0] == 0
    assert perfctl("--db", str(tmp_path / "mine.db"), "db", "pull", f"sqlite:///{team}", "latest")[0] == 0
    with open_store(tmp_path / "mine.db") as store:
        assert [run.run_id for run in store.runs()] == [second]
    assert perfctl("db", "pull", str(team), "nonsense")[0] == 2


def test_a_file_that_is_cut_foreign_newer_or_older_is_refused(pair, perfctl, tmp_path):
    here, other = pair
    before = dump(here)
    whole = other.read_bytes()
    cut, foreign, newer, older = (tmp_path / f"{name}.db" for name in ("cut", "foreign", "newer", "older"))
    cut.write_bytes(whole[: len(whole) // 2])
    with closing(sqlite3.connect(foreign)) as connection, connection:
        connection.execute("CREATE TABLE run (x)")
    for path, revision in ((newer, "0777"), (older, "0008")):
        path.write_bytes(whole)
        change(path, f"UPDATE alembic_version SET version_num = '{revision}'")
    for path, words in (
        (cut, ("damaged", "try: ")),
        (foreign, ("not made by perfctl", "try: ")),
        (newer, ("0777", "try: upgrade perfctl")),
        (older, ("0008", f"try: perfctl --db {older} db upgrade")),
        (tmp_path / "missing.db", ("no database", "try: ")),
        (here, ("the database itself", "try: ")),
    ):
        code, out, err = perfctl("db", "merge", str(path))
        assert (code, out) == (2 if path is here else 8, ""), err
        assert all(word in " ".join(err.split()) for word in words), err
    assert dump(here) == before
