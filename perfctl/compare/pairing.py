"""Paired block differences: each environment against the baseline that ran in the same block.

One number per block, d_b = ln(x_environment,b / x_A1,b): the environment against the baseline's first
replicate. The second replicate, A2, serves the built-in A/A test alone. Under "no difference" the two legs of
a block are exchangeable, so d_b is symmetric about 0 whatever the noise looks like, and the signed-rank test
is exact. Against the mean of A1 and A2 it would not be (docs/comparison.md has the figures).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from perfctl.compare.accelerators import Match, matches
from perfctl.compare.cells import Column, Group, Leg, Place, gather, left_out
from perfctl.compare.confounding import Confounders
from perfctl.compare.formatting import format_range
from perfctl.errors import UnknownName
from perfctl.model import Comparison, Metric, Observation
from perfctl.model.quantity import number
from perfctl.stats import PairedResult, paired_rows

FEWEST_BLOCKS = 6
"""Below this the smallest possible p is above 0.05 and there is no 95 % interval."""

_LOG_DECIMALS = 12
"""Differences of logarithms are rounded here, so that equal ratios are ties whatever their last bit says."""


@dataclass(frozen=True, slots=True)
class Line:
    """A comparison, not judged yet, and what it comes from, one entry per block.

    `differences` are d_b; where there is no ratio they are the plain ones. `result` is what they say.
    """

    comparison: Comparison
    blocks: tuple[int, ...]
    differences: tuple[float, ...]
    result: PairedResult | None


@dataclass(frozen=True, slots=True)
class _Question:
    """One comparison to be made: the values of both legs, block by block."""

    group: Group
    leg: Leg
    base: Leg
    match: Match
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
        """Return the plain differences where they are told: for want of a ratio, or beside it."""
        if self.has_ratio and not self.group.metric.show_difference:
            return []
        return [x - y for x, y in zip(self.values, self.base_values, strict=True)]


def log_ratios(values: Iterable[float], base_values: Iterable[float]) -> list[float]:
    """Return the logarithms of values / base_values, rounded so that equal ratios are ties."""
    pairs = zip(values, base_values, strict=True)
    return [round(math.log(x) - math.log(y), _LOG_DECIMALS) for x, y in pairs]


@dataclass(frozen=True, slots=True)
class Pairing:
    """What is to be paired, and what is known of it beside the values."""

    baseline: str
    environments: Sequence[str] = ()
    """Those that were planned: one without any value still has its line."""
    confounders: Confounders = field(default_factory=lambda: Confounders({}, {}))
    declared: Mapping[tuple[str, str], Metric] = field(default_factory=dict)
    omissions: Mapping[Place, str] = field(default_factory=dict)


def pair(observations: Iterable[Observation], pairing: Pairing) -> list[Line]:
    """Return every environment against the baseline, per benchmark, metric and target, then the A/A tests.

    Hosts are never pooled, and guests of different accelerators never compared: an environment that ran under
    kvm and under tcg has a line for each, of the blocks in which the baseline can be set against it. The
    order is that in which benchmarks, targets and metrics first appear, then that of `environments`.

    Raises UnknownName when neither the observations nor `environments` have the baseline, DataError when one
    invocation has two values for a metric.
    """
    seen = list(observations)
    baseline = pairing.baseline
    names = list(dict.fromkeys([*pairing.environments, *(item.environment for item in seen)]))
    if seen and baseline not in names:
        raise UnknownName(f"no environment {baseline!r} in this run", hint=f"it has: {', '.join(names)}")
    groups = gather(seen, declared=pairing.declared, omissions=pairing.omissions)
    others = [name for name in names if name != baseline]
    questions = [item for group in groups for item in _questions(group, baseline, others, pairing.omissions)]
    logs = [question.log_ratios() for question in questions]
    plain = [question.shifts() for question in questions]
    found = zip(questions, logs, plain, results(logs), results(plain), strict=True)
    return [
        Line(
            _comparison(question, ratio, shift, pairing.confounders),
            question.match.blocks,
            tuple(log or differences),
            ratio or shift,
        )
        for question, log, differences, ratio, shift in found
    ]


def _questions(
    group: Group, baseline: str, others: Sequence[str], omissions: Mapping[Place, str]
) -> Iterator[_Question]:
    pairs: list[tuple[Leg, Leg]] = [((name, 1), (baseline, 1)) for name in others]
    pairs += [(leg, (leg[0], 1)) for leg in group.legs if leg[1] == 2]
    for leg, base in pairs:
        column, base_column = group.legs.get(leg, Column()), group.legs.get(base, Column())
        values, base_values = column.values, base_column.values
        for match in matches(values.keys(), base_values.keys(), column.guests, base_column.guests):
            missing = group.blocks.difference(match.blocks)
            flagged = column.flagged | base_column.flagged
            yield _Question(
                group,
                leg,
                base,
                match,
                tuple(values[block] for block in match.blocks),
                tuple(base_values[block] for block in match.blocks),
                left_out(group, leg, base, missing, omissions) if missing else (),
                tuple(block for block in match.blocks if block in flagged) if flagged else (),
                tuple(
                    (*key, block)
                    for block in match.blocks
                    if block in flagged
                    for key, side in ((base, base_column), (leg, column))
                    if block in side.outliers
                ),
            )


def results(differences: Sequence[Sequence[float]]) -> list[PairedResult | None]:
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
    question: _Question, ratio: PairedResult | None, shift: PairedResult | None, confounders: Confounders
) -> Comparison:
    environment, base = question.leg[0], question.base[0]
    group = question.group
    is_aa = environment == base
    tested = ratio or shift
    return Comparison(
        benchmark=group.benchmark,
        metric=group.metric,
        target=group.target,
        environment=environment,
        baseline=base,
        baseline_value=median(question.base_values),
        value=median(question.values),
        ratio=exp(ratio.estimate) if ratio else None,
        low=exp(ratio.low) if ratio else None,
        high=exp(ratio.high) if ratio else None,
        confidence=tested.confidence if tested else None,
        p=tested.p if tested else None,
        blocks=len(question.values),
        left_out=sum(count for _, count in question.reasons),
        note=_note(question, shift),
        is_aa=is_aa,
        confounded="" if is_aa else confounders.between(group.benchmark, group.target, environment, base),
        accelerator=question.match.accelerator,
        baseline_accelerator=question.match.baseline_accelerator,
        difference=shift.estimate if shift else None,
        difference_low=shift.low if shift else None,
        difference_high=shift.high if shift else None,
        reasons=question.reasons,
        flagged=question.flagged,
        outliers=question.outliers,
    )


def median(values: Sequence[float]) -> float | None:
    """Return the median, None of nothing."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    if not ordered:
        return None
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def exp(value: float | None) -> float | None:
    """Return the ratio that a logarithm stands for; None stays None."""
    return None if value is None else math.exp(value)


def _note(question: _Question, shift: PairedResult | None) -> str:
    crossed = question.match.crossed_text
    if not question.values:
        return crossed or f"no block has a value of both {question.leg[0]} and {question.base[0]}"
    notes = []
    if shift and not question.has_ratio:
        span = format_range(shift.low, shift.high)
        unit = question.group.metric.unit
        interval = f" ({span})" if span else ""
        notes.append(f"difference {number(shift.estimate)}{interval} {unit}: not all values are positive")
    if len(question.values) < FEWEST_BLOCKS:
        notes.append(f"n < {FEWEST_BLOCKS} cannot be significant")
    if crossed:
        notes.append(crossed)
    return "; ".join(notes)
