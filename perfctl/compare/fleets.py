"""Comparisons over several hosts, one per benchmark, metric and environment; the host is the unit.

Values of hosts are never pooled. For network work the pairs of hosts are clustered by host.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from perfctl.compare.formatting import format_blocks
from perfctl.compare.pairing import PairedComparison, exp, median
from perfctl.compare.verdicts import (
    NOT_SEEN,
    Inference,
    Margin,
    Margins,
    decide,
    family,
    margin_of,
    units_needed,
    units_to_decide,
)
from perfctl.model import (
    Comparison,
    FleetComparison,
    HostRatio,
    Judgement,
    Reach,
    RunComparison,
    Target,
    Verdict,
)
from perfctl.stats.fleet import FleetResult, Population, fleet
from perfctl.stats.hosts import standard_error
from perfctl.stats.paired import PairedResult
from perfctl.stats.pairs import fleet_of_pairs
from perfctl.stats.precision import minimum_detectable_effect, minimum_detectable_effect_over_hosts, stdev
from perfctl.stats.stratified import stratified
from perfctl.stats.two_sample import stratified_two_sample

REACH = {
    Population.HOSTS_LIKE_THESE: Reach.FLEET,
    Population.THESE_HOSTS_ONLY: Reach.THESE_HOSTS,
    Population.ONE_HOST: Reach.ONE_HOST,
}


@dataclass(frozen=True, slots=True)
class ClaimMember:
    """One target within a claim: its d_b, or those of both runs."""

    target: Target
    result: PairedResult
    """Of the differences, or of their change from one run to the other."""
    rows: tuple[tuple[float, ...], ...]
    values: tuple[float | None, float | None]
    """Medians of the two sides: the environment and the baseline, or the second run and the first."""
    confounded: str

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks of the run, or of each of two."""
        return tuple(map(len, self.rows))

    @property
    def deviation(self) -> float:
        """The standard deviation of what one block, or one of each run, gives."""
        return math.hypot(*(stdev(row) or 0.0 for row in self.rows))


@dataclass(frozen=True, slots=True)
class FleetClaim:
    """The targets of one benchmark, metric and environment and their joint estimate; no verdict yet."""

    first: Comparison | RunComparison
    members: tuple[ClaimMember, ...]
    missing: tuple[Target, ...]
    found: FleetResult
    note: str

    @property
    def tested_p(self) -> float | None:
        """The p that counts among the tests of a report; None where no verdict is possible."""
        return self.inference.tested_p

    @property
    def is_about_few(self) -> bool:
        """Whether it is about these hosts only."""
        return REACH[self.found.population] is Reach.THESE_HOSTS

    @property
    def inference(self) -> Inference:
        """What the verdict rests on: where few hosts disagree, the interval that includes all of theirs."""
        claim = self.found.claim
        low, high, obstacle = claim.low, claim.high, ""
        if low is None:
            obstacle = claim.reason or "no interval"
        elif low == high:
            obstacle = "zero variance: every block gave the same difference"
        if self.found.disagree and self.is_about_few:
            lows = [item.result.low for item in self.members if item.result.low is not None]
            highs = [item.result.high for item in self.members if item.result.high is not None]
            whole = len(lows) == len(self.members)
            low, high = (min(lows), max(highs)) if whole else (None, None)
        return Inference(claim.estimate, low, high, claim.p, obstacle)


def fleets(lines: Sequence[PairedComparison], margins: Margins) -> list[FleetComparison]:
    """Return the claims over two targets or more as a report of their own: q is over them alone."""
    found = claims(lines)
    together = family([claim.tested_p for claim in found])
    return with_verdicts(found, together.q[0], together.tests, margins)


def claim_key(item: Comparison | RunComparison | FleetComparison) -> tuple[object, ...]:
    """Return what the targets of one claim have in common; pairs of hosts have claims of their own."""
    target = item.hosts[0].target if isinstance(item, FleetComparison) else item.target
    guests = (item.accelerator, item.baseline_accelerator)
    is_pair = target.peer is not None
    return (item.benchmark, item.metric.identity, item.environment, item.baseline, guests, is_pair)


def claims(lines: Sequence[PairedComparison]) -> list[FleetClaim]:
    """Return the joint estimates over two targets or more, in the order in which they appear.

    Five hosts or more: the mean of per-host estimates with the t interval (pairs: clustered by host), about
    hosts like these. Fewer: the stratified signed-rank test, about these only.
    """
    return [claim for claim in map(_claim, _grouped(lines)) if claim is not None]


def with_verdicts(
    claims: Sequence[FleetClaim], q_values: Sequence[float | None], tests: int, margins: Margins
) -> list[FleetComparison]:
    """Return the claims with their verdicts. `tests` is how many comparisons the report has."""
    return [_judged(claim, q, tests, margins) for claim, q in zip(claims, q_values, strict=True)]


def _grouped(lines: Sequence[PairedComparison]) -> list[list[PairedComparison]]:
    found: dict[tuple[object, ...], list[PairedComparison]] = defaultdict(list)
    for line in lines:
        if not line.comparison.is_aa:
            found[claim_key(line.comparison)].append(line)
    return list(found.values())


