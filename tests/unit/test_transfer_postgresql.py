"""Moving results between the two engines: to a server, back, as a bundle, in shards; and pruning there."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfctl.model import Block
from perfctl.plan.file import PlanFile
from perfctl.store import check, open_store, prune_runs
from perfctl.transfer import Merged, import_bundle, merge, write_bundle
from tests.unit.test_shards import hosts, planned
from tests.unit.test_store_postgresql import server, url  # noqa: F401 (fixtures)
from tests.unit.test_transfer import content, measure


def copied(source: str, target: str, **options) -> Merged:
    with open_store(source, read_only=True) as theirs, open_store(target, create=True) as ours:
        return merge(theirs, ours, **options)


def problems(where: str) -> dict[str, tuple[str, ...]]:
    with open_store(where, read_only=True) as store:
        return {item.name: item.problems for item in check(store) if item.problems}


def test_results_go_to_a_server_and_come_back_as_they_were(url: str, tmp_path: Path) -> None:  # noqa: F811
    here, back = tmp_path / "here.db", tmp_path / "back.db"
    bundles: list[bytes] = []
    runs = [measure(here), measure(here, machine="m-2", seed=2)]
    first = copied(str(here), url)
    assert (first.new["run"], first.new["invocation"], first.new["series"]) == (2, 8, 2)
    assert copied(str(here), url).is_nothing and copied(url, str(here)).is_nothing
    assert problems(url) == {}
    copied(url, str(back))
    wanted, found = content(here), content(back)
    # Hosts whose facts nobody has read belong to no run any more.
    assert {name: rows for name, rows in wanted.items() if name != "host"} == {
        name: rows for name, rows in found.items() if name != "host"
    }
    for where in (str(here), url):
        with open_store(where, read_only=True) as store:
            write_bundle(store, runs[0], tmp_path / f"{len(bundles)}.bundle")
        bundles.append((tmp_path / f"{len(bundles)}.bundle").read_bytes())
    assert bundles[0] == bundles[1]


def test_a_bundle_goes_to_a_server_and_its_run_is_pruned_there(url: str, tmp_path: Path) -> None:  # noqa: F811
    here = tmp_path / "here.db"
    run_id = measure(here)
    with open_store(here, read_only=True) as store:
        write_bundle(store, run_id, tmp_path / "run.bundle")
    with open_store(url, create=True) as store:
        assert import_bundle(tmp_path / "run.bundle", store).new["invocation"] == 4
        assert import_bundle(tmp_path / "run.bundle", store).is_nothing
        (done,) = prune_runs(store, [run_id], older_than_days=None, raw_only=True, dry_run=False)
        assert done.raw_outputs == 5 and len(store.run(run_id).observations()) == 4
        (done,) = prune_runs(store, [run_id], older_than_days=None, raw_only=False, dry_run=False)
        assert done.invocations == 4 and store.runs()[0].status == "pruned"
    assert problems(url) == {}


def test_shards_meet_in_a_server(url: str, tmp_path: Path) -> None:  # noqa: F811
    file = PlanFile.of(planned(hosts(4)), ())
    for number in (1, 2):
        with open_store(url, create=True) as store:
            file.store(store)
            store.writer.begin_shard(file.run_id, number, 2, f"controller {number}")
            block: Block = list(file.plan.blocks())[number - 1]
            store.writer.begin_block(file.run_id, block, 1)
            assert store.runs()[0].status == "running"
            store.writer.end_shard(file.run_id, number, "complete", [block.target.host])
            assert store.runs()[0].status == ("planned" if number == 1 else "complete")
            assert [item.status for item in store.run(file.run_id).block_states()] == ["interrupted"] * number
    with pytest.raises(Exception, match="was begun"), open_store(url) as store:
        store.writer.begin_shard(file.run_id, 2, 2, "another")
