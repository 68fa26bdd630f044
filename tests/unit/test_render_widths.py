"""The tables of every built-in suite fit into 120 columns, with figures of usual sizes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from perfctl.compare import AnalysisContext, analyse
from perfctl.model import Benchmark, Metric, Observation, Suite, Target
from perfctl.render import FORMATS
from perfctl.render.comparison import comparison_view
from perfctl.render.view import Screen
from perfctl.report import ComparisonReport
from perfctl.report.health import Health
from perfctl.stats.order import clopper_pearson
from perfctl.store import RunSummary
from perfctl.suites import list_suites, load_suite
from perfctl.workloads import WORKLOADS

SUITES = [suite.name for suite in list_suites(Path("/nowhere"))]
BLOCKS = 12
LEVELS = {"s": 0.004, "ms": 0.25, "bytes/s": 1.95e9, "MiB": 31_000.0}
"""What is usual in a unit; anything else is some ten thousand."""
HOSTS = ("perfctl-test-1", "perfctl-test-2")
RUN = RunSummary("01a21d2b-832b-7939-8823-3b91bcff410a", "s", "complete", 0.0, 1.0, HOSTS, 1, 1, 0, 0, 0)


def metrics_of(benchmark: Benchmark) -> tuple[Metric, ...]:
    return WORKLOADS[benchmark.workload].metrics(benchmark.parameters)


def observations(suite: Suite, accelerator: str) -> Iterator[Observation]:
    """Every metric of a suite on two hosts or between them; guests and starts take thirty times as long."""
    generator = random.Random(suite.name)
    for benchmark in suite.benchmarks:
        is_pair = benchmark.scope == "pair"
        targets = [Target(*HOSTS)] if is_pair else [Target(host) for host in HOSTS]
        legs = [(name, 1) for name in (item.name for item in suite.environments)]
        for metric in metrics_of(benchmark):
            level = LEVELS.get(metric.unit, 40_000.0)
            for target in targets:
                for block in range(BLOCKS):
                    for name, replicate in [*legs, (suite.baseline, 2)]:
                        is_guest = "vm" in name
                        is_slow = is_guest or (metric.show_difference and name != suite.baseline)
                        value = level * generator.lognormvariate(0, 0.03) * (30 if is_slow else 1)
                        seen = Observation(
                            benchmark.name, metric, target, block, name, replicate, value,
                            accelerator if is_guest else None,
                        )  # fmt: skip
                        yield seen


def report_of(suite: Suite, accelerator: str) -> ComparisonReport:
    kinds = {item.name: item.kind for item in suite.environments}
    names = [item.name for item in suite.environments]
    found = analyse(observations(suite, accelerator), AnalysisContext(suite.baseline, names, kinds))
    return ComparisonReport(
        run=replace(RUN, suite=suite.name),
        baseline=suite.baseline,
        database="results.db",
        paired=found.paired,
        fleets=found.fleets,
        suites=found.suites,
        health=Health("results.db", 0, 0, 0, clopper_pearson(0, 0), ()),
        left_out=(),
        outliers=(),
        counts=(),
        blocks=1,
        planned_blocks=1,
        first_planned_blocks=None,
        other_metrics=(),
    )


@pytest.mark.parametrize("name", SUITES)
def test_the_tables_of_every_suite_fit(name: str) -> None:
    suite = load_suite(name)
    for accelerator in ("kvm", "tcg"):
        view = comparison_view(report_of(suite, accelerator), sensitivity=True)
        lines = FORMATS["table"].render(view, Screen()).splitlines()
        assert max(map(len, lines)) <= 120
        headings = [line for line in lines if line.startswith(f"{suite.benchmarks[0].name}  ")]
        assert headings, "each benchmark and metric has a heading"


@pytest.mark.parametrize("width", [60, 80, 100])
def test_on_a_narrow_terminal_no_figure_is_cut(width: int) -> None:
    view = comparison_view(report_of(load_suite("startup"), "tcg"))
    text = FORMATS["table"].render(view, Screen(width))
    for section in view.tables:
        for row in section.rows:
            assert isinstance(row, dict)
            for name in ("baseline_value", "value", "ratio", "cost", "interval", "q"):
                assert not row[name] or row[name] in text
    notes = text.split("\n\n")[-1].splitlines()
    assert max(map(len, notes)) <= width