def _claim(group: Sequence[PairedComparison]) -> FleetClaim | None:
    """Return the joint estimate of a group; None where fewer than two targets have a ratio."""
    members = [
        ClaimMember(
            line.comparison.target,
            line.result,
            (line.differences,),
            (line.comparison.value, line.comparison.baseline_value),
            line.comparison.confounded,
        )
        for line in group
        if line.comparison.ratio is not None and line.result is not None
    ]
    missing = [line.comparison.target for line in group if line.comparison.ratio is None]
    return claim_of(group[0].comparison, members, missing)


def claim_of(
    first: Comparison | RunComparison, members: Sequence[ClaimMember], missing: Sequence[Target]
) -> FleetClaim | None:
    """Return the joint estimate of the members, None for fewer than two. `first` has their common fields."""
    if len(members) < 2:
        return None
    results = [item.result for item in members]
    pairs = [(item.target.host, item.target.peer) for item in members if item.target.peer is not None]
    rows = [item.rows if len(item.rows) > 1 else item.rows[0] for item in members]
    few_hosts_test = stratified_two_sample if len(members[0].rows) > 1 else stratified
    found = (
        fleet_of_pairs(results, rows, pairs, few_hosts_test=few_hosts_test)
        if pairs
        else fleet(results, rows, few_hosts_test=few_hosts_test)
    )
    uneven = [item for item in members if item.result.low is None]
    notes = [found.claim.reason or found.heterogeneity.reason]
    notes += [f"{item.target} has {format_blocks(item.blocks)}" for item in uneven]
    return FleetClaim(first, tuple(members), tuple(missing), found, "; ".join(filter(None, notes)))


def _judged(claim: FleetClaim, q: float | None, tests: int, margins: Margins) -> FleetComparison:
    item, found = claim.first, claim.found
    values = _medians(claim.members)
    margin = margin_of(item.metric, values, margins.get((item.benchmark, item.metric.name)), is_ratio=True)
    confounded = dict.fromkeys(member.confounded for member in claim.members)
    return FleetComparison(
        benchmark=item.benchmark,
        metric=item.metric,
        environment=item.environment,
        baseline=item.baseline,
        hosts=tuple(map(_host, claim.members)),
        missing=claim.missing,
        reach=REACH[found.population],
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
        judgement=_judgement(claim, q, tests, margin),
        note=claim.note,
        confounded="; ".join(filter(None, confounded)),
        accelerator=item.accelerator,
        baseline_accelerator=item.baseline_accelerator,
    )


def _judgement(claim: FleetClaim, q: float | None, tests: int, margin: Margin) -> Judgement:
    base = decide(claim.inference, q, tests, margin)
    if base.verdict is not Verdict.INCONCLUSIVE or base.why.endswith(NOT_SEEN):
        return base
    if claim.found.disagree and claim.is_about_few:
        return replace(base, why="the hosts disagree (I^2 > 50 %): read the range")
    mde, needed = _power(claim, margin, base.why)
    have = (
        len(claim.members) if not claim.is_about_few else min(min(member.blocks) for member in claim.members)
    )
    p = None if claim.inference.obstacle else claim.inference.p
    return replace(base, mde=mde, needed=needed, to_decide=needed or units_to_decide(p, tests, have))


def _power(claim: FleetClaim, margin: Margin, why: str) -> tuple[float | None, int | None]:
    """Return what is detectable, and how many hosts (few hosts: blocks on each) it would need."""
    found = claim.found
    middle = found.claim.estimate or 0.0
    if REACH[found.population] is Reach.FLEET:
        mean = found.mean
        if mean.low is None or mean.high is None or mean.confidence is None:
            return None, None
        deviation = standard_error(mean.low, mean.high, mean.confidence) * math.sqrt(mean.n)
        effect = minimum_detectable_effect_over_hosts(mean.n, deviation)
        needed = units_needed(deviation, margin.scaled, mean.n, estimate=middle, why=why, least=2)
        return margin.as_share(effect, logarithm=True), needed
    variances = [member.deviation**2 for member in claim.members]
    deviation = math.sqrt(math.fsum(variances) / len(variances))
    if not deviation:
        return None, None
    blocks = sum(min(member.blocks) for member in claim.members)
    effect = minimum_detectable_effect(blocks, deviation)
    total = units_needed(deviation, margin.scaled, blocks, estimate=middle, why=why)
    needed = None if total is None else math.ceil(total / len(claim.members))
    return margin.as_share(effect, logarithm=True), needed


def _medians(members: Sequence[ClaimMember]) -> tuple[float | None, float | None]:
    values, others = zip(*(member.values for member in members), strict=True)
    return median([value for value in values if value is not None]), median(
        [value for value in others if value is not None]
    )


def _host(member: ClaimMember) -> HostRatio:
    result = member.result
    ends = exp(result.low), exp(result.high)
    return HostRatio(member.target, math.exp(result.estimate), *ends, member.blocks)
