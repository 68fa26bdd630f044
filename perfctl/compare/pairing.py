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
from dataclasses import dataclass
from itertools import groupby

import numpy as np

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
_Cells = dict[_Leg, dict[int, float]]


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

    @property
    def has_ratio(self) -> bool:
        """Whether all values are positive: a ratio of anything else means nothing."""
        return min(self.values) > 0 and min(self.base_values) > 0

    def differences(self) -> list[float]:
        """Return d_b: of logarithms where there is a ratio, else of the values themselves."""
        pairs = zip(self.values, self.base_values, strict=True)
        if not self.has_ratio:
            return [x - y for x, y in pairs]
        return [round(math.log(x) - math.log(y), _LOG_DECIMALS) for x, y in pairs]


def compare(
    observations: Iterable[Observation],
    *,
    baseline: str,
    environments: Sequence[str] = (),
    digests: Digests | None = None,
    programs: Mapping[str, Collection[str]] | None = None,
) -> list[Comparison]:
    """Return every environment against `baseline`, per benchmark, metric and target, then the A/A tests.

    Hosts are never pooled. `environments` names those that were planned: one without any value still has its
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
    results = _results(questions)
    confounders = _Confounders(digests or {}, programs or {})
    return [_comparison(q, r, confounders) for q, r in zip(questions, results, strict=True)]


def _questions(seen: Sequence[Observation], baseline: str, others: Sequence[str]) -> list[_Question]:
    groups, blocks = _gather(seen)
    questions = []
    for (benchmark, target, metric), cells in groups.items():
        pairs = [((name, 1), (baseline, 1)) for name in others]
        pairs += [(leg, (leg[0], 1)) for leg in cells if leg[1] == 2]
        known = blocks[benchmark, target]
        for leg, base in pairs:
            values, base_values = cells.get(leg, {}), cells.get(base, {})
            both = sorted(values.keys() & base_values.keys())
            questions.append(
                _Question(
                    benchmark,
                    metric,
                    target,
                    leg,
                    base,
                    tuple(values[block] for block in both),
                    tuple(base_values[block] for block in both),
                    len(known) - len(both),
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
    quick: dict[tuple[str, str, str | None, int], tuple[_Cells, set[int]]] = {}
    for item in seen:
        key = (item.benchmark, item.target.host, item.target.peer, id(item.metric))
        places = quick.get(key)
        if places is None:
            cells = groups.setdefault((item.benchmark, item.target, item.metric), {})
            places = quick[key] = (cells, blocks[item.benchmark, item.target])
        places[1].add(item.block)
        if not math.isfinite(item.value):
            continue
        column = places[0].setdefault((item.environment, item.replicate), {})
        if item.block in column:
            raise DataError(
                f"two values of {item.metric.name} for {item.environment} in block {item.block}",
                where=f"{item.benchmark} on {item.target}",
                hint="`perfctl db check` looks for what is wrong with the database",
            )
        column[item.block] = item.value
    return groups, blocks


def _results(questions: Sequence[_Question]) -> list[PairedResult | None]:
    """Return the statistics of every question, None without a complete block; equal n are done together."""
    results: list[PairedResult | None] = [None] * len(questions)
    order = sorted((len(q.values), i) for i, q in enumerate(questions) if q.values)
    for _, group in groupby(order, key=lambda entry: entry[0]):
        places = [i for _, i in group]
        rows = np.array([questions[i].differences() for i in places])
        for i, result in zip(places, paired_rows(rows), strict=True):
            results[i] = result
    return results


def _comparison(question: _Question, result: PairedResult | None, confounders: _Confounders) -> Comparison:
    environment, base = question.leg[0], question.base[0]
    is_aa = environment == base
    has_ratio = result is not None and question.has_ratio
    return Comparison(
        benchmark=question.benchmark,
        metric=question.metric,
        target=question.target,
        environment=environment,
        baseline=base,
        baseline_value=_median(question.base_values),
        value=_median(question.values),
        ratio=_exp(result.estimate) if result and has_ratio else None,
        low=_exp(result.low) if result and has_ratio else None,
        high=_exp(result.high) if result and has_ratio else None,
        confidence=result.confidence if result else None,
        p=result.p if result else None,
        blocks=len(question.values),
        left_out=question.left_out,
        note=_note(question, result),
        is_aa=is_aa,
        confounded="" if is_aa else confounders.between(question, environment, base),
    )


def _median(values: Sequence[float]) -> float | None:
    ordered = sorted(values)
    middle = len(ordered) // 2
    if not ordered:
        return None
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _exp(value: float | None) -> float | None:
    return None if value is None else math.exp(value)


def _note(question: _Question, result: PairedResult | None) -> str:
    if result is None:
        return f"no block has a value of both {question.leg[0]} and {question.base[0]}"
    notes = []
    if not question.has_ratio:
        unit = question.metric.unit
        span = ""
        if result.low is not None and result.high is not None:
            span = f" [{number(result.low)} to {number(result.high)}]"
        notes.append(f"difference {number(result.estimate)}{span} {unit}: not all values are positive")
    if result.n < FEWEST_BLOCKS:
        notes.append(f"n < {FEWEST_BLOCKS} cannot be significant")
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
