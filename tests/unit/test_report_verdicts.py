"""Verdicts from a database: equivalence margins from its history, its A/A rate, and what was left out."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from perfctl.cli import main_group
from perfctl.model import (
    Block,
    Direction,
    Host,
    Metric,
    Plan,
    Reason,
    Round,
    Status,
    Suite,
    Target,
    Track,
    new_id,
)
from perfctl.plan import make_plan, plan_to_json
from perfctl.report import comparison_report
from perfctl.report.margins import declared_metrics
from perfctl.store import Store, open_store
from tests.unit import store_cases as cases

HOSTS = ("h1", "h2")


def plan_of(hosts: tuple[str, ...] = HOSTS, blocks: int = 8) -> Plan:
    whole = tuple(cases.block(Target(host), index) for host in hosts for index in range(blocks))
    return dataclasses.replace(cases.PLAN, benchmarks=(cases.CPU,), rounds=(Round((Track(whole),)),))


def run(store: Store, *, seed: int, noise: float = 0.002, off: float = 0.0, cost: float = 1.05) -> str:
    """Store a run; the baseline's second replicate is `off` from the first (as a share)."""
    generator = random.Random(seed)
    plan = plan_of()
    run_id = cases.begin_run(store, plan)
    for block in plan.blocks():
        speed = {("native", 1): 1000.0, ("native", 2): 1000.0 * (1 + off), ("container", 1): 1000 / cost}
        values = {leg: value * generator.lognormvariate(0, noise) for leg, value in speed.items()}
        cases.measure_block(store, run_id, block, values)
    store.writer.end_run(run_id, "complete")
    return run_id


def perfctl(database: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main_group, ["--db", str(database), "compare", *arguments])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


def test_the_margin_comes_from_earlier_a_a_tests_and_never_from_later_ones(path: Path) -> None:
    with open_store(path, create=True) as store:
        first = run(store, seed=0)
        for seed in range(1, 12):
            run(store, seed=seed, off=0.07)
        last = run(store, seed=99)
        early, late = comparison_report(store, first), comparison_report(store, last)
    for report, verdict, source in (
        (early, "different", "the least, 0.01"),
        (late, "equivalent", "99th percentile of 24 A/A results"),
    ):
        for item in report.comparisons:
            if item.judgement is not None:
                assert (item.judgement.verdict, item.judgement.margin_source) == (verdict, source)
    assert late.comparisons[0].judgement is not None
    assert late.comparisons[0].judgement.equivalence_margin == pytest.approx(0.07, abs=0.01)
    assert "equivalence margin: ±7" in perfctl(path, last).stdout


def test_the_report_has_its_own_a_a_result_and_the_rate_over_the_database(path: Path) -> None:
    with open_store(path, create=True) as store:
        first = run(store, seed=0)
        run(store, seed=1, off=0.07)
        report = comparison_report(store, "latest")
        assert (report.health.failed, report.health.tests, report.health.runs) == (2, 4, 2)
        assert (comparison_report(store, first).health.tests) == 2
    page = perfctl(path, "latest").stdout
    assert "A/A: 2 of 2 tests of the baseline against itself have p <= 0.05" in page
    assert "A/A over the database: 2 of 4 tests in 2 runs (50.0 %, 95 % CI 6.8 to 93.2 %)" in page


def fails(store: Store, run_id: str, block: Block, environment: str, reason: Reason) -> None:
    block_id = store.writer.begin_block(run_id, block, attempt=1)
    for planned in block.invocations:
        done = cases.record(block_id, planned.environment, planned.replicate, position=planned.position)
        if planned.environment == environment and planned.replicate == 1:
            failed = dataclasses.replace(done, status=Status.FAILED, reason=reason)
            store.writer.record_invocation(failed, cases.METRICS, [])
        else:
            store.writer.record_invocation(done, cases.METRICS, cases.samples(100.0 + block.index))
    store.writer.end_block(block_id, "failed")


def test_what_was_left_out_is_named_with_its_reason(path: Path) -> None:
    plan = plan_of(hosts=("h1",))
    with open_store(path, create=True) as store:
        run_id = cases.begin_run(store, plan)
        for number, block in enumerate(plan.blocks()):
            if number < 2:
                fails(store, run_id, block, "container", Reason.TIMEOUT)
            elif number < 3:
                fails(store, run_id, block, "native", Reason.DISK_FULL)
            elif number < 4:
                block_id = store.writer.begin_block(run_id, block, attempt=1)
                done = cases.record(block_id, "container")
                store.writer.record_invocation(done, cases.METRICS, cases.samples(100.0))
                store.writer.end_block(block_id, "interrupted")
            else:
                values = {("native", 1): 100.0, ("native", 2): 100.0, ("container", 1): 90.0 + number}
                cases.measure_block(store, run_id, block, values)
        store.writer.end_run(run_id, "partial")
        report = comparison_report(store, run_id)
    assert [(str(item.target), item.environment, item.reason, item.blocks) for item in report.left_out] == [
        ("h1", "container", "failed (timeout)", 2),
        ("h1", "native", "failed (disk_full)", 1),
        ("h1", "native", "not run", 1),
        ("h1", "native A2", "not run", 1),
        ("h2", "", "no block has ended", 0),
    ]
    container = report.comparisons[0]
    assert (container.blocks, container.left_out) == (4, 4)
    assert dict(container.reasons) == {
        "container: failed (timeout)": 2,
        "native: failed (disk_full)": 1,
        "native: not run": 1,
    }
    page = perfctl(path, run_id).stdout
    table = page[page.index("\nleft out\n") :]
    assert "failed (timeout)" in table and "no block has ended" in table
    rows = json.loads(perfctl(path, run_id, "--format", "json").stdout)["rows"]
    assert rows[0]["reasons"]["container: failed (timeout)"] == 2


