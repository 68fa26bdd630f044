"""Relations between the figures of one report: a workload declares them, `check_report` checks them.

Figures are rounded, so each stands for a range: as wide as what the tool prints in (a metric's `step`), or as
a bin of its histogram (its `resolution`). A relation is broken when no values in these ranges satisfy it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from perfctl.errors import OutputError
from perfctl.model import Metric, Reason, Sample
from perfctl.model.quantity import number, quantity
from perfctl.workloads.reading import missing

ERROR_LINE = re.compile(
    r"^(?:\x1b\[[\d;]*m|[^\w\n]){0,40}(?:fatal|error|alert|panic)\b[^\n]{0,300}", re.IGNORECASE | re.MULTILINE
)
"""A line by which a program reports that it failed, whatever its exit code."""

ERROR_LINE_OF_TEXT = re.compile(
    r'^[^\w\n"\x1b]{0,40}+(?:\x1b\[[\d;]{0,20}m[^\w\n"\x1b]{0,40}+){0,5}(?:fatal|error|alert|panic)\b[^\n]{0,300}',
    ERROR_LINE.flags,
)
"""The same beside JSON, which may have a key "error"."""

_LONGEST_LINE = 300


@dataclass(frozen=True, slots=True)
class Figure:
    """A value of a report and the range that it stands for."""

    value: float
    unit: str
    low: float
    high: float

    @classmethod
    def of(cls, metric: Metric, value: float) -> Figure:
        """Return the figure: a whole step or bin to either side, as tools round, truncate and take edges."""
        width = max(metric.step or 0.0, (metric.resolution or 0.0) * value)
        return cls(value, metric.unit, max(0.0, value - width), value + width)


Figures = Mapping[str, Figure]
"""The figures of a report by the names of their metrics."""


class Relation(Protocol):
    """What the figures of a report must satisfy."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that it is about; it is not checked where one of them is missing."""
        ...

    def contradiction(self, figures: Figures) -> str:
        """Return what contradicts it, with all values; '' where it holds."""
        ...


@dataclass(frozen=True, slots=True)
class Product:
    """The product of `left` is `factor` times the product of `right`, e.g. rate x time = count.

    With `is_bound` it is at most that.
    """

    left: tuple[str, ...]
    right: tuple[str, ...] = ()
    factor: float = 1.0
    tolerance: float = 1e-9
    """As a share, beyond what rounding explains: clocks of a program that start and stop apart."""
    slack: Mapping[str, float] = field(default_factory=dict)
    """By metric, in its unit: how far it may be off in absolute terms."""
    is_bound: bool = False

    @property
    def metrics(self) -> tuple[str, ...]:
        """Both sides."""
        return self.left + self.right

    def contradiction(self, figures: Figures) -> str:
        """Return both products where they differ, or the left one is the larger."""
        left, right = self._side(figures, self.left, 1.0), self._side(figures, self.right, self.factor)
        if self.is_bound:
            is_less = left.low <= right.high * (1 + self.tolerance)
            return "" if is_less else f"{left.describe()} is more than {right.describe()}"
        return _apart(left, right, self.tolerance)

    def _side(self, figures: Figures, names: Sequence[str], factor: float) -> _Side:
        found = [(figures[name], self.slack.get(name, 0.0)) for name in names]

        def describe() -> str:
            terms = [_named(figures, name) for name in names]
            if factor != 1 or not terms:
                terms.insert(0, number(factor))
            value = factor * math.prod(item.value for item, _ in found)
            return " x ".join(terms) + (f" = {number(value)}" if len(terms) > 1 else "")

        return _Side(
            describe,
            factor * math.prod(max(0.0, item.low - slack) for item, slack in found),
            factor * math.prod(item.high + slack for item, slack in found),
        )


