"""What hosts say together: one claim per benchmark, metric and environment; the host is the unit.

Values of hosts are never pooled. For network work the pairs of hosts are clustered by host.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from perfctl.compare.deciding import (
    Limit,
    Thresholds,
    doubt,
    family,
    limit_of,
    units_needed,
    verdict_of,
)
from perfctl.compare.pairing import Line, exp, median
from perfctl.model import (
    Comparison,
    FleetComparison,
    HostRatio,
    Judgement,
    Reach,
    Target,
    Verdict,
)
from perfctl.stats import (
    EXACT_UP_TO,
    Estimate,
    FleetResult,
    PairedResult,
    fleet,
    fleet_of_pairs,
    minimum_detectable_effect,
    minimum_detectable_effect_over_hosts,
    spread,
    standard_error,
)
from perfctl.stats import Reach as StatsReach

REACH = {
    StatsReach.HOSTS_LIKE_THESE: Reach.FLEET,
    StatsReach.THESE_HOSTS_ONLY: Reach.THESE_HOSTS,
    StatsReach.ONE_HOST: Reach.ONE_HOST,
}


@dataclass(frozen=True, slots=True)
class Claim:
    """The lines of one question, one per target, and what they say together; not judged yet."""

    first: Comparison
    lines: tuple[Line, ...]
    results: tuple[PairedResult, ...]
    missing: tuple[Target, ...]
    found: FleetResult
    note: str

    @property
    def tested(self) -> float | None:
        """The p that counts among the tests of a report; None where no verdict is possible."""
        return None if _obstacle(self) else self.found.claim.p

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """The interval that the verdict goes by: where few hosts disagree, that which holds all of theirs."""
        claim = self.found.claim
        if not (self.found.disagree and REACH[self.found.reach] is Reach.THESE_HOSTS):
            return claim.low, claim.high
        lows = [result.low for result in self.results if result.low is not None]
        highs = [result.high for result in self.results if result.high is not None]
        if len(lows) < len(self.results):
            return None, None
        return min(lows), max(highs)


def fleets(lines: Sequence[Line], thresholds: Thresholds) -> list[FleetComparison]:
    """Return the claims over two targets or more as a report of their own: q is over them alone."""
    found = claims(lines)
    together = family([claim.tested for claim in found])
    return judged(found, together.q[0], together.tests, thresholds)


def claims(lines: Sequence[Line]) -> list[Claim]:
    """Return what two targets or more say together, in the order in which they appear.

    Five hosts or more: the mean of per-host estimates with the t interval (pairs: clustered by host), about
    hosts like these. Fewer: the stratified signed-rank test, about these only.
    """
    return [claim for claim in map(_claim, _questions(lines)) if claim is not None]


def judged(
    claims: Sequence[Claim], q_values: Sequence[float | None], tests: int, thresholds: Thresholds
) -> list[FleetComparison]:
    """Return the claims with their verdicts. `tests` is how many comparisons the report has."""
    return [_judged(claim, q, tests, thresholds) for claim, q in zip(claims, q_values, strict=True)]


def _questions(lines: Sequence[Line]) -> list[list[Line]]:
    found: dict[tuple[object, ...], list[Line]] = defaultdict(list)
    for line in lines:
        item = line.comparison
        if not item.is_aa:
            metric = (item.metric.name, item.metric.unit, item.metric.direction)
            guests = (item.accelerator, item.baseline_accelerator)
            is_pair = item.target.peer is not None
            found[item.benchmark, metric, item.environment, item.baseline, guests, is_pair].append(line)
    return list(found.values())


def _claim(question: Sequence[Line]) -> Claim | None:
    """Return what two targets or more say; None for one, or where fewer than two have a ratio."""
    lines = tuple(line for line in question if line.comparison.ratio is not None)
    missing = tuple(line.comparison.target for line in question if line.comparison.ratio is None)
    if len(lines) < 2:
        return None
    results = tuple(line.result for line in lines if line.result is not None)
    found, note = _fleet(lines, results)
    uneven = [line.comparison for line in lines if line.result is None or line.result.low is None]
    notes = [note, *(f"{item.target} has {item.blocks} block{'s' * (item.blocks != 1)}" for item in uneven)]
    return Claim(lines[0].comparison, lines, results, missing, found, "; ".join(filter(None, notes)))


def _fleet(lines: Sequence[Line], results: Sequence[PairedResult]) -> tuple[FleetResult, str]:
    rows = [line.differences for line in lines]
    targets = [line.comparison.target for line in lines]
    pairs = [(target.host, target.peer) for target in targets if target.peer is not None]
    if pairs:
        found = fleet_of_pairs(results, rows, [(host, peer) for host, peer in pairs])
    elif sum(map(len, rows)) > EXACT_UP_TO:
        # The stratified test is not asked for: too many blocks for its exact distribution.
        found = fleet(results, [()] * len(rows))
        if REACH[found.reach] is Reach.THESE_HOSTS:
            reason = f"more than {EXACT_UP_TO} blocks in all are too many for the exact test"
            mean = found.mean.estimate
            found = replace(found, claim=Estimate(len(rows), mean, None, None, None, None, reason))
    else:
        found = fleet(results, rows)
    return found, found.claim.reason or found.heterogeneity.reason


def _obstacle(claim: Claim) -> str:
    """Return why no verdict is possible, '' where one is."""
    if claim.found.claim.low is None:
        return claim.found.claim.reason or "no interval"
    if claim.found.claim.low == claim.found.claim.high:
        return "zero variance: every block gave the same difference"
    return ""


def _judged(claim: Claim, q: float | None, tests: int, thresholds: Thresholds) -> FleetComparison:
    item, found = claim.first, claim.found
    values = _medians(claim.lines)
    limit = limit_of(item.metric, values, thresholds.get((item.benchmark, item.metric.name)), is_ratio=True)
    confounded = dict.fromkeys(line.comparison.confounded for line in claim.lines)
    return FleetComparison(
        benchmark=item.benchmark,
        metric=item.metric,
        environment=item.environment,
        baseline=item.baseline,
        hosts=tuple(map(_host, claim.lines, claim.results)),
        missing=claim.missing,
        reach=REACH[found.reach],
        value=values[0],
        baseline_value=values[1],
        ratio=exp(found.claim.estimate),
        low=exp(found.claim.low),
        high=exp(found.claim.high),
        confidence=found.claim.confidence,
        p=found.claim.p,
        i2=found.heterogeneity.i2,
        lowest=exp(found.lowest),
        highest=exp(found.highest),
        judgement=_judgement(claim, q, tests, limit),
        note=claim.note,
        confounded="; ".join(filter(None, confounded)),
        accelerator=item.accelerator,
        baseline_accelerator=item.baseline_accelerator,
    )


def _judgement(claim: Claim, q: float | None, tests: int, limit: Limit) -> Judgement:
    obstacle = _obstacle(claim)
    low, high = claim.bounds
    verdict = Verdict.INCONCLUSIVE if obstacle else verdict_of(low, high, q, limit.margin)
    base = Judgement(verdict, "", q, limit.delta, limit.source)
    if verdict is not Verdict.INCONCLUSIVE:
        return base
    why = obstacle or doubt(low, high, q, claim.found.claim.p, limit.margin, tests)
    if claim.found.disagree and REACH[claim.found.reach] is Reach.THESE_HOSTS:
        return replace(base, why="the hosts disagree (I^2 > 50%): read the range")
    mde, needed = _power(claim, limit, why)
    return replace(base, why=why, mde=mde, needed=needed)


def _power(claim: Claim, limit: Limit, why: str) -> tuple[float | None, int | None]:
    """Return what is detectable, and how many hosts (few hosts: blocks on each) it would need."""
    found = claim.found
    middle = found.claim.estimate or 0.0
    if REACH[found.reach] is Reach.FLEET:
        mean = found.mean
        if mean.low is None or mean.high is None or mean.confidence is None:
            return None, None
        deviation = standard_error(mean.low, mean.high, mean.confidence) * math.sqrt(mean.n)
        effect = minimum_detectable_effect_over_hosts(mean.n, deviation)
        needed = units_needed(deviation, limit.margin, mean.n, estimate=middle, why=why, least=2)
        return limit.share(effect, logarithm=True), needed
    variances = [(spread(line.differences) or 0.0) ** 2 for line in claim.lines]
    deviation = math.sqrt(math.fsum(variances) / len(variances))
    if not deviation:
        return None, None
    blocks = sum(line.comparison.blocks for line in claim.lines)
    effect = minimum_detectable_effect(blocks, deviation)
    total = units_needed(deviation, limit.margin, blocks, estimate=middle, why=why)
    needed = None if total is None else math.ceil(total / len(claim.lines))
    return limit.share(effect, logarithm=True), needed


def _medians(lines: Sequence[Line]) -> tuple[float | None, float | None]:
    values = [line.comparison.value for line in lines if line.comparison.value is not None]
    baselines = [
        line.comparison.baseline_value for line in lines if line.comparison.baseline_value is not None
    ]
    return median(values), median(baselines)


def _host(line: Line, result: PairedResult) -> HostRatio:
    item = line.comparison
    return HostRatio(item.target, math.exp(result.estimate), item.low, item.high, item.blocks)
