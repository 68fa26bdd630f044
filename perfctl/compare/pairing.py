"""Paired block differences: each environment against the baseline that ran in the same block.

One number per block, d_b = ln(x_environment,b / x_A1,b): the environment against the baseline's first
replicate. The second replicate, A2, serves the built-in A/A test alone. Under "no difference" the two legs of
a block are exchangeable, so d_b is symmetric about 0 whatever the noise looks like, and the signed-rank test
is exact. Against the mean of A1 and A2 it would not be (docs/comparison.md has the figures).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from perfctl.compare.accelerators import Match, matches
from perfctl.compare.wording import interval_text
from perfctl.errors import DataError, UnknownName
from perfctl.model import Comparison, Metric, Observation, Target
from perfctl.model.quantity import number
from perfctl.stats import PairedResult, paired_rows

Digests = Mapping[tuple[str, str], Mapping[str, str]]
"""(host, environment) -> {program: sha256}"""

FEWEST_BLOCKS = 6
"""Below this the smallest possible p is above 0.05 and there is no 95 % interval."""

_LOG_DECIMALS = 12
"""Differences of logarithms are rounded here, so that equal ratios are ties whatever their last bit says."""

_Leg = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Column:
    """What one leg measured, by block, and in what kind of guest where it was one."""

    values: dict[int, float] = field(default_factory=dict)
    guests: dict[int, str] = field(default_factory=dict)


_Cells = dict[_Leg, _Column]


@dataclass(frozen=True, slots=True)
class _Question:
    """One comparison to be made: the values of both legs, block by block."""

    benchmark: str
    metric: Metric
    target: Target
    leg: _Leg
    base: _Leg
    values: tuple[float, ...]
    base_values: tuple[float, ...]
    left_out: int
    match: Match

    @property
    def has_ratio(self) -> bool:
        """Whether there are values and all are positive: a ratio of anything else means nothing."""
        return bool(self.values) and min(self.values) > 0 and min(self.base_values) > 0

    def log_ratios(self) -> list[float]:
        """Return d_b, the differences of logarithms; nothing where there is no ratio."""
        if not self.has_ratio:
            return []
        pairs = zip(self.values, self.base_values, strict=True)
        return [round(math.log(x) - math.log(y), _LOG_DECIMALS) for x, y in pairs]

    def shifts(self) -> list[float]:
        """Return the plain differences where they are told: for want of a ratio, or beside it."""
        if self.has_ratio and not self.metric.show_difference:
            return []
        return [x - y for x, y in zip(self.values, self.base_values, strict=True)]


def compare(
    observations: Iterable[Observation],
    *,
    baseline: str,
    environments: Sequence[str] = (),
    digests: Digests | None = None,
    programs: Mapping[str, Collection[str]] | None = None,
) -> list[Comparison]:
    """Return every environment against `baseline`, per benchmark, metric and target, then the A/A tests.

    Hosts are never pooled, and guests of different accelerators never compared: an environment that ran under
    kvm and under tcg has a line for each, of the blocks in which the baseline can be set against it.
    `environments` names those that were planned: one without any value still has its
    line. `digests` are the sha256 of the programs as seen inside each environment, `programs` those that a
    benchmark uses (all, where it is not named); a program that differs marks the comparison as confounded.

    The order is that in which benchmarks, targets and metrics first appear, then that of `environments`.
    Raises UnknownName when neither the observations nor `environments` have the baseline, DataError when one
    invocation has two values for a metric.
    """
    seen = list(observations)
    names = list(dict.fromkeys([*environments, *(item.environment for item in seen)]))
    if seen and baseline not in names:
        raise UnknownName(f"no environment {baseline!r} in this run", hint=f"it has: {', '.join(names)}")
    questions = _questions(seen, baseline, [name for name in names if name != baseline])
    ratios = _results([question.log_ratios() for question in questions])
    shifts = _results([question.shifts() for question in questions])
    confounders = _Confounders(digests or {}, programs or {})
    return [_comparison(*found, confounders) for found in zip(questions, ratios, shifts, strict=True)]


def _questions(seen: Sequence[Observation], baseline: str, others: Sequence[str]) -> list[_Question]:
    groups, blocks = _gather(seen)
    questions = []
    for (benchmark, target, metric), cells in groups.items():
        pairs = [((name, 1), (baseline, 1)) for name in others]
        pairs += [(leg, (leg[0], 1)) for leg in cells if leg[1] == 2]
        known = len(blocks[benchmark, target])
        for leg, base in pairs:
            column, base_column = cells.get(leg, _Column()), cells.get(base, _Column())
            values, base_values = column.values, base_column.values
            for match in matches(values.keys(), base_values.keys(), column.guests, base_column.guests):
                questions.append(
                    _Question(
                        benchmark,
                        metric,
                        target,
                        leg,
                        base,
                        tuple(values[block] for block in match.blocks),
                        tuple(base_values[block] for block in match.blocks),
                        known - len(match.blocks),
                        match,
                    )
                )
    return questions


def _gather(
    seen: Sequence[Observation],
) -> tuple[dict[tuple[str, Target, Metric], _Cells], dict[tuple[str, Target], set[int]]]:
    """Sort the values into cells, and find the blocks that each benchmark and target has."""
    groups: dict[tuple[str, Target, Metric], _Cells] = {}
    blocks: dict[tuple[str, Target], set[int]] = defaultdict(set)
    # Hashing a Metric is slow, and the same few objects come again and again (`seen` keeps them alive).
    quick: dict[tuple[str, str, str | None, int, str, int], tuple[_Column, set[int]]] = {}
    for item in seen:
        target, block = item.target, item.block
        leg = (item.environment, item.replicate)
        key = (item.benchmark, target.host, target.peer, id(item.metric), *leg)
        places = quick.get(key)
        if places is None:
            cells = groups.setdefault((item.benchmark, target, item.metric), {})
            places = quick[key] = (cells.setdefault(leg, _Column()), blocks[item.benchmark, target])
        column, known = places
        known.add(block)
        if not math.isfinite(item.value):
            continue
        if block in column.values:
            raise DataError(
                f"two values of {item.metric.name} for {item.environment} in block {block}",
                where=f"{item.benchmark} on {target}",
                hint="`perfctl db check` looks for what is wrong with the database",
            )
        column.values[block] = item.value
        if item.accelerator is not None:
            column.guests[block] = item.accelerator
    return groups, blocks


def _results(differences: Sequence[Sequence[float]]) -> list[PairedResult | None]:
    """Return the statistics of every row of differences, None for an empty one; equal n are done together."""
    results: list[PairedResult | None] = [None] * len(differences)
    order = sorted((len(row), i) for i, row in enumerate(differences) if row)
    for _, group in groupby(order, key=lambda entry: entry[0]):
        places = [i for _, i in group]
        rows = np.array([differences[i] for i in places])
        for i, result in zip(places, paired_rows(rows), strict=True):
            results[i] = result
    return results


def _comparison(
    question: _Question, ratio: PairedResult | None, shift: PairedResult | None, confounders: _Confounders
) -> Comparison:
    environment, base = question.leg[0], question.base[0]
    is_aa = environment == base
    tested = ratio or shift
    return Comparison(
        benchmark=question.benchmark,
        metric=question.metric,
        target=question.target,
        environment=environment,
        baseline=base,
        baseline_value=_median(question.base_values),
        value=_median(question.values),
        ratio=_exp(ratio.estimate) if ratio else None,
        low=_exp(ratio.low) if ratio else None,
        high=_exp(ratio.high) if ratio else None,
        confidence=tested.confidence if tested else None,
        p=tested.p if tested else None,
        blocks=len(question.values),
        left_out=question.left_out,
        note=_note(question, shift),
        is_aa=is_aa,
        confounded="" if is_aa else confounders.between(question, environment, base),
        accelerator=question.match.accelerator,
        baseline_accelerator=question.match.baseline_accelerator,
        difference=shift.estimate if shift else None,
        difference_low=shift.low if shift else None,
        difference_high=shift.high if shift else None,
    )


def _median(values: Sequence[float]) -> float | None:
    ordered = sorted(values)
    middle = len(ordered) // 2
    if not ordered:
        return None
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _exp(value: float | None) -> float | None:
    return None if value is None else math.exp(value)


def _note(question: _Question, shift: PairedResult | None) -> str:
    crossed = question.match.crossed_text
    if not question.values:
        return crossed or f"no block has a value of both {question.leg[0]} and {question.base[0]}"
    notes = []
    if shift and not question.has_ratio:
        span = interval_text(shift.low, shift.high)
        notes.append(
            f"difference {number(shift.estimate)}{span} {question.metric.unit}: not all values are positive"
        )
    if len(question.values) < FEWEST_BLOCKS:
        notes.append(f"n < {FEWEST_BLOCKS} cannot be significant")
    if crossed:
        notes.append(crossed)
    return "; ".join(notes)


class _Confounders:
    """What else differs between two environments on a target; asked for once and remembered."""

    def __init__(self, digests: Digests, programs: Mapping[str, Collection[str]]) -> None:
        self._digests = digests
        self._programs = programs
        self._known: dict[tuple[str, Target, str, str], str] = {}

    def between(self, question: _Question, environment: str, base: str) -> str:
        """Return e.g. 'sysbench on h1: sha256 1b2c3d4e in container, 5f6a7b8c in native', or ''."""
        key = (question.benchmark, question.target, environment, base)
        if key not in self._known:
            self._known[key] = self._find(*key)
        return self._known[key]

    def _find(self, benchmark: str, target: Target, environment: str, base: str) -> str:
        found = []
        for host in filter(None, (target.host, target.peer)):
            here = self._digests.get((host, environment), {})
            there = self._digests.get((host, base), {})
            for program in sorted(here.keys() & there.keys() & set(self._programs.get(benchmark, here))):
                if here[program] != there[program]:
                    found.append(
                        f"{program} on {host}: sha256 {here[program][:8]} in {environment},"
                        f" {there[program][:8]} in {base}"
                    )
        return "; ".join(found)