@dataclass(frozen=True, slots=True)
class Total:
    """`total` is what the rates `parts` make over `time`, with some, all or none of the rates `optional`."""

    total: str
    time: str
    parts: tuple[str, ...]
    optional: tuple[str, ...] = ()
    tolerance: float = 1e-9
    slack_s: float = 0.0
    """How far the time of the rates may be from `time`."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """All of them."""
        return (self.total, self.time, *self.parts, *self.optional)

    def contradiction(self, figures: Figures) -> str:
        """Return the total and what the parts make where they differ."""
        time = figures[self.time]
        parts = [figures[name] for name in self.parts]
        optional = [figures[name] for name in self.optional]
        value = sum(item.value for item in parts) * time.value
        names = (_named(figures, name) for name in self.parts)
        made = _Side(
            lambda: f"({' + '.join(names)}) x {_named(figures, self.time)} = {number(value)}",
            sum(item.low for item in parts) * max(0.0, time.low - self.slack_s),
            sum(item.high for item in (*parts, *optional)) * (time.high + self.slack_s),
        )
        total = figures[self.total]
        named = partial(_named, figures, self.total)
        return _apart(made, _Side(named, total.low, total.high), self.tolerance)


@dataclass(frozen=True, slots=True)
class Ascending:
    """No metric is larger than a later one, e.g. minimum, percentiles, maximum; those missing are skipped."""

    order: tuple[str, ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        """None of them must be there."""
        return ()

    def contradiction(self, figures: Figures) -> str:
        """Return the first two that are in the wrong order."""
        there = [name for name in self.order if name in figures]
        for place, name in enumerate(there):
            for later in there[place + 1 :]:
                if figures[name].low > figures[later].high:
                    return f"{_named(figures, name)} is more than {_named(figures, later)}"
        return ""


@dataclass(frozen=True, slots=True)
class Cap:
    """The largest value that the tool can report: a metric that reaches it is missing."""

    metric: str
    limit: float
    reason: str
    """What is known of the value, e.g. '100 s or more'."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of an output."""

    samples: tuple[Sample, ...]
    missing: Mapping[str, str] = field(default_factory=dict)
    """The metrics that the output has no value of, and why."""

    @property
    def remark(self) -> str:
        """What is missing and why; '' where nothing is."""
        return "; ".join(f"{metric} is missing ({reason})" for metric, reason in self.missing.items())


def percentile_bound(percentile: str, mean: str, percent: float) -> Product:
    """Return that a percentile of times is at most mean / (1 - share): more would be a larger mean alone."""
    return Product((percentile,), (mean,), 100 / (100 - percent), is_bound=True)


def error_line(pattern: re.Pattern[str], *outputs: str) -> str:
    """Return the first line of the outputs by which the tool reports an error; '' where there is none."""
    found = next(filter(None, map(pattern.search, outputs)), None)
    return found[0].strip()[:_LONGEST_LINE] if found else ""


def check_report(
    samples: Sequence[Sample], metrics: Sequence[Metric], relations: Sequence[Relation], caps: Sequence[Cap]
) -> Reading:
    """Return the samples without those at a cap, which count as that much or more in relations.

    Metrics with several samples are in no relation. Raises OutputError: contradiction when the figures break
    a relation, missing_metric when the headline is 0.
    """
    declared = {metric.name: metric for metric in metrics}
    capped = {cap.metric: cap for cap in caps for item in samples if _is_capped(item, cap)}
    kept = tuple(sample for sample in samples if sample.metric not in capped)
    series = {sample.metric for sample in kept if sample.index}
    figures = {
        sample.metric: Figure.of(declared[sample.metric], sample.value)
        for sample in kept
        if sample.metric in declared and sample.metric not in series
    }
    for cap in capped.values():
        figures[cap.metric] = Figure(cap.limit, declared[cap.metric].unit, cap.limit, math.inf)
    for relation in relations:
        broken = relation.contradiction(figures) if figures.keys() >= set(relation.metrics) else ""
        if broken:
            raise OutputError(
                f"the report contradicts itself: {broken}",
                reason=Reason.CONTRADICTION,
                hint="run it again; the raw output is kept",
            )
    for metric in metrics:
        if metric.headline and metric.name in figures and not figures[metric.name].value:
            raise missing(metric.name, f"it reads 0 {metric.unit}: nothing, or too little to be printed")
    return Reading(kept, {cap.metric: cap.reason for cap in capped.values()})


def _is_capped(sample: Sample, cap: Cap) -> bool:
    return sample.metric == cap.metric and sample.value >= cap.limit


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of a relation: how it is written, with its value, and the range that it stands for."""

    describe: Callable[[], str]
    """Called where the relation does not hold: nearly every report holds all of them."""
    low: float
    high: float


def _apart(left: _Side, right: _Side, tolerance: float) -> str:
    wide = 1 + tolerance
    is_same = left.low <= right.high * wide and right.low <= left.high * wide
    return "" if is_same else f"{left.describe()}, but {right.describe()}"


def _named(figures: Figures, name: str) -> str:
    return f"{name} ({quantity(figures[name].value, figures[name].unit)})"
