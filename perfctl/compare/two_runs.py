"""The same environment in two runs: how its ratio to the baseline of its own run changed.

The runs were not interleaved: whatever changed between them (a day, a temperature, a neighbour) is in the
values themselves. It is in the baseline of each run, too, so the ratio to that baseline is what can be
compared. Blocks of two runs cannot be paired: the test is the exact rank-sum test (perfctl.stats.two_sample).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from perfctl.compare.fleets import ClaimMember, FleetClaim, claim_key, claim_of, with_verdicts
from perfctl.compare.pairing import PairedComparison, exp
from perfctl.compare.verdicts import Inference, Margins, Power, decide, family, margin_of, with_power
from perfctl.model import Comparison, FleetComparison, Judgement, RunComparison, Target, Verdict
from perfctl.stats.estimate import Estimate
from perfctl.stats.paired import PairedResult
from perfctl.stats.precision import minimum_detectable_shift, stdev
from perfctl.stats.two_sample import two_sample

Values = Mapping[tuple[str, str, Target, str], Sequence[float]]
"""(benchmark, metric, target, environment) -> the values of its first replicate, one per block."""


@dataclass(frozen=True, slots=True)
class RunSide:
    """One of the two runs: its paired comparisons, and the values themselves."""

    lines: Sequence[PairedComparison]
    values: Values


Confounding = Callable[[Comparison, Comparison], str]
"""What else differs between the two sides of a comparison, in words; '' when nothing does."""


@dataclass(frozen=True, slots=True)
class RunsAnalysis:
    """How the environments changed from one run to the other, with one correction over all."""

    comparisons: tuple[RunComparison, ...]
    """One per target."""
    fleets: tuple[FleetComparison, ...]
    """The joint comparisons of the targets that both runs have, where there are two or more."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """One environment on one target in both runs, not judged yet."""

    item: RunComparison
    shift: Estimate
    lines: tuple[PairedComparison, PairedComparison]

    @property
    def inference(self) -> Inference:
        shift, obstacle = self.shift, ""
        if shift.low is None:
            obstacle = shift.reason
        elif shift.low == shift.high:
            obstacle = "zero variance: no block differs from another"
        return Inference(shift.estimate, shift.low, shift.high, shift.p, obstacle)


def compare_runs(
    first: RunSide,
    second: RunSide,
    *,
    margins: Margins,
    confounding: Confounding,
    targets: Sequence[Mapping[Target, Target]] = (),
    across_accelerators: bool = False,
) -> RunsAnalysis:
    """Return every environment of the first run against itself in the second, with verdicts.

    Per target, and over those that both runs have by the rules for several hosts. What only one run has is
    not here, nor are guests of two accelerators unless they are what is compared (`across_accelerators`).
    `targets` says which target of the second run stands for which of the first (default: those of one name);
    such targets say nothing together. q is over all lines.
    """
    ways: Sequence[Mapping[Target, Target] | None] = targets or (None,)
    pairs = [
        pair
        for way in ways
        for pair in _pairs(first, second, way, confounding, across_accelerators=across_accelerators)
    ]
    claims = [] if targets else _claims(pairs)
    report = family([pair.inference.tested_p for pair in pairs], [claim.tested_p for claim in claims])
    of_targets, of_fleets = report.q
    return RunsAnalysis(
        tuple(
            replace(pair.item, judgement=_judgement(pair, q, report.tests, margins))
            for pair, q in zip(pairs, of_targets, strict=True)
        ),
        tuple(with_verdicts(claims, of_fleets, report.tests, margins)),
    )


def _pairs(
    first: RunSide,
    second: RunSide,
    targets: Mapping[Target, Target] | None,
    confounding: Confounding,
    *,
    across_accelerators: bool,
) -> Iterator[_Pair]:
    def key(item: Comparison, target: Target) -> tuple[object, ...]:
        guests = None if across_accelerators else (item.accelerator, item.baseline_accelerator)
        return (
            item.benchmark,
            item.metric.identity,
            target,
            item.environment,
            item.baseline,
            guests,
            item.source,
            item.is_aa,
        )

    others = {key(line.comparison, line.comparison.target): line for line in second.lines}
    for line in first.lines:
        item = line.comparison
        target = item.target if targets is None else targets.get(item.target)
        other = others.get(key(item, target)) if target is not None else None
        if item.is_aa or other is None:
            continue
        shift = _shift(line, other)
        yield _Pair(_unjudged(line, other, shift, first, second, confounding), shift, (line, other))


def _claims(pairs: Sequence[_Pair]) -> list[FleetClaim]:
    """Return the joint estimates of the targets, one claim per benchmark, metric and environment."""
    groups: dict[tuple[object, ...], list[_Pair]] = defaultdict(list)
    for pair in pairs:
        groups[claim_key(pair.item)].append(pair)
    claims = [
        claim_of(
            group[0].item,
            [_member(pair) for pair in group if pair.shift.estimate is not None],
            [pair.item.target for pair in group if pair.shift.estimate is None],
        )
        for group in groups.values()
    ]
    return [claim for claim in claims if claim is not None]


def _member(pair: _Pair) -> ClaimMember:
    item, shift = pair.item, pair.shift
    ends = (shift.low, shift.high, shift.confidence, shift.p)
    result = PairedResult(min(item.blocks), shift.estimate or 0.0, *ends)
    rows = tuple(line.differences for line in pair.lines)
    return ClaimMember(item.target, result, rows, (item.second, item.first), item.confounded)


def _shift(line: PairedComparison, other: PairedComparison) -> Estimate:
    if line.comparison.ratio is None or other.comparison.ratio is None:
        return Estimate(0, None, None, None, None, None, "a run has no ratio to its baseline")
    return two_sample(line.differences, other.differences)


def _unjudged(
    line: PairedComparison,
    other: PairedComparison,
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


def _judgement(pair: _Pair, q: float | None, tests: int, margins: Margins) -> Judgement:
    item = pair.item
    declared = margins.get((item.benchmark, item.metric.name))
    margin = margin_of(item.metric, (item.first, item.second), declared, is_ratio=True)
    base = decide(pair.inference, q, tests, margin)
    return with_power(base, pair.inference, _power(pair), margin, tests=tests)


def _power(pair: _Pair) -> Power:
    blocks = min(pair.item.blocks)
    sizes = [(len(line.differences), stdev(line.differences) or 0.0) for line in pair.lines]
    if pair.shift.estimate is None or not all(deviation for _, deviation in sizes):
        return Power(blocks, None, None, is_two_runs=True)
    # Two samples of n blocks each: the variance of the shift is that of both together over n.
    deviation = math.hypot(*(deviation for _, deviation in sizes))
    return Power(blocks, deviation, minimum_detectable_shift(*sizes), is_two_runs=True)