def test_a_host_without_a_block_of_a_benchmark_is_named_in_every_format_and_never_as_zero(path: Path) -> None:
    """h2 has blocks of another benchmark only; of the third nobody has any."""
    other, third = (dataclasses.replace(cases.CPU, name=name) for name in ("cpu-2", "cpu-3"))
    plan = plan_of(hosts=("h1",))
    more = tuple(
        dataclasses.replace(cases.block(Target(host), index), benchmark="cpu-2")
        for host in HOSTS
        for index in range(8)
    )
    plan = dataclasses.replace(
        plan, benchmarks=(cases.CPU, other, third), rounds=(*plan.rounds, Round((Track(more),)))
    )
    with open_store(path, create=True) as store:
        run_id = cases.begin_run(store, plan)
        for block in plan.blocks():
            values = {("native", 1): 100.0, ("native", 2): 101.0, ("container", 1): 90.0 + block.index}
            cases.measure_block(store, run_id, block, values)
        store.writer.end_run(run_id, "complete")
    document = json.loads(perfctl(path, run_id, "--format", "json").stdout)
    lost = [row for row in document["rows"] if row["level"] == "left_out"]
    assert [(row["benchmark"], row["target"], row["host"], row["note"]) for row in lost] == [
        ("cpu-1", "h2", "h2", "no block has ended"),
        ("cpu-3", None, None, "no block has ended"),
    ]
    assert {row[name] for row in lost for name in ("blocks", "left_out", "ratio", "p", "verdict")} == {None}
    text = perfctl(path, run_id, "--format", "csv").stdout
    assert "left_out,cpu-1,h2,h2,," in text and "left_out,cpu-3,,,," in text
    page = perfctl(path, run_id).stdout
    table = page[page.index("\nleft out\n") :]
    assert re.search(r"cpu-1 +h2 +— +— +no block has ended +—", table)
    assert re.search(r"cpu-3 +— +— +— +no block has ended +—", table)


def test_a_host_on_which_a_benchmark_was_not_planned_is_not_missing(path: Path) -> None:
    """cpu-1 runs on the first of two hosts alone, cpu-2 on both."""
    first, second = dataclasses.replace(cases.CPU, targets=1), dataclasses.replace(cases.CPU, name="cpu-2")
    suite = Suite("s", "", "native", cases.PLAN.environments, (first, second), 6)
    plan = make_plan(suite, [Host(name, name) for name in HOSTS], seed="1")
    with open_store(path, create=True) as store:
        run_id = cases.begin_run(store, plan, plan_json=plan_to_json(plan))
        for block in plan.blocks():
            if (block.benchmark, block.target.host) != ("cpu-2", "h2"):
                values = {("native", 1): 100.0, ("native", 2): 101.0, ("container", 1): 90.0 + block.index}
                cases.measure_block(store, run_id, block, values)
        store.writer.end_run(run_id, "complete")
        report = comparison_report(store, run_id)
    assert [(item.benchmark, str(item.target), item.reason) for item in report.left_out] == [
        ("", "h2", "no block has ended")
    ]


def test_when_nothing_is_left_out_that_is_said(path: Path) -> None:
    with open_store(path, create=True) as store:
        run(store, seed=1)
    page = perfctl(path, "latest").stdout
    assert "48 of 48 invocations ok, left out: nothing" in page and "left out" not in page.splitlines()


def test_fleet_and_suite_lines_come_after_those_of_the_hosts(path: Path) -> None:
    with open_store(path, create=True) as store:
        run(store, seed=1)
    rows = json.loads(perfctl(path, "latest", "--format", "json").stdout)["rows"]
    assert [row["level"] for row in rows] == ["host"] * 4 + ["fleet"]
    fleet = rows[-1]
    assert (fleet["target"], fleet["hosts"], fleet["reach"]) == ("2 hosts", ["h1", "h2"], "these hosts only")
    assert (fleet["verdict"], fleet["blocks"], fleet["q"] <= 0.05) == ("different", 16, True)
    assert fleet["words"].startswith("different: ") and "1.05x slower" in fleet["words"]
    assert {row["verdict"] for row in rows if row["is_aa"]} == {None}


