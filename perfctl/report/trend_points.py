"""One point per run: the ratio to its own baseline, or the raw baseline, with the blocks behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from perfctl.compare.pairing import log_ratios, paired_results
from perfctl.model.quantity import MISSING
from perfctl.stats.order import median_interval
from perfctl.store import HistoryCell, HistoryRun

_BARS = "▁▂▃▄▅▆▇█"
_BREAK = "|"


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """One run. `value` is a logarithm: of the ratio, or of the raw baseline's median in the metric's unit.

    `low` and `high` are its interval (at least 95 %), None below six blocks; `differences` the blocks' own.
    """

    run_id: str
    suite: str
    started_at: float
    value: float
    low: float | None
    high: float | None
    differences: tuple[float, ...]
    baseline_value: float
    """Median over blocks of the baseline, in the metric's unit; then that of the environment."""
    environment_value: float | None
    status: str = "complete"
    """Of the run; one that is 'running' or 'interrupted' has only a part of its blocks."""

    @property
    def blocks(self) -> int:
        """How many blocks it rests on."""
        return len(self.differences)


def ratio_points(
    cells: Mapping[str, HistoryCell], base_cells: Mapping[str, HistoryCell], runs: Sequence[HistoryRun]
) -> tuple[list[TrendPoint], int]:
    """Return a point for every run with a ratio, and the number of runs with values that have none.

    The ratio is the Hodges-Lehmann estimate of d_b over the blocks that have both legs, as in a comparison.
    """
    pairs = []
    without = 0
    for run in runs:
        cell, base = cells.get(run.run_id), base_cells.get(run.run_id)
        if cell is None or base is None:
            continue
        both = [block for block in cell.values if block in base.values]
        values = [cell.values[block] for block in both]
        base_values = [base.values[block] for block in both]
        if both and min(*values, *base_values) > 0:
            pairs.append((run, values, base_values, log_ratios(values, base_values)))
        else:
            without += 1
    points = []
    found = paired_results([differences for *_, differences in pairs])
    for (run, values, base_values, differences), result in zip(pairs, found, strict=True):
        if result is not None:
            points.append(
                TrendPoint(
                    *(run.run_id, run.suite, run.started_at),
                    *(result.estimate, result.low, result.high),
                    tuple(differences),
                    median(base_values),
                    median(values),
                    run.status,
                )
            )
    return points, without


def baseline_points(
    base_cells: Mapping[str, HistoryCell], runs: Sequence[HistoryRun]
) -> tuple[list[TrendPoint], int]:
    """Return the raw baseline of every run: the median over its blocks, with its order-statistic interval."""
    points = []
    without = 0
    for run in runs:
        base = base_cells.get(run.run_id)
        if base is None:
            continue
        values = list(base.values.values())
        if not values or min(values) <= 0:
            without += 1
            continue
        logs = [math.log(value) for value in values]
        found = median_interval(logs)
        points.append(
            TrendPoint(
                *(run.run_id, run.suite, run.started_at),
                *(median(logs), found.low, found.high),
                tuple(logs),
                median(values),
                None,
                run.status,
            )
        )
    return points, without


def sparkline(points: Sequence[TrendPoint], breaks: Sequence[int], *, most: int = 60) -> str:
    """Return the newest points as bars, the lowest value the lowest bar, with a | before each new segment."""
    start = max(0, len(points) - most)
    shown = [point.value for point in points[start:]]
    if not shown:
        return MISSING
    low, high = min(shown), max(shown)
    bars = []
    for index, value in enumerate(shown, start):
        level = (value - low) / (high - low) if high > low else 0.5
        bars.append((_BREAK if index in breaks and index > start else "") + _BARS[round(level * 7)])
    return "".join(bars)
