"""Removing what runs have measured: what goes, what stays, and what is said of it afterwards."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from perfctl.__main__ import main
from perfctl.errors import DataError, UsageError
from perfctl.execute import resume_run
from perfctl.report.comparison import comparison_report
from perfctl.store import compact, open_store, prune_runs, query
from perfctl.transfer import write_bundle
from tests.unit import store_cases as cases
from tests.unit.test_store_upkeep import dump, problems
from tests.unit.test_transfer import change, measure, merged

DAYS = 86_400


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of two runs that share some outputs and have others of their own. It is copied."""
    path = tmp_path_factory.mktemp("made") / "results.db"
    measure(path)
    measure(path, machine="m-2", seed=2)
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path))


@pytest.fixture
def runs(path) -> list[str]:
    with open_store(path) as store:
        return [run.run_id for run in store.runs()]


def prune(path: Path, *named: str, older_than_days=None, raw_only=False, dry_run=False):
    with open_store(path) as store:
        return prune_runs(store, named, older_than_days=older_than_days, raw_only=raw_only, dry_run=dry_run)


def kept(path: Path) -> set[str]:
    """Return the raw outputs that are there."""
    return {str(row[0]) for row in dump(path)["artifact"] if row[2]}


def test_of_a_pruned_run_its_plan_and_a_tombstone_stay(path, runs):
    first, second = runs
    before = dump(path)
    (done,) = prune(path, first)
    # stdout and console of the first run are its own; three outputs are the second's, too.
    assert (done.run_id, done.invocations, done.raw_outputs) == (first, 4, 2)
    after = dump(path)
    assert len(after["run"]) == 2 and after["run_host"] == before["run_host"]
    for name in ("block", "host_snapshot", "environment_snapshot", "event"):
        assert after[name] == [row for row in before[name] if second in row], name
    for name in ("invocation", "sample", "series", "invocation_metric", "invocation_artifact"):
        assert 2 * len(after[name]) == len(before[name]), name
    assert len(kept(path)) == 5
    assert problems(path) == {}
    with open_store(path) as store:
        assert [run.status for run in store.runs()] == ["pruned", "partial"]
        (gone,) = store.run(first).detail().pruned
        assert (gone.what, gone.invocations, gone.raw_outputs) == ("run", 4, 2)
        assert len(store.run(second).observations()) == 4
        assert query(store, "SELECT status FROM v_run ORDER BY status").rows == (("partial",), ("pruned",))
        for use in (lambda: store.run(first).observations(), lambda: comparison_report(store, first)):
            with pytest.raises(DataError, match="was pruned"):
                use()
    with pytest.raises(DataError, match="was pruned"):
        resume_run(first, database_url=str(path), listener=lambda _: None)


def test_raw_outputs_alone_leave_what_compares(path, runs):
    first, second = runs
    with open_store(path) as store:
        values = store.run(first).observations()
        (own,) = [
            item.sha256
            for (name, *_) in query(
                store, f"SELECT invocation_id FROM v_artifact WHERE run_id = '{first}' AND name = 'console'"
            ).rows
            for item in store.run(first).invocation(str(name)).artifacts
            if item.name == "console"
        ]
    (done,) = prune(path, first, raw_only=True)
    assert done.raw_outputs == 2 and done.raw_bytes > 0
    assert problems(path) == {}
    with open_store(path) as store:
        assert store.run(first).observations() == values
        assert store.runs()[0].status == "partial"
        assert own is not None
        with pytest.raises(DataError, match="was pruned"):
            store.run(first).artifact(own)
        # The three invocations whose outputs are the second run's, too, and its own four.
        assert store.writer.reparse().read == 7
    assert prune(path, first, raw_only=True) == []
    prune(path, second, raw_only=True)
    assert kept(path) == set()
    assert problems(path) == {}


def test_an_output_that_was_pruned_is_kept_when_it_is_measured_again(path, runs):
    prune(path, *runs)
    assert kept(path) == set()
    with open_store(path) as store:
        run_id = cases.begin_run(store)
        block_id = store.writer.begin_block(run_id, cases.block(), 1)
        record = cases.record(block_id, stdout=b"run 1")
        store.writer.record_invocation(record, cases.METRICS, cases.samples(1.0))
        sha256 = store.run(run_id).invocation(record.id).artifacts[0].sha256
        assert sha256 is not None and store.run(run_id).artifact(sha256) == b"run 1"
    assert problems(path) == {}


