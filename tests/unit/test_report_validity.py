"""From a verdict on an invocation in the database to what `perfctl compare` rests on and says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from perfctl.model import Round, Target, Track
from perfctl.render.comparison import comparison_view
from perfctl.report import ComparisonReport, comparison_report
from perfctl.store import open_store
from perfctl.validity.assessment import Assessment, assess
from perfctl.validity.bounds import Bound
from perfctl.validity.context import Expected, JudgementContext, RateClaim
from perfctl.validity.counters import InvocationCounters
from tests.unit import store_cases as cases

BLOCKS = tuple(cases.block(Target("h1"), index) for index in range(8))
PLAN = dataclasses.replace(cases.PLAN, rounds=(Round((Track(BLOCKS),)),))
WIRE = Bound("line_rate", 105.0, "Mbit/s", "the wire of eth1", 0.01, "")
CONTEXT = JudgementContext(Expected(), claims=(RateClaim(cases.SPEED.name, "time", "sent", "eth1", WIRE),))


def judged(steal: int, value: float) -> Assessment:
    text = "==> /proc/stat <==\ncpu {} 0 0 {} 0 0 0 {} 0 0\n"
    before, after = (text.format(*ticks).encode() for ticks in ((0, 0, 0), (500, 500 - steal, steal)))
    counters = InvocationCounters.parse(before, after, started_ns=0, ended_ns=10**10)
    return assess(counters, CONTEXT, {cases.SPEED.name: (value, "Mbit/s")})


@pytest.fixture
def report(tmp_path: Path) -> ComparisonReport:
    """A container that is a tenth slower; its block 3 was stolen from, and native's block 5 is too fast."""
    with open_store(tmp_path / "results.db", create=True) as store:
        run_id = cases.begin_run(store, PLAN)
        for block in BLOCKS:
            block_id = store.writer.begin_block(run_id, block, attempt=1)
            for planned in block.invocations:
                is_container = planned.environment == "container"
                value = 90.0 + block.index / 10 if is_container else 100.0 + block.index / 9
                if (planned.environment, planned.replicate, block.index) == ("native", 1, 5):
                    value = 110.0
                made = judged(300 if is_container and block.index == 3 else 0, value)
                done = cases.record(
                    block_id,
                    planned.environment,
                    planned.replicate,
                    position=planned.position,
                    validity=made.validity.verdict.value,
                    validity_json=made.to_json(),
                )
                store.writer.record_invocation(done, cases.METRICS, cases.samples(value))
            store.writer.end_block(block_id, "complete")
        store.writer.end_run(run_id, "complete")
        return comparison_report(store, run_id)


def test_what_is_invalid_is_left_out_and_counted(report: ComparisonReport) -> None:
    (cost,) = [item for item in report.comparisons if not item.is_aa]
    assert (cost.blocks, cost.left_out) == (7, 1)
    ((reason, count),) = cost.reasons
    assert count == 1 and "container" in reason and "invalid" in reason
    (same,) = [item for item in report.comparisons if item.is_aa]
    assert (same.blocks, same.left_out) == (8, 0), "what is valid beside it counts where it stands alone"


def test_what_is_flagged_counts_and_is_named(report: ComparisonReport) -> None:
    (cost,) = [item for item in report.comparisons if not item.is_aa]
    assert cost.flagged == (5,)


def test_a_value_above_what_the_hardware_has_marks_the_comparison(report: ComparisonReport) -> None:
    for item in report.comparisons:
        assert item.artefact == "110 Mbit/s is more than the wire of eth1 allows, 105 Mbit/s"


def test_where_every_block_is_flagged_the_host_was_not_quiet(report: ComparisonReport) -> None:
    every = []
    for line in report.paired:
        item = line.comparison
        flagged = dataclasses.replace(item, flagged=tuple(range(item.blocks)))
        every.append(dataclasses.replace(line, comparison=flagged))
    footer = comparison_view(dataclasses.replace(report, paired=tuple(every))).footer
    (note,) = [text for text in footer if text.startswith("flagged:")]
    assert "all blocks of 1 line" in note and "not quiet" in note and "no verdict" not in note
    (usual,) = [text for text in comparison_view(report).footer if text.startswith("flagged:")]
    assert "not quiet" not in usual
