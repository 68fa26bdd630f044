"""Verdicts from an interval, a q and an equivalence margin (docs/comparison.md has the rules)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from perfctl.compare.formatting import format_blocks, format_labelled_p
from perfctl.compare.pairing import FEWEST_BLOCKS, PairedComparison, exp, paired_results
from perfctl.model import Judgement, Metric, ResultWithoutFlagged, Verdict
from perfctl.model.quantity import percent
from perfctl.stats.equivalence import Position, log_margin, position
from perfctl.stats.multiplicity import benjamini_hochberg
from perfctl.stats.order import EquivalenceMargin, equivalence_margin
from perfctl.stats.precision import N_MAX, PILOT_BLOCKS, minimum_detectable_effect, second_stage, stdev

LEVEL = 0.05
"""Largest q of what is called different."""

Margins = Mapping[tuple[str, str], EquivalenceMargin]
"""(benchmark, metric) -> its equivalence margin; 1 % where there is none."""

_LEAST = equivalence_margin()
_UNKNOWN = "none: a median is zero"
_HOPELESS = 0.5
"""A p from here on says nothing about how many blocks it takes."""

NEITHER = "could be no change, could be more than the equivalence margin"
"""Why an interval that includes both decides nothing: more blocks would."""


COARSEST_STEP = 0.05
"""The largest step of a tool, as a share of what it prints, within which values are called equivalent: the
most that any benchmark's precision allows."""

NOT_SEEN = "less than that is not seen"
"""The end of the reason where the tool prints too few digits."""

_STEP = "the tool's step"
_ROUNDED = 1 + 1e-9
"""Values that are one step apart are not more than a step apart, whatever their logarithms are rounded to."""


@dataclass(frozen=True, slots=True)
class Margin:
    """The equivalence margin of one comparison: as a share, and on the scale of its differences."""

    share: float | None
    source: str
    scaled: float

    @property
    def obstacle(self) -> str:
        """Why an effect inside the margin is not nothing: the tool prints too few digits; '' where it is."""
        if self.share is None or self.share <= COARSEST_STEP or not self.source.startswith(_STEP):
            return ""
        return f"{self.source}, is {percent(self.share)} of the value: {NOT_SEEN}"

    def as_share(self, effect: float | None, *, logarithm: bool) -> float | None:
        """Return an effect on the scale of the differences as a share; None where that means nothing."""
        if effect is None or self.share is None:
            return None
        return math.expm1(effect) if logarithm else effect * self.share / self.scaled


def margin_of(
    metric: Metric,
    values: tuple[float | None, float | None],
    declared: EquivalenceMargin | None,
    *,
    is_ratio: bool,
) -> Margin:
    """Return the margin for two medians: that of the benchmark's metric, or the tool's step.

    It is the same whichever of the two is the baseline. Without a ratio the margin is a share of the smaller
    median, or the tool's step where that is zero.
    """
    found = declared or _LEAST
    smaller = min((abs(value) for value in values if value is not None), default=0.0)
    step = metric.step or 0.0
    if smaller and step / smaller > found.share:
        found = EquivalenceMargin(step / smaller * _ROUNDED, f"{_STEP}, {step:g} {metric.unit}")
    if is_ratio:
        return Margin(found.share, found.source, log_margin(found.share))
    if smaller:
        return Margin(found.share, found.source, found.share * smaller)
    return Margin(None, _UNKNOWN, step)


def hidden_by_step(metric: Metric, values: tuple[float | None, float | None], limit: float) -> str:
    """Return why an effect of `limit`, a share, cannot be told from none; '' where the tool's step is finer.

    Limits below the least equivalence margin ask for no finer step than that.
    """
    found = margin_of(metric, values, EquivalenceMargin(max(limit, _LEAST.share), ""), is_ratio=True)
    return f"{found.source}, is {percent(found.share)} of the value: {NOT_SEEN}" if found.source else ""


def verdict_of(low: float | None, high: float | None, q: float | None, margin: float) -> Verdict:
    """Return the verdict of an interval and a q, all on one scale; without an interval it is inconclusive."""
    place = position(low, high, margin)
    if place is Position.INSIDE:
        return Verdict.EQUIVALENT
    if q is None or q > LEVEL or place is Position.UNKNOWN:
        return Verdict.INCONCLUSIVE
    return Verdict.DIFFERENT if place is Position.BEYOND else Verdict.DIFFERENT_SMALL


@dataclass(frozen=True, slots=True)
class Family:
    """The comparisons of one report that are corrected together, whatever their level.

    Lines of a host, of all hosts and of the suite rest on the same blocks, so their p rise and fall together:
    Benjamini-Hochberg controls the false discovery rate under such dependence (docs/comparison.md).
    """

    q: tuple[tuple[float | None, ...], ...]
    """Per level the q of its comparisons, None where there is no test."""
    tests: int
    """How many tests there are on all levels together."""