def test_a_merge_brings_back_what_another_run_needs_and_no_pruned_run(path, runs, made, tmp_path):
    first, second = runs
    only_second = tmp_path / "second.db"
    merged(made, only_second, runs=[second])
    prune(only_second, second, raw_only=True)
    assert kept(only_second) == set()
    # The first run has some of the outputs that were pruned of the second.
    merged(made, only_second)
    assert len(kept(only_second)) == 5
    assert problems(only_second) == {}
    prune(path, first)
    before = dump(path)
    assert merged(made, path).is_nothing and dump(path) == before
    with pytest.raises(DataError, match="was pruned"):
        merged(path, tmp_path / "new.db", runs=[first])
    merged(path, tmp_path / "new.db")
    assert len(dump(tmp_path / "new.db")["run"]) == 1
    with open_store(path) as store, pytest.raises(DataError, match="was pruned"):
        write_bundle(store, first, tmp_path / "bundle")


def test_runs_are_chosen_by_name_or_age(path, runs):
    first, second = runs
    change(path, f"UPDATE run SET ended_at = ended_at - {10 * DAYS} WHERE run_id = '{first}'")
    assert prune(path, older_than_days=11) == []
    (done,) = prune(path, older_than_days=9, dry_run=True)
    assert done.run_id == first and dump(path)["tombstone"] == []
    assert [item.run_id for item in prune(path, older_than_days=9)] == [first]
    assert [item.run_id for item in prune(path, "latest", older_than_days=9)] == [second]
    assert prune(path, *runs) == []
    with pytest.raises(UsageError, match="no run is named"):
        prune(path)


def test_a_run_that_is_not_over_is_left_alone(path, runs):
    first, _ = runs
    change(
        path, f"UPDATE run SET status = 'running', ended_at = NULL, started_at = 0 WHERE run_id = '{first}'"
    )
    before = dump(path)
    assert prune(path, older_than_days=9) == []
    with pytest.raises(UsageError, match="not over"):
        prune(path, *reversed(runs))
    assert dump(path) == before


def test_compacting_makes_the_file_smaller(path, runs):
    with open_store(path) as store:
        block_id = store.writer.begin_block(runs[0], cases.block(index=9), 1)
        noise = bytes(range(256)) * 400
        for number in range(3):
            raw = b"".join(bytes([item ^ number]) for item in noise)
            packed = cases.samples(*(float(item) for item in range(20_000)))
            record = cases.record(block_id, replicate=number + 1, stdout=raw)
            store.writer.record_invocation(record, cases.METRICS, packed)
    size = path.stat().st_size
    prune(path, *runs)
    compact(path)
    assert path.stat().st_size < size / 2
    assert problems(path) == {}


def test_prune_as_a_user_types_it(path, runs, capsys):
    def perfctl(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["--db", str(path), *arguments])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    before = dump(path)
    code, out, err = perfctl("db", "prune", runs[0], "--format", "json")
    assert (code, json.loads(out)["rows"][0]["invocations"], dump(path) == before) == (0, 4, True)
    assert "nothing was removed; with --yes" in err
    code, _, err = perfctl("db", "prune", runs[0], "--yes")
    assert code == 0 and "--compact" in err
    code, out, _ = perfctl("show", runs[0])
    assert code == 0 and "pruned: run" in out and "2 raw outputs" in out
    assert "pruned" in perfctl("runs")[1]
    code, _, err = perfctl("compare", runs[0])
    assert code == 8 and "was pruned" in err and "try: " in err
    assert perfctl("db", "prune", "--older-than", "0", "--yes", "--compact")[0] == 0
    assert "nothing to remove" in perfctl("db", "prune", "--older-than", "0", "--yes")[2]
    assert perfctl("db", "prune")[0] == 2
    assert perfctl("db", "check")[0] == 0
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM tombstone").fetchone() == (2,)
