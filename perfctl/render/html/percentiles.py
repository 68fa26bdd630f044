"""Percentiles of latencies: a chart for each target of a benchmark, and one table of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from perfctl.compare import format_interval, format_ratio
from perfctl.model import Comparison, Target
from perfctl.model.quantity import MISSING
from perfctl.render.figures import environment_text, value_text
from perfctl.render.html.tables import Cell, Heading, Table
from perfctl.render.svg.elements import Chart
from perfctl.render.svg.percentiles import percentile_chart
from perfctl.report.document import PERCENTILE

NOTE = (
    "Percentiles of every invocation, compared block by block: the values, the ratio and its 95 % CI. They"
    " have no verdict here: perfctl compare RUN --metric NAME judges one."
)


def percent_of(item: Comparison) -> int:
    """Return the percentile that the metric of a comparison is."""
    match = PERCENTILE.fullmatch(item.metric.name)
    return int(match["percent"]) if match else 0


def percentiles_chart(items: Sequence[Comparison], classes: Mapping[str, str], baseline: str) -> Chart | None:
    """Return the chart of one target; None for fewer than two percentiles, or for several units."""
    values: dict[str, dict[int, float]] = {}
    for item in items:
        for name, value in ((baseline, item.baseline_value), (item.environment, item.value)):
            if value is not None:
                values.setdefault(name, {})[percent_of(item)] = value
    units = {item.metric.unit for item in items}
    if len({percent for of in values.values() for percent in of}) < 2 or len(units) != 1:
        return None
    shown = {name: values[name] for name in classes if name in values}
    return percentile_chart(shown, classes, place=str(items[0].target), unit=units.pop())


def percentiles_table(
    items: Sequence[Comparison], baseline: str, *, benchmark: str, id_: str
) -> Table | None:
    """Return the percentiles of all targets of a benchmark, a row per target and environment."""
    percents = sorted({percent_of(item) for item in items})
    if not percents:
        return None
    units = ", ".join(dict.fromkeys(item.metric.unit for item in items))
    rows: dict[tuple[Target, str], dict[int, Comparison]] = {}
    for item in items:
        rows.setdefault((item.target, environment_text(item)), {})[percent_of(item)] = item
    headings = [Heading("target"), Heading("environment")]
    for percent in percents:
        headings += [Heading(f"p{percent} {baseline}"), Heading(f"p{percent}"), Heading("ratio")]
    cells = [
        [
            Cell(str(target)),
            Cell(environment),
            *(cell for percent in percents for cell in _cells(found.get(percent))),
        ]
        for (target, environment), found in rows.items()
    ]
    caption = f"Latency percentiles of {benchmark} ({units}), median over blocks"
    return Table(caption, headings, cells, [NOTE], id=id_, classes="blocks")


def _cells(item: Comparison | None) -> list[Cell]:
    if item is None:
        return [Cell(MISSING)] * 3
    ratio = MISSING if item.ratio is None else format_ratio(item.ratio, item.metric.direction)
    interval = "" if item.ratio is None else format_interval(item.ratio, item.low, item.high)
    values = [Cell(value_text(value) or MISSING) for value in (item.baseline_value, item.value)]
    return [*values, Cell(f"{ratio} ({interval})" if interval else ratio)]
