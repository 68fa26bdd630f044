"""Two runs against each other: made-up costs of known size, through the real store and the command line."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from perfctl.cli import main_group
from perfctl.errors import Refused, UnknownName, UsageError
from perfctl.model import (
    Environment,
    Fact,
    FactState,
    Fingerprint,
    Plan,
    PlannedInvocation,
    Round,
    Target,
    Track,
)
from perfctl.report import run_report
from perfctl.store import Store, open_store
from tests.unit import store_cases as cases


def plan_of(hosts: tuple[str, ...], blocks: int = 12) -> Plan:
    whole = tuple(cases.block(Target(host), index) for host in hosts for index in range(blocks))
    return dataclasses.replace(cases.PLAN, rounds=(Round((Track(whole),)),))


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
) -> str:
    """Store a run: the container takes `cost` times as long as native; all values are times `level`."""
    plan = plan_of(hosts)
    run_id = cases.begin_run(store, plan)
    generator = random.Random(seed)
    for host in hosts:
        facts = Fingerprint(
            (
                Fact("kernel.release", FactState.PRESENT, kernel),
                Fact("cpu.model", FactState.PRESENT, "made-up"),
            )
        )
        store.record_host_snapshot(run_id, host, "before", facts)
        for environment in ("native", "container"):
            inside = Fingerprint((Fact("tool.sysbench.sha256", FactState.PRESENT, tool),))
            store.record_environment_snapshot(run_id, host, environment, inside, {})
    for block in plan.blocks():
        slower = (costs or {}).get(block.target.host, cost)
        values = {
            (item.environment, item.replicate): 1000
            * level
            / (slower if item.environment == "container" else 1)
            * generator.lognormvariate(0, 0.004)
            for item in block.invocations
        }
        cases.measure_block(store, run_id, block, values)
    store.end_run(run_id, "complete")
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
    assert "different: 1.05x slower" in perfctl(path, one, two).stdout
    assert "different: 1.05x faster" in perfctl(path, two, one).stdout


def test_another_kernel_or_build_marks_the_comparison(path: Path) -> None:
    with open_store(path, create=True) as store:
        one = measure(store, cost=1.1, seed=1)
        two = measure(store, cost=1.1, seed=2, kernel="6.8.0", tool="b" * 64)
        report = run_report(store, one, two)
    text = report.comparisons[0].confounded
    assert "kernel.release on h1 6.1.0 -> 6.8.0" in text
    assert "sysbench in container on h1 aaaaaaaaaaaa -> bbbbbbbbbbbb" in text
    assert "confounded: " in perfctl(path, one, two).stdout


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
    assert report.left_out == (f"cpu-1 in container on h2: only in run {one}",)


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
        block_id = store.begin_block(run_id, block, 1)
        for item in order:
            under = accelerator if item.environment == "vm" else None
            done = cases.record(block_id, item.environment, item.replicate, accelerator=under)
            value = speed if under else 1000.0
            store.record_invocation(done, cases.METRICS, cases.samples(value + block.index))
        store.end_block(block_id, "complete")
    return run_id


def test_kvm_is_set_against_tcg_only_when_that_is_asked_for(path: Path) -> None:
    with open_store(path, create=True) as store:
        kvm, tcg = guests(store, "kvm", 950.0), guests(store, "tcg", 40.0)
        with pytest.raises(Refused, match="nothing in common"):
            run_report(store, kvm, tcg)
        asked = run_report(store, kvm, tcg, by="accelerator").comparisons
    assert [item.is_emulated for item in asked] == [True]
    page = perfctl(path, kvm, tcg, "--by", "accelerator").stdout
    assert "emulated: not an overhead figure; different: " in page


def test_an_unknown_baseline_is_an_error(path: Path) -> None:
    with open_store(path, create=True) as store:
        one, two = (measure(store, cost=1.1, seed=seed) for seed in (1, 2))
        with pytest.raises(UnknownName, match="no environment 'vm'"):
            run_report(store, one, two, baseline="vm")