def test_what_the_tool_can_resolve_comes_from_the_workload(path: Path) -> None:
    """sysbench's percentile is a histogram bin: 1.8 % is no effect."""
    plan = plan_of(hosts=("h1",), blocks=10)
    bins = Metric("latency_p95", "ms", Direction.LOWER)
    with open_store(path, create=True) as store:
        run_id = cases.begin_run(store, plan)
        for block in plan.blocks():
            block_id = store.writer.begin_block(run_id, block, attempt=1)
            for item in block.invocations:
                up = item.environment == "container" and block.index % 5
                taken_ms = 100.0 * (1.01815 if up else 1.0)
                done = cases.record(block_id, item.environment, item.replicate)
                store.writer.record_invocation(done, (bins,), cases.samples(taken_ms, metric=bins))
            store.writer.end_block(block_id, "complete")
        store.writer.end_run(run_id, "complete")
        declared = declared_metrics(store.run(run_id).detail())
        found = comparison_report(store, run_id, metrics=["latency_p95"]).comparisons[0].judgement
    assert declared["cpu-1", "latency_p95"].resolution == 0.0182
    assert declared["cpu-1", "latency_p95"].step == 0.01
    assert found is not None and (found.equivalence_margin, found.margin_source) == (
        0.0182,
        "the tool's resolution",
    )
    assert found.verdict != "different"


def test_a_value_that_the_tool_could_not_report_is_missing_with_the_reason(path: Path) -> None:
    plan, reason = plan_of(hosts=("h1",), blocks=8), "latency_p95 is missing (100 s or more)"
    p95 = Metric("latency_p95", "ms", Direction.LOWER)
    with open_store(path, create=True) as store:
        run_id = cases.begin_run(store, plan)
        for block in plan.blocks():
            block_id = store.writer.begin_block(run_id, block, attempt=1)
            for item in block.invocations:
                is_capped = block.index == 3 and item.environment == "container"
                values = cases.samples(1000.0 + block.index)
                values += [] if is_capped else cases.samples(5.0 + block.index, metric=p95)
                detail = reason if is_capped else ""
                done = cases.record(block_id, item.environment, item.replicate, detail=detail)
                store.writer.record_invocation(done, (cases.SPEED, p95), values)
            store.writer.end_block(block_id, "complete")
        store.writer.end_run(run_id, "complete")
        headlines = comparison_report(store, run_id)
        found = comparison_report(store, run_id, metrics=["latency_p95"])
    (line,) = (item for item in found.comparisons if not item.is_aa)
    assert (line.blocks, line.reasons) == (7, ((f"container: {reason}", 1),))
    left_out = [(item.metric, item.environment, item.reason) for item in found.left_out if item.benchmark]
    assert left_out == [("latency_p95", "container", reason)]
    assert not any(item.benchmark for item in headlines.left_out), "its other values are there"


def test_flags_and_sensitivity_are_told(path: Path) -> None:
    plan = plan_of(hosts=("h1",), blocks=10)
    generator = random.Random(2)
    with open_store(path, create=True) as store:
        run_id = cases.begin_run(store, plan)
        for block in plan.blocks():
            native = 1000 * generator.lognormvariate(0, 0.002)
            slow = 0.3 if block.index == 4 else 1.0
            values = {("native", 1): native, ("native", 2): native * 1.001, ("container", 1): native * slow}
            values["container", 1] *= generator.lognormvariate(0, 0.001)
            cases.measure_block(store, run_id, block, values)
        store.writer.end_run(run_id, "complete")
    plain = perfctl(path, run_id).stdout
    assert "flagged: 1 block in 1 line: far off or disturbed" in plain
    assert "without 1 flagged block: equivalent" in perfctl(path, run_id, "--sensitivity").stdout
    row = json.loads(perfctl(path, run_id, "--format", "json").stdout)["rows"][0]
    assert (row["flagged"], row["blocks"], row["verdict_without_flagged"]) == ([4], 10, "equivalent")


def test_another_process_with_another_hash_seed_prints_the_same_bytes(path: Path) -> None:
    """M11."""
    with open_store(path, create=True) as store:
        for seed in range(3):
            run(store, seed=seed)
        run_id = store.run("latest").id
    arguments = ["--db", str(path), "compare", run_id, "--format"]
    script = "import sys; from perfctl.cli import main_group as main; arguments = sys.argv[1:]\n"
    script += "for form in ('json', 'table'): main([*arguments, form], standalone_mode=False)"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            timeout=60,
            check=True,
        ).stdout
        for hash_seed in ("1", "77")
    }
    assert len(outputs) == 1 and b"container" in outputs.pop()


def test_a_run_of_a_workload_that_is_gone_is_judged_without_its_resolution(path: Path) -> None:
    gone = dataclasses.replace(cases.CPU, workload="gone")
    plan = dataclasses.replace(plan_of(), benchmarks=(gone, cases.STREAM))
    with open_store(path, create=True) as store:
        run_id = cases.begin_run(store, plan, new_id())
        for block in plan.blocks():
            values = {("native", 1): 100.0 + block.index, ("native", 2): 100.0, ("container", 1): 120.0}
            cases.measure_block(store, run_id, block, values)
        report = comparison_report(store, run_id)
    judged = [item.judgement for item in report.comparisons if item.judgement]
    assert [item.margin_source for item in judged] == ["the least, 0.01"] * 2
