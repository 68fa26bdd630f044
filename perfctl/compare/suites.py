"""One number for a suite: the geometric mean of the benchmarks' headline ratios, directions aligned."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from perfctl.compare.fleets import REACH
from perfctl.compare.pairing import PairedComparison, exp
from perfctl.compare.verdicts import Inference, Margin, decide, margin_of
from perfctl.model import Direction, Judgement, Reach, SuiteComparison, Target, Verdict
from perfctl.stats.equivalence import log_margin
from perfctl.stats.estimate import Estimate
from perfctl.stats.fleet import geometric_mean
from perfctl.stats.order import EquivalenceMargin
from perfctl.stats.paired import PairedResult
from perfctl.stats.pairs import over_pairs

_Results = dict[Target, dict[str, PairedResult]]


def means(lines: Sequence[PairedComparison], margin: EquivalenceMargin) -> list[SuiteComparison]:
    """Return the means over two benchmarks or more, per environment, not judged; those of pairs apart.

    Refused, with the reason, where a host lacks a benchmark that another has. `margin` is the
    largest of its benchmarks'; the step of a tool may be larger.
    """
    found = []
    for (environment, baseline, accelerator, base_accelerator, scope), members in _grouped(lines).items():
        directions = {_name(line): line.comparison.metric.direction is Direction.HIGHER for line in members}
        if len({line.comparison.benchmark for line in members}) < 2:
            continue
        targets: _Results = {line.comparison.target: {} for line in members}
        for line in members:
            if line.result is not None and line.comparison.ratio is not None:
                targets[line.comparison.target][_name(line)] = line.result
        claim, reach = _claim(targets, directions)
        found.append(
            SuiteComparison(
                environment=environment,
                baseline=baseline,
                scope=scope,
                benchmarks=tuple(directions),
                targets=tuple(targets),
                reach=reach,
                ratio=exp(claim.estimate),
                low=exp(claim.low),
                high=exp(claim.high),
                confidence=claim.confidence,
                p=claim.p,
                judgement=_blank(members, margin),
                note=claim.reason,
                accelerator=accelerator,
                baseline_accelerator=base_accelerator,
            )
        )
    return found


def _blank(members: Sequence[PairedComparison], margin: EquivalenceMargin) -> Judgement:
    items = [line.comparison for line in members]
    values = [(item.metric, (item.value, item.baseline_value)) for item in items]
    margins = [margin_of(*each, margin, is_ratio=True) for each in values]
    largest = max(margins, key=lambda each: each.scaled)
    return Judgement(Verdict.INCONCLUSIVE, equivalence_margin=largest.share, margin_source=largest.source)


def tested_p(item: SuiteComparison) -> float | None:
    """Return the p that counts among the tests of a report; None where no verdict is possible."""
    return None if item.low is None or item.high is None else item.p


def with_verdicts(
    found: Sequence[SuiteComparison], q_values: Sequence[float | None], tests: int
) -> list[SuiteComparison]:
    """Return the means with their verdicts. `tests` is how many comparisons the report has."""
    return [_judged(item, q, tests) for item, q in zip(found, q_values, strict=True)]


def _grouped(
    lines: Sequence[PairedComparison],
) -> dict[tuple[str, str, str | None, str | None, str], list[PairedComparison]]:
    found: dict[tuple[str, str, str | None, str | None, str], list[PairedComparison]] = defaultdict(list)
    for line in lines:
        item = line.comparison
        if item.is_aa or not item.metric.headline or item.metric.direction is Direction.NEUTRAL:
            continue
        scope = "pair" if item.target.peer else "host"
        guests = (item.accelerator, item.baseline_accelerator)
        found[item.environment, item.baseline, *guests, scope].append(line)
    return found


def _name(line: PairedComparison) -> str:
    return f"{line.comparison.benchmark} {line.comparison.metric.name}"


def _claim(targets: _Results, higher: Mapping[str, bool]) -> tuple[Estimate, Reach]:
    """Return the mean logarithm; above 0 is worse."""
    cells = list(targets.values())
    found = geometric_mean(cells, higher_is_better=higher)
    reach = REACH[found.population]
    pairs = [(target.host, target.peer) for target in targets if target.peer is not None]
    if len(pairs) < 2 or found.claim.estimate is None:
        return found.claim, reach
    signs = {name: -1.0 if is_higher else 1.0 for name, is_higher in higher.items()}
    means = [
        math.fsum(sign * results[name].estimate for name, sign in signs.items()) / len(signs)
        for results in cells
    ]
    clustered = over_pairs(means, pairs)
    if clustered.low is not None:
        return clustered, Reach.FLEET
    if reach is Reach.FLEET:  # Five pairs or more of fewer hosts: they are not independent.
        return clustered, Reach.THESE_HOSTS
    return found.claim, reach


def _judged(item: SuiteComparison, q: float | None, tests: int) -> SuiteComparison:
    share = item.judgement.equivalence_margin
    if item.low is None or item.high is None or share is None:
        return replace(item, judgement=replace(item.judgement, why=item.note))
    margin = Margin(share, item.judgement.margin_source, log_margin(share))
    found = Inference(None, math.log(item.low), math.log(item.high), item.p, "")
    return replace(item, judgement=decide(found, q, tests, margin))
