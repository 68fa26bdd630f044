"""The samples of one metric in one invocation: checked, kept as rows or as one packed blob, summed up.

Up to ROWS_AT_MOST values are rows of `sample`, which SQL can look at one by one. A longer run of values
(a latency per request, a rate per second) is one blob of `series`: ten million values take a tenth of the
time and a third of the space that way. Either way `invocation_metric` has count, sum and median.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from perfctl.errors import DataError
from perfctl.model import Metric, Sample

ROWS_AT_MOST = 64


@dataclass(frozen=True, slots=True)
class Summary:
    """The derived row. `value` is the median of what is no warm-up (None when all is)."""

    value: float | None
    sample_count: int
    warmup_count: int
    value_sum: float
    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Series:
    """All samples of one metric, by index."""

    metric: Metric
    indexes: list[int]
    warmups: list[bool]
    values: list[float]

    @property
    def is_packed(self) -> bool:
        """Whether it is kept as a blob: long, without gaps, and warm-up only at its start."""
        count = len(self.values)
        warmups = sum(self.warmups)
        return count > ROWS_AT_MOST and self.indexes[-1] == count - 1 and all(self.warmups[:warmups])

    def summary(self) -> Summary:
        """Return count, sum, extremes and median."""
        return summarise(self.values, self.warmups)


def median(values: Sequence[float]) -> float:
    """Return the middle value, or the mean of the middle two (`statistics` costs 7 ms to import)."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def summarise(values: Sequence[float], warmups: Sequence[bool]) -> Summary:
    """Return the derived row of these samples (at least one); the sum is exactly rounded (fsum)."""
    counted = [value for value, is_warmup in zip(values, warmups, strict=True) if not is_warmup]
    return Summary(
        value=median(counted) if counted else None,
        sample_count=len(values),
        warmup_count=len(values) - len(counted),
        value_sum=math.fsum(values),
        minimum=min(values),
        maximum=max(values),
    )


def group(metrics: Sequence[Metric], samples: Sequence[Sample]) -> list[Series]:
    """Return the samples by metric, ordered by index.

    Raises DataError for a metric that is not declared, another unit than the metric's, a value that is not a
    finite number, or two samples with one index.
    """
    # Whole lists at a time, not sample by sample: this is the hot path when a series is long.
    by_name: dict[str, list[Sample]] = {metric.name: [] for metric in metrics}
    for sample in samples:
        if sample.metric not in by_name:
            raise DataError(f"a sample of the metric {sample.metric!r}, which is not declared")
        by_name[sample.metric].append(sample)
    return [_series(metric, by_name[metric.name]) for metric in metrics if by_name[metric.name]]


def _series(metric: Metric, samples: Sequence[Sample]) -> Series:
    wrong_units = {sample.unit for sample in samples} - {metric.unit}
    if wrong_units:
        raise DataError(
            f"a sample of {metric.name!r} is in {sorted(wrong_units)[0]!r}, its metric in {metric.unit!r}"
        )
    values = [float(sample.value) for sample in samples]
    if not all(map(math.isfinite, values)):
        wrong = next(value for value in values if not math.isfinite(value))
        raise DataError(f"a sample of {metric.name!r} is not a finite number: {wrong}")
    indexes = [sample.index for sample in samples]
    return _ordered(Series(metric, indexes, [sample.is_warmup for sample in samples], values))


def _ordered(series: Series) -> Series:
    indexes = series.indexes
    if indexes == list(range(len(indexes))):
        return series
    order = sorted(range(len(indexes)), key=indexes.__getitem__)
    ordered = Series(
        series.metric,
        [indexes[place] for place in order],
        [series.warmups[place] for place in order],
        [series.values[place] for place in order],
    )
    if ordered.indexes[0] < 0 or len(set(indexes)) < len(indexes):
        raise DataError(f"samples of {series.metric.name!r} have a negative or repeated index")
    return ordered


def pack(values: Sequence[float]) -> bytes:
    """Return the values as little-endian IEEE 754 doubles."""
    packed = array("d", values)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpack(blob: bytes) -> list[float]:
    """Return the values of a packed blob. Raises DataError when its length is no multiple of eight."""
    if len(blob) % 8:
        raise DataError(f"a packed series of {len(blob)} bytes is cut off")
    packed = array("d")
    packed.frombytes(blob)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tolist()
