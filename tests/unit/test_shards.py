"""A plan that several controllers measure: how it is split, the file that it is, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from perfctl.__main__ import main
from perfctl.errors import DataError, SchemaMismatch, UsageError
from perfctl.model import Benchmark, Environment, Host, Suite, new_id
from perfctl.plan import make_plan
from perfctl.plan.file import PlanFile
from perfctl.plan.request import PlannedRun
from perfctl.plan.shards import Shard, part_of, split
from perfctl.render.figures import unfinished
from perfctl.report.comparison import comparison_report
from perfctl.report.gate import gate_report
from perfctl.store import Store, open_store
from tests.unit import store_cases as cases
from tests.unit.test_store_upkeep import dump, problems
from tests.unit.test_transfer import merged

NATIVE, OTHER = Environment("native", "native"), Environment("other", "native", env=(("A", "b"),))
CPU = Benchmark("cpu", "sysbench", {"test": "cpu"}, expected_s=1)
STREAM = Benchmark("stream", "netperf", {"test": "TCP_STREAM"}, expected_s=1, scope="pair", targets=3)


def hosts(count: int, **resources: str) -> tuple[Host, ...]:
    names = [f"h{number}" for number in range(count)]
    return tuple(Host(name, f"192.0.2.{name[1:]}", resource=resources.get(name)) for name in names)


def planned(fleet: tuple[Host, ...], *benchmarks: Benchmark, blocks: int = 2) -> PlannedRun:
    suite = Suite("demo", "", "native", (NATIVE, OTHER), benchmarks or (CPU,), blocks)
    return PlannedRun(new_id(), make_plan(suite, fleet, seed="1"), fleet, ("hosts.yml",))


def resources(fleet: tuple[Host, ...]) -> dict[str, str | None]:
    return {host.name: host.resource for host in fleet}


@pytest.mark.parametrize("text", ["0/8", "9/8", "3", "3/0", "a/b", "3/8/9", "-1/8", "", "3 / 8"])
def test_a_shard_that_cannot_be_is_refused(text):
    with pytest.raises(UsageError, match="no shard"):
        Shard.parse(text)


@pytest.mark.parametrize(("count", "shards"), [(8, 8), (10, 3), (1000, 8), (5, 1)])
def test_every_block_is_in_one_shard_and_all_have_about_as_much_to_do(count, shards):
    run = planned(hosts(count))
    parts = [part_of(run.plan, {}, Shard(number, shards)) for number in range(1, shards + 1)]
    keys = [(block.benchmark, str(block.target), block.index) for part in parts for block in part.blocks()]
    assert sorted(keys) == sorted((b.benchmark, str(b.target), b.index) for b in run.plan.blocks())
    sizes = [part.invocation_count for part in parts]
    assert max(sizes) - min(sizes) <= 2 * 3
    # The order inside a block and the rounds are those of the whole plan.
    of_plan = {(block.benchmark, str(block.target), block.index): block for block in run.plan.blocks()}
    assert all(of_plan[b.benchmark, str(b.target), b.index] == b for part in parts for b in part.blocks())
    assert parts == [part_of(run.plan, {}, Shard(number, shards)) for number in range(1, shards + 1)]


def test_hosts_of_one_resource_and_both_ends_of_a_pair_are_in_one_shard():
    fleet = hosts(9, h0="rack", h8="rack", h1="switch", h2="switch")
    run = planned(fleet, CPU, STREAM)
    pairs = [block.target for block in run.plan.blocks() if block.target.peer]
    assert len({str(target) for target in pairs}) == 3
    for count in range(1, 5):
        shards = split(run.plan, resources(fleet), count)
        (of_h0,) = [shard for shard in shards if "h0" in shard]
        (of_h1,) = [shard for shard in shards if "h1" in shard]
        assert "h8" in of_h0 and "h2" in of_h1
        for target in pairs:
            assert any(set(target.hosts) <= shard for shard in shards)
        assert sorted(name for shard in shards for name in shard) == sorted(host.name for host in fleet)


def test_a_shard_with_nothing_to_do_is_refused_with_how_many_there_can_be():
    fleet = hosts(4, h0="rack", h1="rack")
    run = planned(fleet)
    part_of(run.plan, resources(fleet), Shard(3, 3))
    with pytest.raises(UsageError, match="3 groups") as refused:
        part_of(run.plan, resources(fleet), Shard(4, 4))
    assert "use 3 shards" in (refused.value.hint or "")


# --- the file ----------------------------------------------------------------------------------------------


@pytest.fixture
def plan_path(tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    PlanFile.of(planned(hosts(4, h0="rack", h1="rack")), ("perfctl", "plan")).write(path)
    return path


def test_a_file_gives_the_same_run_in_every_database(plan_path, tmp_path):
    file = PlanFile.read(plan_path)
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
    contents = []
    for name in ("a.db", "b.db"):
        with open_store(tmp_path / name, create=True) as store:
            PlanFile.read(plan_path).store(store)
            file.store(store)
            assert store.run("latest").resources() == {"h0": "rack", "h1": "rack", "h2": None, "h3": None}
        contents.append(dump(tmp_path / name))
    assert contents[0] == contents[1] and len(contents[0]["run"]) == 1
    with pytest.raises(UsageError, match="exists"):
        file.write(plan_path)
    with open_store(tmp_path / "a.db") as store:
        other = replace(file, plan=replace(file.plan, seed="2"))
        with pytest.raises(DataError, match="another plan under this id"):
            other.store(store)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"perfctl_version": "9.9"}, SchemaMismatch, "made by perfctl 9.9"),
        ({"version": 2}, SchemaMismatch, "made by perfctl"),
        ({"format": "x"}, DataError, "its format is 'x'"),
        ({"run_id": "x"}, DataError, "no id"),
        ({"hosts": []}, DataError, "no host h0"),
        ({"hosts": [{}]}, DataError, "no plan of perfctl"),
        ({"plan": {}}, DataError, "no stored plan"),
        ({"made_at": "x"}, DataError, "no plan of perfctl"),
        ({"thresholds": 1}, DataError, "no plan of perfctl"),
    ],
)
def test_a_file_of_another_version_or_none_is_refused(plan_path, change, error, words):
    content = json.loads(plan_path.read_text())
    plan_path.write_text(json.dumps({**content, **change}))
    with pytest.raises(error, match=words):
        PlanFile.read(plan_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_a_file_that_is_something_else_is_refused(plan_path, text):
    plan_path.write_text(text)
    with pytest.raises(DataError, match="no plan of perfctl"):
        PlanFile.read(plan_path)


def test_a_plan_whose_blocks_are_still_to_be_decided_is_refused():
    run = planned(hosts(2), replace(CPU, precision=0.01))
    with pytest.raises(UsageError, match="not fixed") as refused:
        PlanFile.of(run, ())
    assert "--blocks" in (refused.value.hint or "")


# --- the database ------------------------------------------------------------------------------------------


@pytest.fixture
def store(plan_path, tmp_path):
    with open_store(tmp_path / "results.db", create=True) as opened:
        PlanFile.read(plan_path).store(opened)
        yield opened


def status(store: Store) -> tuple[str, str]:
    (run,) = store.runs()
    assert store.history.runs()[0].status == run.status
    return run.status, run.missing


def test_what_became_of_a_run_is_said_by_its_shards(store):
    (run,) = store.runs()
    row = dump(store.path)["run"]
    assert status(store) == ("planned", "all shards")
    store.writer.begin_shard(run.run_id, 2, 3, "one")
    assert status(store) == ("running", "shards 1, 3 of 3")
    store.writer.end_shard(run.run_id, 2, "complete", ["h0"])
    assert status(store) == ("planned", "shards 1, 3 of 3")
    assert store.runs()[0].ended_at is None
    for number, how in ((1, "interrupted"), (3, "partial")):
        store.writer.begin_shard(run.run_id, number, 3, "two")
        store.writer.end_shard(run.run_id, number, how, ["h1"])
    assert status(store) == ("interrupted", "")
    store.writer.reopen_shard(run.run_id, 1)
    assert status(store) == ("running", "")
    store.writer.end_shard(run.run_id, 1, "complete", ["h1"])
    assert status(store) == ("partial", "")
    store.writer.reopen_shard(run.run_id, 3)
    store.writer.end_shard(run.run_id, 3, "complete", ["h2"])
    assert status(store) == ("complete", "")
    assert store.runs()[0].ended_at == max(shard.ended_at or 0 for shard in store.runs()[0].shards)
    assert dump(store.path)["run"] == row, "the run's own row never changes"
    assert problems(store.path) == {}


def test_a_shard_that_was_begun_and_another_number_of_shards_are_refused(store):
    (run,) = store.runs()
    store.writer.begin_shard(run.run_id, 2, 3, "one")
    with pytest.raises(UsageError, match="shard 2/3 was begun on one") as refused:
        store.writer.begin_shard(run.run_id, 2, 3, "two")
    assert f"perfctl resume {run.run_id} --shard 2/3" in (refused.value.hint or "")
    with pytest.raises(UsageError, match="in 3 shards, not in 8"):
        store.writer.begin_shard(run.run_id, 1, 8, "two")
    assert len(store.runs()[0].shards) == 1


def test_the_end_of_a_shard_leaves_the_blocks_of_others_alone(store):
    (run,) = store.runs()
    plan = PlanFile.read(store.path.with_name("plan.json")).plan
    blocks = {block.target.host: block for block in plan.blocks()}
    for name in ("h0", "h2"):
        store.writer.begin_block(run.run_id, blocks[name], 1)
    store.writer.begin_shard(run.run_id, 1, 2, "one")
    store.writer.end_shard(run.run_id, 1, "interrupted", ["h0", "h1"])
    states = {str(state.target): state.status for state in store.run(run.run_id).block_states()}
    assert states == {"h0": "interrupted", "h2": "running"}


def measure_shard(path: Path, plan_path: Path, shard: Shard) -> None:
    """Measure a shard as a controller does, with values that depend on where and when alone."""
    file = PlanFile.read(plan_path)
    with open_store(path, create=True) as store:
        file.store(store)
        part = part_of(file.plan, store.run(file.run_id).resources(), shard)
        store.writer.begin_shard(file.run_id, shard.number, shard.count, f"controller {shard.number}")
        for block in part.blocks():
            seed = 100.0 + sum(map(ord, str(block.target))) % 7 + block.index % 5
            values = {
                (leg.environment, leg.replicate): seed + leg.replicate + 20 * (leg.environment == "other")
                for leg in block.invocations
            }
            cases.measure_block(store, file.run_id, block, values)
        store.writer.end_shard(file.run_id, shard.number, "complete", {b.target.host for b in part.blocks()})


def test_shards_that_meet_by_merging_are_one_run_with_the_same_verdicts(tmp_path):
    path = tmp_path / "plan.json"
    PlanFile.of(planned(hosts(8), blocks=8), ()).write(path)
    measure_shard(tmp_path / "alone.db", path, Shard(1, 1))
    for number in (1, 2, 4):
        measure_shard(tmp_path / f"{number}.db", path, Shard(number, 4))
        merged(tmp_path / f"{number}.db", tmp_path / "all.db")
    with open_store(tmp_path / "all.db") as store:
        assert status(store) == ("planned", "shard 3 of 4")
        report = comparison_report(store, "latest")
        (note,) = unfinished(report.run)
        assert "missing: shard 3 of 4" in note
        with pytest.raises(DataError, match="shard 3 of 4 missing") as refused:
            gate_report(store, "latest", max_regression=0.5)
        assert "--unfinished" in (refused.value.hint or "")
    measure_shard(tmp_path / "3.db", path, Shard(3, 4))
    merged(tmp_path / "3.db", tmp_path / "all.db")
    assert merged(tmp_path / "3.db", tmp_path / "all.db").is_nothing
    with open_store(tmp_path / "all.db") as store, open_store(tmp_path / "alone.db") as alone:
        assert status(store) == ("complete", "")
        found, wanted = (comparison_report(one, "latest") for one in (store, alone))
        assert found.comparisons == wanted.comparisons and len(found.comparisons) > 0
    assert problems(tmp_path / "all.db") == {}
    # The same shard, measured by somebody else.
    measure_shard(tmp_path / "again.db", path, Shard(3, 4))
    with pytest.raises(DataError, match="another content"):
        merged(tmp_path / "again.db", tmp_path / "all.db")


def test_plan_as_a_user_types_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hosts.yml").write_text("all: {hosts: {here: {ansible_connection: local}}}\n")

    def perfctl(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["--db", "results.db", "-i", "hosts.yml", *arguments])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, " ".join(said.err.split())

    options = ("--suite", "cpu", "--env", "native", "-o", "plan.json")
    code, _, err = perfctl("plan", *options)
    assert (code, "not fixed" in err, (tmp_path / "plan.json").exists()) == (2, True, False)
    code, out, err = perfctl("plan", *options, "--blocks", "2")
    assert code == 0 and out.strip() == json.loads((tmp_path / "plan.json").read_text())["run_id"]
    assert "perfctl run --plan plan.json --shard 1/8 -i hosts.yml --db results.db" in err
    assert json.loads(perfctl("runs", "--format", "json")[1])["rows"][0]["status"] == "planned"
    assert perfctl("plan", *options, "--blocks", "2")[0] == 2
    for arguments, words in (
        (("run", "--plan", "plan.json", "--shard", "9/8"), "no shard '9/8'"),
        (("run", "--plan", "plan.json", "--shard", "2/2"), "use 1 shards"),
        (("run", "--shard", "1/2", "--suite", "cpu"), "--shard needs --plan"),
        (("run", "--plan", "plan.json", "--blocks", "3"), "--blocks has no effect with --plan"),
        (("run",), "Missing option '--suite'"),
        (("resume", "latest"), "no shard of it was begun"),
        (("resume", "latest", "--shard", "1/1"), "no shard of it was begun"),
    ):
        code, out, err = perfctl(*arguments)
        assert (code, out) == (2, "") and words in err, (arguments, err)
    code, out, _ = perfctl("show", "latest")
    assert code == 0 and "all shards" in out
