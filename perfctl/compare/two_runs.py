"""The same environment in two runs: what became of its ratio to the baseline of its own run.

The runs were not interleaved: whatever changed between them (a day, a temperature, a neighbour) is in the
values themselves. It is in the baseline of each run, too, so the ratio to that baseline is what can be
compared. Blocks of two runs cannot be paired: the test is the exact rank-sum test (perfctl.stats.two_sample).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from perfctl.compare.deciding import Thresholds, doubt, limit_of, units_needed, verdict_of
from perfctl.compare.pairing import Line, exp
from perfctl.model import Comparison, Judgement, RunComparison, Target, Verdict
from perfctl.stats import Estimate, benjamini_hochberg, spread, two_sample

Values = Mapping[tuple[str, str, Target, str], Sequence[float]]
"""(benchmark, metric, target, environment) -> the values of its first replicate, one per block."""


@dataclass(frozen=True, slots=True)
class RunSide:
    """One of the two runs: its lines, and the values themselves."""

    lines: Sequence[Line]
    values: Values


Confounding = Callable[[Comparison, Comparison], str]
"""What else differs between the two sides of a comparison, in words; '' when nothing does."""


def compare_runs(
    first: RunSide,
    second: RunSide,
    *,
    thresholds: Thresholds,
    confounding: Confounding,
    targets: Mapping[Target, Target] | None = None,
    across_accelerators: bool = False,
) -> list[RunComparison]:
    """Return every environment of the first run against itself in the second, per host, with verdicts.

    What only one run has is not here, nor are guests of two accelerators unless they are what is compared
    (`across_accelerators`). `targets` says which target of the
    second run stands for which of the first (default: the one of the same name). q is over all of them.
    """

    def key(item: Comparison, target: Target) -> tuple[object, ...]:
        metric = (item.metric.name, item.metric.unit, item.metric.direction)
        guests = None if across_accelerators else (item.accelerator, item.baseline_accelerator)
        return (item.benchmark, metric, target, item.environment, item.baseline, guests, item.is_aa)

    others = {key(line.comparison, line.comparison.target): line for line in second.lines}
    found: list[tuple[RunComparison, Estimate, tuple[Line, Line]]] = []
    for line in first.lines:
        item = line.comparison
        target = item.target if targets is None else targets.get(item.target)
        other = others.get(key(item, target)) if target is not None else None
        if item.is_aa or other is None:
            continue
        shift = _shift(line, other)
        found.append((_unjudged(line, other, shift, first, second, confounding), shift, (line, other)))
    tested = [None if _obstacle(shift) else shift.p for _, shift, _ in found]
    tests = sum(p is not None for p in tested)
    return [
        replace(item, judgement=_judgement(item, shift, lines, q, tests, thresholds))
        for (item, shift, lines), q in zip(found, benjamini_hochberg(tested), strict=True)
    ]


def _shift(line: Line, other: Line) -> Estimate:
    if line.comparison.ratio is None or other.comparison.ratio is None:
        return Estimate(0, None, None, None, None, None, "a run has no ratio to its baseline")
    return two_sample(line.differences, other.differences)


def _unjudged(
    line: Line,
    other: Line,
    shift: Estimate,
    first: RunSide,
    second: RunSide,
    confounding: Confounding,
) -> RunComparison:
    one, two = line.comparison, other.comparison
    found = (confounding(one, two), one.confounded, two.confounded)
    raw = _raw_shift(one, two, first.values, second.values)
    return RunComparison(
        benchmark=one.benchmark,
        metric=one.metric,
        target=one.target,
        other_target=two.target,
        environment=one.environment,
        baseline=one.baseline,
        first=one.value,
        second=two.value,
        first_ratio=one.ratio,
        second_ratio=two.ratio,
        ratio=exp(shift.estimate),
        low=exp(shift.low),
        high=exp(shift.high),
        confidence=shift.confidence,
        p=shift.p,
        raw_ratio=exp(raw.estimate) if raw else None,
        raw_low=exp(raw.low) if raw else None,
        raw_high=exp(raw.high) if raw else None,
        blocks=(one.blocks, two.blocks),
        judgement=Judgement(Verdict.INCONCLUSIVE),
        note=shift.reason,
        confounded="; ".join(dict.fromkeys(filter(None, found))),
        accelerator=_either(one.accelerator, two.accelerator),
        baseline_accelerator=_either(one.baseline_accelerator, two.baseline_accelerator),
    )


def _either(one: str | None, other: str | None) -> str | None:
    """Return 'tcg' where any side is: the figure is no overhead then."""
    return "tcg" if "tcg" in (one, other) else one or other


def _raw_shift(one: Comparison, two: Comparison, first: Values, second: Values) -> Estimate | None:
    """Return the change of the values themselves, as a logarithm; None where not all are positive."""
    x = first.get((one.benchmark, one.metric.name, one.target, one.environment), ())
    y = second.get((two.benchmark, two.metric.name, two.target, two.environment), ())
    if not x or not y or min(*x, *y) <= 0:
        return None
    return two_sample([math.log(value) for value in x], [math.log(value) for value in y])


def _obstacle(shift: Estimate) -> str:
    if shift.low is None:
        return shift.reason
    return "zero variance: no block differs from another" if shift.low == shift.high else ""


def _judgement(
    item: RunComparison,
    shift: Estimate,
    lines: tuple[Line, Line],
    q: float | None,
    tests: int,
    thresholds: Thresholds,
) -> Judgement:
    threshold = thresholds.get((item.benchmark, item.metric.name))
    limit = limit_of(item.metric, (item.first, item.second), threshold, is_ratio=True)
    obstacle = _obstacle(shift)
    verdict = Verdict.INCONCLUSIVE if obstacle else verdict_of(shift.low, shift.high, q, limit.margin)
    base = Judgement(verdict, "", q, limit.delta, limit.source)
    if verdict is not Verdict.INCONCLUSIVE:
        return base
    why = obstacle or doubt(shift.low, shift.high, q, shift.p, limit.margin, tests)
    deviations = [spread(line.differences) for line in lines if line.differences]
    known = [deviation for deviation in deviations if deviation]
    if shift.estimate is None or len(known) < 2:
        return replace(base, why=why)
    # Two samples of n blocks each: the variance of the shift is that of both together over n.
    needed = units_needed(
        math.hypot(*known), limit.margin, min(item.blocks), estimate=shift.estimate, why=why
    )
    return replace(base, why=why, needed=needed)