def family(*levels: Sequence[float | None]) -> Family:
    """Return the q of the p of all levels, corrected as one family; None is no test."""
    q_values = iter(benjamini_hochberg([p for level in levels for p in level]))
    return Family(
        tuple(tuple(next(q_values) for _ in level) for level in levels),
        sum(p is not None for level in levels for p in level),
    )


def tested_p(line: PairedComparison) -> float | None:
    """Return the p that counts among the tests of a report; None for an A/A test, which has no verdict.

    None, too, for what cannot be called different whatever its p.
    """
    return None if line.comparison.is_aa or line.obstacle else line.comparison.p


def judge(
    lines: Sequence[PairedComparison], q_values: Sequence[float | None], tests: int, margins: Margins
) -> list[Judgement | None]:
    """Return the verdicts on lines of hosts; A/A tests are no comparisons, and have none."""
    return [
        None if line.comparison.is_aa else judge_line(line, q, tests, margins)
        for line, q in zip(lines, q_values, strict=True)
    ]


def results_without_flagged(
    lines: Sequence[PairedComparison],
    trimmed: Sequence[PairedComparison],
    judgements: Sequence[Judgement | None],
) -> list[ResultWithoutFlagged | None]:
    """Return the results of the lines without their flagged blocks; None where none is flagged."""
    return [
        None if line is other or found is None else _result_without_flagged(other, found)
        for line, other, found in zip(lines, trimmed, judgements, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Inference:
    """An estimate with its interval and p, all on the scale of the differences: what a verdict rests on."""

    estimate: float | None
    low: float | None
    high: float | None
    p: float | None
    obstacle: str
    """Why no verdict is possible whatever the interval says; '' where one is."""

    @property
    def tested_p(self) -> float | None:
        """The p that counts among the tests of a report; None where no verdict is possible."""
        return None if self.obstacle else self.p


def decide(found: Inference, q: float | None, tests: int, margin: Margin) -> Judgement:
    """Return the verdict and, where it is inconclusive, why. `tests`: all comparisons of the report."""
    low, high = found.low, found.high
    verdict = Verdict.INCONCLUSIVE if found.obstacle else verdict_of(low, high, q, margin.scaled)
    why = ""
    if margin.obstacle and verdict in (Verdict.EQUIVALENT, Verdict.DIFFERENT_SMALL):
        verdict, why = Verdict.INCONCLUSIVE, margin.obstacle
    elif verdict is Verdict.INCONCLUSIVE:
        why = found.obstacle or reason_undecided(low, high, q, found.p, margin.scaled, tests)
    return Judgement(verdict, why, q, margin.share, margin.source)


@dataclass(frozen=True, slots=True)
class Power:
    """What the blocks of a host (of two runs: the fewer) can detect."""

    blocks: int
    deviation: float | None
    """The standard deviation of what one block gives."""
    effect: float | None
    """The smallest effect that they detect with a chance of 80 %, on the scale of the differences."""
    is_two_runs: bool = False

    def smallest_p(self, blocks: int) -> float:
        """Return the smallest p that so many blocks (of two runs: of each) can have."""
        return 2 / (math.comb(2 * blocks, blocks) if self.is_two_runs else 2**blocks)

    def least_blocks(self, tests: int) -> int:
        """Return the fewest blocks with which one line alone can be different among so many."""
        blocks = FEWEST_BLOCKS
        while self.smallest_p(blocks) * tests > LEVEL:
            blocks += 1
        return blocks


def with_power(
    base: Judgement, found: Inference, power: Power, margin: Margin, *, tests: int, is_ratio: bool = True
) -> Judgement:
    """Return the judgement; an inconclusive one with what its blocks would detect, and how many it needs."""
    if base.verdict is not Verdict.INCONCLUSIVE or base.why.endswith(NOT_SEEN):
        return base
    blocks, deviation = power.blocks, power.deviation
    if not deviation or (found.obstacle and blocks >= FEWEST_BLOCKS):
        needed = FEWEST_BLOCKS if 0 < blocks < FEWEST_BLOCKS else None
        return replace(base, needed=needed, to_decide=needed and power.least_blocks(tests + 1))
    estimate = found.estimate or 0.0
    least = power.least_blocks(tests + 1 if found.obstacle else tests)
    why = base.why
    if found.p is not None and found.p <= LEVEL and blocks < least:
        smallest = format_labelled_p(power.smallest_p(blocks))
        why += (
            f": {format_blocks([blocks])} cannot reach less than {smallest}, and among {tests} lines one"
            f" alone needs {least} blocks"
        )
    needed = units_needed(deviation, margin.scaled, blocks, estimate=estimate, why=base.why)
    enough = needed or units_to_decide(found.p, tests, blocks)
    return replace(
        base,
        why=why,
        mde=margin.as_share(power.effect, logarithm=is_ratio),
        needed=needed,
        to_decide=enough and max(enough, least),
    )


def units_to_decide(p: float | None, tests: int, have: int) -> int | None:
    """Return about how many blocks (or hosts) bring this p to what one line needs among so many.

    The effect is taken to stay as it was estimated: z grows with the square root of their number. None where
    that is nothing to go by, because p is large.
    """
    if p is None or not 0 < p < _HOPELESS:
        return None
    normal = NormalDist()
    wanted = normal.inv_cdf(1 - LEVEL / max(tests, 1) / 2)
    return max(have + 1, math.ceil(have * (wanted / normal.inv_cdf(1 - p / 2)) ** 2))


def judge_line(line: PairedComparison, q: float | None, tests: int, margins: Margins) -> Judgement:
    """Return the verdict on one host's comparison. `tests` is the number of tests in the report."""
    item = line.comparison
    is_ratio = item.ratio is not None
    declared = margins.get((item.benchmark, item.metric.name))
    margin = margin_of(item.metric, (item.value, item.baseline_value), declared, is_ratio=is_ratio)
    result, obstacle = line.result, line.obstacle
    found = Inference(None, None, None, item.p, obstacle)
    if result is not None:
        found = Inference(result.estimate, result.low, result.high, item.p, obstacle)
    deviation = stdev(line.differences) if line.differences else None
    effect = minimum_detectable_effect(item.blocks, deviation) if deviation else None
    power = Power(item.blocks, deviation, effect)
    return with_power(decide(found, q, tests, margin), found, power, margin, tests=tests, is_ratio=is_ratio)


def reason_undecided(
    low: float | None, high: float | None, q: float | None, p: float | None, margin: float, tests: int
) -> str:
    """Return why an interval that exists decides nothing."""
    if p is not None and p <= LEVEL and q is not None and q > LEVEL:
        return f"{tests} lines were tested, so this p may be chance ({format_labelled_p(q, 'q')} > {LEVEL})"
    if position(low, high, margin) is Position.BEYOND:
        return f"p > {LEVEL}"
    return NEITHER


def units_needed(
    deviation: float, margin: float, have: int, *, estimate: float, why: str, least: int = FEWEST_BLOCKS
) -> int | None:
    """Return how many blocks (or hosts) make the interval narrow enough: N = (t s / tau)^2.

    tau, its half-width, is half the margin: an interval so narrow lies inside the margins or does not hold 0,
    wherever its middle is. Where the estimate is far beyond the margin, reaching the margin is enough. None
    where more would not help for sure: only other comparisons stand in the way, or there is no margin.
    """
    if margin <= 0 or (why != NEITHER and have >= least):
        return None
    pilot = max(PILOT_BLOCKS, have)
    tau = max(margin / 2, abs(estimate) - margin)
    wanted = second_stage(deviation, tau=tau, pilot=pilot, n_max=max(N_MAX, pilot)).wanted
    return max(wanted, have + 1, least)


def without_flagged(lines: Sequence[PairedComparison]) -> list[PairedComparison]:
    """Return the lines without their flagged blocks; those that have none are the same objects."""
    kept: dict[int, tuple[list[int], list[float]]] = {}
    for place, line in enumerate(lines):
        if line.comparison.flagged and not line.comparison.is_aa:
            flagged = set(line.comparison.flagged)
            pairs = zip(line.blocks, line.differences, strict=True)
            rest = [(block, difference) for block, difference in pairs if block not in flagged]
            kept[place] = [block for block, _ in rest], [difference for _, difference in rest]
    found = list(lines)
    rows = [differences for _, differences in kept.values()]
    for (place, (blocks, differences)), result in zip(kept.items(), paired_results(rows), strict=True):
        item = lines[place].comparison
        is_ratio = item.ratio is not None and result is not None
        comparison = replace(
            item,
            ratio=math.exp(result.estimate) if is_ratio and result else None,
            low=exp(result.low) if is_ratio and result else None,
            high=exp(result.high) if is_ratio and result else None,
            confidence=result.confidence if result else None,
            p=result.p if result else None,
            blocks=len(blocks),
            note=item.note if result else "every block is flagged",
        )
        found[place] = PairedComparison(comparison, tuple(blocks), tuple(differences), result)
    return found


def _result_without_flagged(line: PairedComparison, judgement: Judgement) -> ResultWithoutFlagged:
    item = line.comparison
    return ResultWithoutFlagged(item.blocks, item.ratio, item.low, item.high, item.p, judgement)
