"""The charts of a benchmark on one host or pair, with the tables behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from perfctl.render.html.blocks import block_table, flagged_table
from perfctl.render.html.percentiles import percentiles_chart
from perfctl.render.html.tables import Table
from perfctl.render.svg.blocks import blocks_chart
from perfctl.render.svg.distribution import ecdf_chart
from perfctl.render.svg.elements import Chart
from perfctl.render.svg.legs import leg_series
from perfctl.render.svg.order import order_chart
from perfctl.report.document import MeasuredCell, RunDocument

MOST_CELLS = 200
"""Targets, over all benchmarks, that are shown with every block; of more only those far from the others."""

MOST_OPEN = 4
"""Targets of a benchmark whose charts are open at first: of more, each is one line until it is opened."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart with its caption; `table` is the id of the table behind it."""

    svg: Markup
    caption: str
    table: str


@dataclass(frozen=True, slots=True)
class TargetPart:
    """The charts of one metric on one host or pair, and the tables behind them."""

    title: str
    is_open: bool
    figures: Sequence[Figure]
    tables: Sequence[Table]
    flagged: Table | None
    is_complete: bool = True


def target_part(
    document: RunDocument,
    cell: MeasuredCell,
    classes: dict[str, str],
    *,
    id_: str,
    percentiles_id: str,
    is_open: bool,
) -> TargetPart:
    """Return the charts of one metric on one target, and the table behind them."""
    baseline, unit = document.comparison.baseline, cell.metric.unit
    legs = leg_series(cell, classes)
    place = str(cell.target)
    blocks = block_table(cell, legs, baseline, id_=f"{id_}-t")
    figures = []
    if legs:
        charts = (
            (
                blocks_chart(legs, baseline, place=place, unit=unit),
                f"Every block, {cell.metric.name} in {unit}: {baseline} left, the environment right",
            ),
            (
                ecdf_chart(legs, place=place, unit=unit),
                "Distribution: share of the blocks with at most this value",
            ),
            (
                order_chart(legs, place=place, baseline=baseline),
                "Order over time: each value as a share of the median of its environment",
            ),
        )
        figures = [figure(chart, caption, blocks.id) for chart, caption in charts]
    percentiles = percentiles_chart(
        [item for item in document.percentiles_of(cell.benchmark) if item.target == cell.target],
        classes,
        baseline,
    )
    if cell.metric.headline and percentiles is not None:
        figures.append(figure(percentiles, "Latency percentiles, median over blocks", percentiles_id))
    return TargetPart(
        title=f"{cell.metric.name} on {place}",
        is_open=is_open,
        figures=figures,
        tables=[blocks],
        flagged=flagged_table(cell, document.findings, document.comparison.run.run_id),
    )


def figure(chart: Chart, caption: str, table: str) -> Figure:
    """Return a chart as a part of the page; screen readers are told which table has its values."""
    return Figure(Markup(chart.svg(aria_details=table)), caption, table)


def farthest(cells: Sequence[MeasuredCell], most: int) -> list[MeasuredCell]:
    """Return at most so many cells in their order: those with the largest and the smallest ratios."""
    if len(cells) <= most:
        return list(cells)
    middles = _middle_ratios(cells)

    def distance(cell: MeasuredCell) -> float:
        ratios = [
            (item.environment, item.ratio) for item in cell.comparisons if item.ratio and not item.is_aa
        ]
        return max((abs(ratio / middles[environment] - 1) for environment, ratio in ratios), default=0.0)

    kept = {id(cell) for cell in sorted(cells, key=distance, reverse=True)[:most]}
    return [cell for cell in cells if id(cell) in kept]


def _middle_ratios(cells: Sequence[MeasuredCell]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for cell in cells:
        for item in cell.comparisons:
            if item.ratio and not item.is_aa:
                found.setdefault(item.environment, []).append(item.ratio)
    return {name: sorted(ratios)[len(ratios) // 2] for name, ratios in found.items()}
