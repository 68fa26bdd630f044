"""Two runs against each other: made-up costs of known size, through the real store and the command line."""

from __future__ import annotations

import dataclasses
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from perfctl.cli import main_group
from perfctl.compare import PairingContext, RunSide, compare_runs, pair
from perfctl.errors import Refused, UnknownName, UsageError
from perfctl.model import (
    Environment,
    Fact,
    FactState,
    Fingerprint,
    Host,
    Observation,
    Plan,
    PlannedInvocation,
    Reach,
    Round,
    Target,
    Track,
)
from perfctl.report import run_report
from perfctl.stats.multiplicity import benjamini_hochberg
from perfctl.stats.precision import minimum_detectable_shift
from perfctl.stats.two_sample import rank_sum_p
from perfctl.store import Store, open_store
from tests.unit import store_cases as cases


def plan_of(hosts: tuple[str, ...], blocks: int = 12) -> Plan:
    whole = tuple(cases.block(Target(host), index) for host in hosts for index in range(blocks))
    return dataclasses.replace(cases.PLAN, benchmarks=(cases.CPU,), rounds=(Round((Track(whole),)),))


def measure(
    store: Store,
    *,
    cost: float,
    level: float = 1.0,
    seed: int = 1,
    hosts: tuple[str, ...] = ("h1", "h2"),
    kernel: str = "6.1.0",
    tool: str = "a" * 64,
    costs: dict[str, float] | None = None,
    noise: float = 0.004,
) -> str:
    """Store a run: the container takes `cost` times as long as native; all values are times `level`."""
    plan = plan_of(hosts)
    run_id = cases.begin_run(store, plan, hosts=[Host(host, "192.0.2.1") for host in hosts])
    generator = random.Random(seed)
    for host in hosts:
        facts = Fingerprint(
            (
                Fact("kernel.release", FactState.PRESENT, kernel),
                Fact("cpu.model", FactState.PRESENT, "made-up"),
            )
        )
        store.writer.record_host_snapshot(run_id, host, "before", facts)
        for environment in ("native", "container"):
            inside = Fingerprint((Fact("tool.sysbench.sha256", FactState.PRESENT, tool),))
            store.writer.record_environment_snapshot(run_id, host, environment, inside, {})
    for block in plan.blocks():
        slower = (costs or {}).get(block.target.host, cost)
        values = {
            (item.environment, item.replicate): 1000
            * level
            / (slower if item.environment == "container" else 1)
            * generator.lognormvariate(0, noise)
            for item in block.invocations
        }
        cases.measure_block(store, run_id, block, values)
    store.writer.end_run(run_id, "complete")
    return run_id


def perfctl(database: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main_group, ["--db", str(database), "compare", *arguments])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def test_the_verdict_is_about_the_ratio_and_not_about_the_values(path: Path) -> None:
    """The machine is 20 % slower in the second run, natively and in the container: nothing became dearer."""
    with open_store(path, create=True) as store:
        one = measure(store, cost=1.10, seed=1)
        two = measure(store, cost=1.10, level=0.8, seed=2)
        report = run_report(store, one, two)
    assert [str(item.target) for item in report.comparisons] == ["h1", "h2"]
    for item in report.comparisons:
        assert item.judgement.verdict == "equivalent"
        assert item.low is not None and item.high is not None and item.low < 1 < item.high
        assert item.raw_ratio == pytest.approx(0.8, abs=0.01)
        assert item.raw_high is not None and item.raw_high < 0.85
        assert item.first_ratio == pytest.approx(1 / 1.10, abs=0.01)
        assert (item.blocks, item.confounded) == ((12, 12), "")
    page = perfctl(path, one, two)
    assert page.exit_code == 0, page.output
    assert "the runs are not interleaved" in page.stdout and "left out: nothing" in page.stdout


def test_a_container_that_became_dearer_is_found_and_swapping_the_runs_swaps_it(path: Path) -> None:
    with open_store(path, create=True) as store:
        one = measure(store, cost=1.10, seed=1)
        two = measure(store, cost=1.155, seed=2)
        there, back = run_report(store, one, two), run_report(store, two, one)
    for item, other in zip(there.comparisons, back.comparisons, strict=True):
        assert item.judgement.verdict == other.judgement.verdict == "different"
        assert item.ratio is not None and other.ratio is not None and item.low is not None
        assert item.ratio == pytest.approx(1 / 1.05, abs=0.006)
        assert abs(item.ratio * other.ratio - 1) < 1e-12
        assert (item.p, item.judgement.q) == (other.p, other.judgement.q)
    assert re.search(r"1\.05x slower .* different ", perfctl(path, one, two).stdout)
    assert re.search(r"1\.05x faster .* different ", perfctl(path, two, one).stdout)


