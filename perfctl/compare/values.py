"""The values of a run by benchmark, target and metric, then by leg, then by block."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

import numpy as np

from perfctl.errors import DataError
from perfctl.model import Metric, Observation, Target
from perfctl.stats.order import outliers

Leg = tuple[str, int]
"""(environment, replicate)"""

InvocationKey = tuple[str, Target, str, int, int]
"""(benchmark, target, environment, replicate, block)"""

INVALID = "invalid by the counters around it"


@dataclass(slots=True)
class LegValues:
    """The values of one metric in one leg by block, with the accelerator where the leg was a guest."""

    values: dict[int, float] = field(default_factory=dict)
    guests: dict[int, str] = field(default_factory=dict)
    sources: dict[int, str] = field(default_factory=dict)
    """By what each value was measured, where it is of what a command used."""
    refused: dict[int, str] = field(default_factory=dict)
    """Block -> why its value is not used."""
    flagged: set[int] = field(default_factory=set)
    """Blocks whose value is an outlier, or whose invocation was flagged."""
    outliers: set[int] = field(default_factory=set)
    """Blocks whose value is an outlier."""

    def flag_outliers(self, metric: Metric) -> None:
        """Flag the values that are far from the others of this leg. None is dropped."""
        blocks = list(self.values)
        row = np.array([self.values[block] for block in blocks])
        step = metric.step or 0.0
        if metric.resolution and len(row):
            step = max(step, metric.resolution * abs(float(np.median(row))))
        self.outliers.update(
            blocks[place] for place in np.flatnonzero(outliers(row, resolution=step)).tolist()
        )
        self.flagged |= self.outliers


@dataclass(frozen=True, slots=True)
class MetricValues:
    """All legs of one benchmark, target and metric, and every block that the benchmark has on the target."""

    benchmark: str
    target: Target
    metric: Metric
    legs: Mapping[Leg, LegValues]
    blocks: frozenset[int]


def group_values(
    seen: Sequence[Observation],
    *,
    declared: Mapping[tuple[str, str], Metric],
    omissions: Mapping[InvocationKey, str],
) -> list[MetricValues]:
    """Return the values in the order in which benchmarks, targets and metrics first appear.

    `declared` are the metrics of (benchmark, name) as the program knows them, with their resolution;
    `omissions` the invocations without a value, and why. Raises DataError when one invocation has two values
    for a metric.
    """
    cells: dict[tuple[str, Target, Metric], dict[Leg, LegValues]] = {}
    blocks: dict[tuple[str, Target], set[int]] = defaultdict(set)
    # Hashing a Metric is slow, and the same few objects come again and again (`seen` keeps them alive).
    quick: dict[tuple[str, str, str | None, int, str, int], tuple[LegValues, set[int]]] = {}
    for item in seen:
        target = item.target
        leg = (item.environment, item.replicate)
        key = (item.benchmark, target.host, target.peer, id(item.metric), *leg)
        places = quick.get(key)
        if places is None:
            legs = cells.setdefault((item.benchmark, target, item.metric), {})
            places = quick[key] = (legs.setdefault(leg, LegValues()), blocks[item.benchmark, target])
        _put(item, *places)
    for benchmark, target, _, _, block in omissions:
        blocks[benchmark, target].add(block)
    groups = []
    for (benchmark, target, metric), legs in cells.items():
        known = _with_resolution(metric, declared.get((benchmark, metric.name)))
        for leg_values in legs.values():
            leg_values.flag_outliers(known)
        groups.append(MetricValues(benchmark, target, known, legs, frozenset(blocks[benchmark, target])))
    return groups


def _put(item: Observation, leg_values: LegValues, known: set[int]) -> None:
    block = item.block
    known.add(block)
    if item.validity == "invalid":
        leg_values.refused[block] = INVALID
        return
    if item.missing or not math.isfinite(item.value):
        leg_values.refused[block] = item.missing or "no finite number"
        return
    if block in leg_values.values:
        raise DataError(
            f"two values of {item.metric.name} for {item.environment} in block {block}",
            where=f"{item.benchmark} on {item.target}",
            hint="`perfctl db check` looks for what is wrong with the database",
        )
    leg_values.values[block] = item.value
    if item.accelerator is not None:
        leg_values.guests[block] = item.accelerator
    if item.source is not None:
        leg_values.sources[block] = item.source
    if item.validity == "flagged":
        leg_values.flagged.add(block)


def _with_resolution(metric: Metric, declared: Metric | None) -> Metric:
    if declared is None:
        return metric
    return replace(metric, resolution=declared.resolution, step=declared.step)


def missing_reasons(
    group: MetricValues,
    leg: Leg,
    base: Leg,
    missing: Iterable[int],
    omissions: Mapping[InvocationKey, str],
    of_other_sources: Set[int] = frozenset(),
) -> tuple[tuple[str, int], ...]:
    """Return why these blocks are in no comparison of the two legs, and how many for each reason."""
    found: Counter[str] = Counter()
    for block in missing:
        for name, replicate in (leg, base):
            leg_values = group.legs.get((name, replicate))
            if leg_values is not None and block in leg_values.values:
                continue
            key = (group.benchmark, group.target, name, replicate, block)
            refused = leg_values.refused.get(block) if leg_values is not None else None
            reason = refused or omissions.get(key) or "no value"
            found[f"{name}{' A2' if replicate == 2 else ''}: {reason}"] += 1
            break
        else:
            found["measured by other means" if block in of_other_sources else "another accelerator"] += 1
    return tuple(sorted(found.items(), key=lambda item: (-item[1], item[0])))
