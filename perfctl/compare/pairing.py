"""Paired block differences: each environment against the baseline that ran in the same block.

One number per block, d_b = ln(x_environment,b / x_A1,b): the environment against the baseline's first
replicate. The second replicate, A2, serves the built-in A/A test alone. Under "no difference" the two legs of
a block are exchangeable, so d_b is symmetric about 0 whatever the noise looks like, and the signed-rank test
is exact. Against the mean of A1 and A2 it would not be (docs/comparison.md has the figures).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from perfctl.compare.accelerators import BlockMatch, match_blocks
from perfctl.compare.confounding import Confounders
from perfctl.compare.formatting import format_range
from perfctl.compare.sources import SourceMatch, match_sources
from perfctl.compare.values import InvocationKey, Leg, LegValues, MetricValues, group_values, missing_reasons
from perfctl.errors import UnknownName
from perfctl.model import Comparison, Metric, Observation
from perfctl.model.quantity import number
from perfctl.stats.paired import PairedResult, paired_rows

FEWEST_BLOCKS = 6
"""Below this the smallest possible p is above 0.05 and there is no 95 % interval."""

_LOG_DECIMALS = 12
"""Differences of logarithms are rounded here, so that equal ratios are ties whatever their last bit says."""


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """A comparison, and the paired differences that it rests on, one per block.

    `differences` are d_b; where there is no ratio they are the plain ones. `result` has their statistics.
    """

    comparison: Comparison
    blocks: tuple[int, ...]
    differences: tuple[float, ...]
    result: PairedResult | None

    @property
    def obstacle(self) -> str:
        """Why no verdict is possible whatever the interval says, '' where one is."""
        item = self.comparison
        if self.result is None:
            return item.note or "no value"
        if item.blocks == 1:
            return "one block has no p and no interval"
        if item.blocks < FEWEST_BLOCKS:
            return f"n < {FEWEST_BLOCKS} cannot be significant"
        if min(self.differences) == max(self.differences):
            return "zero variance: every block gave the same difference"
        if len({abs(difference) for difference in self.differences}) == 1:
            return "all differences are ties: they have one size, as a tool's step has"
        return ""


@dataclass(frozen=True, slots=True)
class _LegPair:
    """The values of two legs, block by block."""

    group: MetricValues
    leg: Leg
    base: Leg
    match: BlockMatch
    sources: SourceMatch
    values: tuple[float, ...]
    base_values: tuple[float, ...]
    reasons: tuple[tuple[str, int], ...]
    flagged: tuple[int, ...]
    outliers: tuple[tuple[str, int, int], ...]

    @property
    def has_ratio(self) -> bool:
        """Whether there are values and all are positive: a ratio of anything else means nothing."""
        return bool(self.values) and min(self.values) > 0 and min(self.base_values) > 0

    def log_ratios(self) -> list[float]:
        """Return d_b, the differences of logarithms; nothing where there is no ratio."""
        if not self.has_ratio:
            return []
        return log_ratios(self.values, self.base_values)

    def shifts(self) -> list[float]:
        """Return the plain differences where they are shown: for want of a ratio, or beside it."""
        if self.has_ratio and not self.group.metric.show_difference:
            return []
        return [x - y for x, y in zip(self.values, self.base_values, strict=True)]


def log_ratios(values: Iterable[float], base_values: Iterable[float]) -> list[float]:
    """Return the logarithms of values / base_values, rounded so that equal ratios are ties."""
    pairs = zip(values, base_values, strict=True)
    return [round(math.log(x) - math.log(y), _LOG_DECIMALS) for x, y in pairs]


@dataclass(frozen=True, slots=True)
class PairingContext:
    """The baseline, and what is known of a run beside its values."""

    baseline: str
    environments: Sequence[str] = ()
    """Those that were planned: one without any value still has its line."""
    confounders: Confounders = field(default_factory=lambda: Confounders({}, {}))
    declared: Mapping[tuple[str, str], Metric] = field(default_factory=dict)
    omissions: Mapping[InvocationKey, str] = field(default_factory=dict)


def pair(observations: Iterable[Observation], context: PairingContext) -> list[PairedComparison]:
    """Return every environment against the baseline, per benchmark, metric and target, then the A/A tests.

    Hosts are never pooled, and guests of different accelerators never compared: an environment that ran under
    kvm and under tcg has a line for each, of the blocks in which the baseline can be set against it. The
    order is that in which benchmarks, targets and metrics first appear, then that of `environments`.

    Raises UnknownName when neither the observations nor `environments` have the baseline, DataError when one
    invocation has two values for a metric.
    """
    seen = list(observations)
    baseline = context.baseline
    names = list(dict.fromkeys([*context.environments, *(item.environment for item in seen)]))
    if seen and baseline not in names:
        raise UnknownName(f"no environment {baseline!r} in this run", hint=f"it has: {', '.join(names)}")
    groups = group_values(seen, declared=context.declared, omissions=context.omissions)
    others = [name for name in names if name != baseline]
    leg_pairs = [item for group in groups for item in _leg_pairs(group, baseline, others, context.omissions)]
    logs = [leg_pair.log_ratios() for leg_pair in leg_pairs]
    plain = [leg_pair.shifts() for leg_pair in leg_pairs]
    found = zip(leg_pairs, logs, plain, paired_results(logs), paired_results(plain), strict=True)
    return [
        PairedComparison(
            _comparison(leg_pair, ratio, shift, context.confounders),
            leg_pair.match.blocks,
            tuple(log or differences),
            ratio or shift,
        )
        for leg_pair, log, differences, ratio, shift in found
    ]


def _leg_pairs(
    group: MetricValues, baseline: str, others: Sequence[str], omissions: Mapping[InvocationKey, str]
) -> Iterator[_LegPair]:
    pairs: list[tuple[Leg, Leg]] = [((name, 1), (baseline, 1)) for name in others]
    pairs += [(leg, (leg[0], 1)) for leg in group.legs if leg[1] == 2]
    for leg, base in pairs:
        own, other = group.legs.get(leg, LegValues()), group.legs.get(base, LegValues())
        values, base_values = own.values, other.values
        sources = match_sources(own.sources, other.sources)
        there, base_there = (each.keys() - sources.left_out for each in (values, base_values))
        for match in match_blocks(there, base_there, own.guests, other.guests):
            missing = group.blocks.difference(match.blocks)
            flagged = own.flagged | other.flagged
            yield _LegPair(
                group,
                leg,
                base,
                match,
                sources,
                tuple(values[block] for block in match.blocks),
                tuple(base_values[block] for block in match.blocks),
                missing_reasons(group, leg, base, missing, omissions, sources.left_out) if missing else (),
                tuple(block for block in match.blocks if block in flagged) if flagged else (),
                tuple(
                    (*key, block)
                    for block in match.blocks
                    if block in flagged
                    for key, side in ((base, other), (leg, own))
                    if block in side.outliers
                ),
            )


def paired_results(differences: Sequence[Sequence[float]]) -> list[PairedResult | None]:
    """Return the statistics of every row of differences, None for an empty one; equal n are done together."""
    found: list[PairedResult | None] = [None] * len(differences)
    order = sorted((len(row), i) for i, row in enumerate(differences) if row)
    for _, same in groupby(order, key=lambda entry: entry[0]):
        places = [i for _, i in same]
        rows = np.array([differences[i] for i in places])
        for i, result in zip(places, paired_rows(rows), strict=True):
            found[i] = result
    return found


def _comparison(
    leg_pair: _LegPair, ratio: PairedResult | None, shift: PairedResult | None, confounders: Confounders
) -> Comparison:
    environment, base = leg_pair.leg[0], leg_pair.base[0]
    group = leg_pair.group
    is_aa = environment == base
    tested = ratio or shift
    legs = (group.benchmark, group.target, environment, base)
    changed = confounders.changed(*legs)
    return Comparison(
        benchmark=group.benchmark,
        metric=group.metric,
        target=group.target,
        environment=environment,
        baseline=base,
        baseline_value=median(leg_pair.base_values),
        value=median(leg_pair.values),
        ratio=exp(ratio.estimate) if ratio else None,
        low=exp(ratio.low) if ratio else None,
        high=exp(ratio.high) if ratio else None,
        confidence=tested.confidence if tested else None,
        p=tested.p if tested else None,
        blocks=len(leg_pair.values),
        left_out=sum(count for _, count in leg_pair.reasons),
        note=_note(leg_pair, shift),
        is_aa=is_aa,
        confounded="" if is_aa else "; ".join(filter(None, (confounders.between(*legs), changed))),
        changed=changed,
        accelerator=leg_pair.match.accelerator,
        baseline_accelerator=leg_pair.match.baseline_accelerator,
        difference=shift.estimate if shift else None,
        difference_low=shift.low if shift else None,
        difference_high=shift.high if shift else None,
        reasons=leg_pair.reasons,
        flagged=leg_pair.flagged,
        outliers=leg_pair.outliers,
        source=leg_pair.sources.source,
    )


def median(values: Sequence[float]) -> float | None:
    """Return the median, None of nothing."""
    return statistics.median(values) if values else None


def exp(value: float | None) -> float | None:
    """Return the ratio that a logarithm stands for; None stays None."""
    return None if value is None else math.exp(value)


def _note(leg_pair: _LegPair, shift: PairedResult | None) -> str:
    mismatched = "; ".join(filter(None, (leg_pair.match.mismatch_text, leg_pair.sources.text)))
    if not leg_pair.values:
        return mismatched or f"no block has a value of both {leg_pair.leg[0]} and {leg_pair.base[0]}"
    notes = []
    if shift and not leg_pair.has_ratio:
        span = format_range(shift.low, shift.high)
        unit = leg_pair.group.metric.unit
        interval = f" ({span})" if span else ""
        notes.append(f"difference {number(shift.estimate)}{interval} {unit}: not all values are positive")
    if len(leg_pair.values) < FEWEST_BLOCKS:
        notes.append(f"n < {FEWEST_BLOCKS} cannot be significant")
    if mismatched:
        notes.append(mismatched)
    return "; ".join(notes)