def test_another_kernel_or_build_marks_the_comparison(path: Path) -> None:
    with open_store(path, create=True) as store:
        one = measure(store, cost=1.1, seed=1)
        two = measure(store, cost=1.1, seed=2, kernel="6.8.0", tool="b" * 64)
        report = run_report(store, one, two)
    text = report.comparisons[0].confounded
    assert "kernel.release on h1 6.1.0 -> 6.8.0" in text
    assert "sysbench in container on h1 aaaaaaaaaaaa -> bbbbbbbbbbbb" in text
    page = " ".join(perfctl(path, one, two).stdout.split())
    assert f"confounded: {text}" in page


def test_by_names_the_one_thing_that_may_differ(path: Path) -> None:
    with open_store(path, create=True) as store:
        one = measure(store, cost=1.1, seed=1)
        two = measure(store, cost=1.1, seed=2, kernel="6.8.0")
        three = measure(store, cost=1.1, seed=3, kernel="6.8.0", tool="b" * 64)
        assert run_report(store, one, two, by="kernel").comparisons[0].confounded == ""
        with pytest.raises(Refused, match=r"not only the kernel differs, also tool: sysbench") as refused:
            run_report(store, one, three, by="kernel")
        with pytest.raises(UsageError, match="the two do not differ in kernel") as usage:
            run_report(store, two, three, by="kernel")
    assert (refused.value.exit_code, usage.value.exit_code) == (7, 2)


def test_what_has_the_same_name_and_is_another_thing_is_left_out(path: Path) -> None:
    with open_store(path, create=True) as store:
        one = measure(store, cost=1.1)
        changed = dataclasses.replace(cases.CPU, parameters={"test": "cpu", "threads": 4})
        plan = dataclasses.replace(plan_of(("h1",)), benchmarks=(changed, cases.STREAM))
        two = cases.begin_run(store, plan)
        for block in plan.blocks():
            cases.measure_block(
                store, two, block, {("native", 1): 1.0, ("native", 2): 1.0, ("container", 1): 1.0}
            )
        with pytest.raises(Refused, match="nothing in common") as refused:
            run_report(store, one, two)
    assert refused.value.exit_code == 7
    assert "benchmark cpu-1: other parameters in each run" in (refused.value.hint or "")


def test_hosts_that_only_one_run_has_are_named(path: Path) -> None:
    with open_store(path, create=True) as store:
        one = measure(store, cost=1.1, seed=1)
        two = measure(store, cost=1.1, seed=2, hosts=("h1",))
        report = run_report(store, one, two)
    assert [str(item.target) for item in report.comparisons] == ["h1"]
    assert report.unmatched == (f"cpu-1 in container on h2: only in run {one}",)


def test_the_hosts_of_a_run_can_be_compared(path: Path) -> None:
    with open_store(path, create=True) as store:
        run = measure(store, cost=1.1, costs={"h1": 1.1, "h2": 1.3})
        only = run_report(store, run, by="host").comparisons
        single = measure(store, cost=1.1, hosts=("h1",))
        with pytest.raises(UsageError, match="within a run of several"):
            run_report(store, single, by="host")
        with pytest.raises(UsageError, match="compared with itself"):
            run_report(store, run, run)
    assert [(str(item.target), str(item.other_target)) for item in only] == [("h1", "h2")]
    assert only[0].judgement.verdict == "different"
    assert only[0].ratio == pytest.approx(1.1 / 1.3, abs=0.01)
    assert "h1, then h2" in perfctl(path, run, "--by", "host").stdout
    refused = perfctl(path, run, "--by", "kernel").exception
    assert isinstance(refused, UsageError) and "one run cannot be compared by kernel" in str(refused)


@pytest.mark.parametrize(
    ("count", "reach"), [(2, Reach.THESE_HOSTS), (4, Reach.THESE_HOSTS), (5, Reach.FLEET)]
)
def test_the_hosts_of_both_runs_say_something_together(path: Path, count: int, reach: Reach) -> None:
    hosts = tuple(f"h{number}" for number in range(1, count + 1))
    with open_store(path, create=True) as store:
        one = measure(store, cost=1.10, seed=1, hosts=(*hosts, "only-here"))
        two = measure(store, cost=1.155, seed=2, hosts=hosts)
        there, back = run_report(store, one, two), run_report(store, two, one)
    (claim,), (other,) = there.fleets, back.fleets
    assert [host.target.host for host in claim.hosts] == list(hosts)
    assert (claim.reach, claim.judgement.verdict) == (reach, "different")
    assert claim.ratio == pytest.approx(1 / 1.05, abs=0.005) and claim.low is not None
    assert claim.low < 1 / 1.05 < (claim.high or 0)
    assert claim.ratio is not None and other.ratio is not None and abs(claim.ratio * other.ratio - 1) < 1e-12
    assert claim.p == pytest.approx(other.p, rel=1e-9)
    q_values = [item.judgement.q for item in there.comparisons]
    assert [*q_values, claim.judgement.q] == benjamini_hochberg(
        [*(item.p for item in there.comparisons), claim.p]
    )
    page = perfctl(path, one, two).stdout
    assert f" 12, 12 x {count} " in page
    assert ("about these hosts only" in page) is (reach is Reach.THESE_HOSTS)
    assert max(map(len, page.splitlines())) <= 120
    rows = json.loads(perfctl(path, one, two, "--format", "json").stdout)["rows"]
    assert [row["level"] for row in rows] == ["host"] * count + ["fleet"]
    fleet = rows[-1]
    assert (fleet["hosts"], fleet["first_blocks"], fleet["first_ratio"]) == (list(hosts), 12 * count, None)
    assert (fleet["target"], fleet["verdict"]) == (f"{count} hosts", "different")


def test_the_fleet_of_two_runs_keeps_its_level_when_nothing_changed(path: Path) -> None:
    """Hosts differ, the runs do not: the exact test of few hosts and the t test of five."""
    generator = random.Random(11)
    wrong = {3: 0, 5: 0}
    for seed in range(200):
        for count in wrong:
            sides = []
            for _ in range(2):
                seen = [
                    Observation("b", cases.METRICS[0], Target(f"h{host}"), block, name, 1, value)
                    for host in range(count)
                    for block in range(8)
                    for name, value in (
                        ("native", 100 * generator.lognormvariate(0, 0.01)),
                        ("container", 100 * generator.lognormvariate(0.05 * host + seed * 1e-4, 0.01)),
                    )
                ]
                sides.append(RunSide(pair(seen, PairingContext("native")), {}))
            (claim,) = compare_runs(*sides, margins={}, confounding=lambda one, two: "").fleets
            wrong[count] += claim.p is not None and claim.p <= 0.05
    assert all(count <= 18 for count in wrong.values())


def test_inconclusive_lines_say_what_they_could_have_found_and_what_they_need(path: Path) -> None:
    with open_store(path, create=True) as store:
        one, two = (measure(store, cost=1.1, seed=seed, noise=0.02) for seed in (1, 2))
        report = run_report(store, one, two)
    judgements = [*(item.judgement for item in report.comparisons), report.fleets[0].judgement]
    assert [item.verdict for item in judgements] == ["inconclusive"] * 3
    assert all(item.mde and item.needed and item.needed > 12 for item in judgements)
    page = " ".join(perfctl(path, one, two).stdout.split())
    first, claim = judgements[0], judgements[-1]
    assert f"needs about {first.needed} blocks in each run" in page
    assert f"needs about {claim.needed} blocks on each host in each run" in page
    rows = json.loads(perfctl(path, one, two, "--format", "json").stdout)["rows"]
    assert [row["mde"] for row in rows] == [item.mde for item in judgements]


@pytest.mark.parametrize(
    ("first", "second", "wider"), [(5, 5, 1), (10, 10, 1), (10, 10, 2), (6, 30, 1), (30, 30, 1), (30, 6, 2)]
)
def test_two_runs_find_the_effect_that_they_say_they_find(first: int, second: int, wider: int) -> None:
    """With the chance of 80 % that is told; the second run may scatter more."""
    generator = np.random.default_rng(12)
    effect = minimum_detectable_shift((first, 0.01), (second, 0.01 * wider))
    assert effect is not None
    found = sum(
        rank_sum_p(0.01 * generator.normal(size=first), effect + 0.01 * wider * generator.normal(size=second))
        <= 0.05
        for _ in range(1500)
    )
    assert 0.75 <= found / 1500 <= 0.90


def test_too_few_values_find_nothing() -> None:
    assert minimum_detectable_shift((3, 0.01), (4, 0.01)) is None
    with pytest.raises(ValueError, match="at least 0"):
        minimum_detectable_shift((6, -1.0), (6, 0.01))


def test_what_each_run_left_out_is_named_with_its_reason(path: Path) -> None:
    with open_store(path, create=True) as store:
        one = measure(store, cost=1.1, seed=1)
        plan = plan_of(("h1", "h2"))
        two = cases.begin_run(store, plan)
        for block in plan.blocks():
            values = {("native", 1): 1000.0 + block.index, ("native", 2): 1000.0}
            if block.target.host == "h1":
                cases.measure_block(store, two, block, values | {("container", 1): 900.0})
            elif block.index < 3:
                block_id = store.writer.begin_block(two, block, attempt=1)
                store.writer.end_block(block_id, "interrupted")
        store.writer.end_run(two, "partial")
        report = run_report(store, one, two)
    first, second = report.left_out
    assert first == ()
    assert [(str(item.target), item.environment, item.reason, item.blocks) for item in second] == [
        ("h2", leg, "not run", 3) for leg in ("container", "native", "native A2")
    ]
    page = perfctl(path, one, two).stdout
    table = page[page.index("\nleft out\n") :]
    assert re.search(r"second +cpu-1 +h2 +container +— +not run +3", table)
    rows = json.loads(perfctl(path, one, two, "--format", "json").stdout)["rows"]
    lost = [row for row in rows if row["level"] == "left_out"]
    assert [(row["run"], row["environment"], row["left_out"], row["note"]) for row in lost] == [
        (two, leg, 3, "not run") for leg in ("container", "native", "native A2")
    ]


def test_few_blocks_are_inconclusive_with_a_reason(path: Path) -> None:
    with open_store(path, create=True) as store:
        runs = []
        for seed in (1, 2):
            plan = plan_of(("h1",), blocks=3)
            run_id = cases.begin_run(store, plan)
            for block in plan.blocks():
                values = {("native", 1): 100.0 + block.index, ("native", 2): 100.0}
                cases.measure_block(store, run_id, block, values | {("container", 1): 90.0 / seed})
            runs.append(run_id)
        item = run_report(store, *runs).comparisons[0]
    assert (item.low, item.judgement.verdict) == (None, "inconclusive")
    assert "3 and 3 values have no 95% interval" in item.judgement.why


def test_the_json_is_the_same_to_the_byte(path: Path) -> None:
    with open_store(path, create=True) as store:
        one, two = (measure(store, cost=1.1, seed=seed) for seed in (1, 2))
    first, second = (perfctl(path, one, two, "--format", "json") for _ in range(2))
    assert first.stdout_bytes == second.stdout_bytes
    row = json.loads(first.stdout)["rows"][0]
    assert (row["verdict"], row["first_blocks"], row["second_blocks"]) == ("equivalent", 12, 12)


def guests(store: Store, accelerator: str, speed: float) -> str:
    order = (
        PlannedInvocation("native", 1, 0),
        PlannedInvocation("native", 2, 1),
        PlannedInvocation("vm", 1, 2),
    )
    blocks = tuple(dataclasses.replace(cases.block(index=index), invocations=order) for index in range(8))
    vm = Environment("vm", "vm", image="perf-vm")
    plan = dataclasses.replace(cases.PLAN, environments=(cases.NATIVE, vm), rounds=(Round((Track(blocks),)),))
    run_id = cases.begin_run(store, plan)
    for block in blocks:
        block_id = store.writer.begin_block(run_id, block, 1)
        for item in order:
            under = accelerator if item.environment == "vm" else None
            done = cases.record(block_id, item.environment, item.replicate, accelerator=under)
            value = speed if under else 1000.0
            store.writer.record_invocation(done, cases.METRICS, cases.samples(value + block.index))
        store.writer.end_block(block_id, "complete")
    return run_id


def test_kvm_is_set_against_tcg_only_when_that_is_asked_for(path: Path) -> None:
    with open_store(path, create=True) as store:
        kvm, tcg = guests(store, "kvm", 950.0), guests(store, "tcg", 40.0)
        with pytest.raises(Refused, match="nothing in common"):
            run_report(store, kvm, tcg)
        asked = run_report(store, kvm, tcg, by="accelerator").comparisons
    assert [item.is_emulated for item in asked] == [True]
    page = perfctl(path, kvm, tcg, "--by", "accelerator").stdout
    assert "emulated: not an overhead figure" in page and re.search(r"x slower .* emulated ", page)


def test_an_unknown_baseline_is_an_error(path: Path) -> None:
    with open_store(path, create=True) as store:
        one, two = (measure(store, cost=1.1, seed=seed) for seed in (1, 2))
        with pytest.raises(UnknownName, match="no environment 'vm'"):
            run_report(store, one, two, baseline="vm")
