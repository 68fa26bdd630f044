"""`plot`: one kind of chart of a run, as an SVG or PNG file, or as text on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from perfctl.errors import UnknownName, UsageError
from perfctl.model import Direction
from perfctl.model.quantity import counted
from perfctl.render import print_text
from perfctl.render.answer import main_lines
from perfctl.render.files import write_new
from perfctl.render.svg.blocks import blocks_chart
from perfctl.render.svg.distribution import ecdf_chart
from perfctl.render.svg.document import svg_file
from perfctl.render.svg.elements import Chart
from perfctl.render.svg.forest import ForestRow, by_cost, forest_chart, forest_row, near_and_far
from perfctl.render.svg.legs import leg_classes, leg_series
from perfctl.render.svg.order import order_chart
from perfctl.render.svg.png import png
from perfctl.report import ComparisonReport
from perfctl.report.document import MeasuredCell, RunDocument

MOST_CHARTS = 24
"""Charts of one file; more are for the report, which has all of them."""


def plot_svg(
    document: RunDocument, kind: str, *, benchmark: str | None = None, host: str | None = None
) -> str:
    """Return a chart of a run as an SVG document.

    All kinds but the forest have one chart per benchmark, metric and target; `benchmark` and `host` choose
    some. Raises UsageError for more than `MOST_CHARTS`, UnknownName where there is none.
    """
    report = document.comparison
    run = report.run
    if kind == "forest":
        titles = (f"{run.suite}: ratio to {report.baseline} and its 95 % interval", "beyond 2x")
        groups = near_and_far(forest_rows(report, benchmark=benchmark))
        charts = [
            (title, forest_chart(rows, f"Costs against {report.baseline}"))
            for title, rows in zip(titles, groups, strict=False)
        ]
        return svg_file(charts, label=f"Forest plot of run {run.run_id}", columns=1)
    classes = leg_classes(report.baseline, [item.name for item in document.detail.environments])
    charts = [
        (
            f"{cell.benchmark} on {cell.target}: {cell.metric.name}",
            _chart(kind, cell, classes, report.baseline),
        )
        for cell in chosen_cells(document, benchmark=benchmark, host=host)
    ]
    legend = [(class_, name) for name, class_ in classes.items()]
    return svg_file(charts, label=f"{kind} of run {run.run_id}", legend=legend)


def forest_rows(report: ComparisonReport, *, benchmark: str | None = None) -> list[ForestRow]:
    """Return the rows of the main lines that have a cost, the largest first.

    Emulated ones have none, and metrics that are neither better high nor low have none.

    Raises UnknownName for a benchmark without a line, UsageError where no line has a ratio.
    """
    lines = [item for item in main_lines(report) if not item.is_emulated]
    lines = [item for item in lines if item.metric.direction is not Direction.NEUTRAL]
    if benchmark is not None:
        lines = [item for item in lines if item.benchmark == benchmark]
        if not lines:
            raise UnknownName(
                f"no comparison of a benchmark {benchmark!r}", hint="perfctl compare lists them"
            )
    rows = [row for row in by_cost(map(forest_row, lines)) if row.cost is not None]
    if not rows:
        raise UsageError("no line has a ratio to plot", where=f"run {report.run.run_id}", hint="perfctl show")
    return rows


def chosen_cells(
    document: RunDocument, *, benchmark: str | None = None, host: str | None = None
) -> Sequence[MeasuredCell]:
    """Return the cells that have values. Raises as `plot_svg` does."""
    found = [
        cell
        for cell in document.cells
        if (benchmark is None or cell.benchmark == benchmark) and (host is None or host in cell.target.hosts)
    ]
    found = [cell for cell in found if any(item.value is not None for item in cell.invocations)]
    where = f"run {document.comparison.run.run_id}"
    if not found:
        raise UnknownName("nothing was measured there", where=where, hint="perfctl compare lists what was")
    if len(found) > MOST_CHARTS:
        raise UsageError(
            f"these are {counted(len(found), 'chart')}, a file has at most {MOST_CHARTS}",
            where=where,
            hint="choose with --benchmark or --host; perfctl report has all of them",
        )
    return found


def _chart(kind: str, cell: MeasuredCell, classes: dict[str, str], baseline: str) -> Chart:
    legs, place, unit = leg_series(cell, classes), str(cell.target), cell.metric.unit
    if kind == "blocks":
        return blocks_chart(legs, baseline, place=place, unit=unit)
    if kind == "ecdf":
        return ecdf_chart(legs, place=place, unit=unit)
    return order_chart(legs, place=place, baseline=baseline)


def write_plot(
    document: RunDocument,
    kind: str,
    output: Path | None,
    *,
    benchmark: str | None = None,
    host: str | None = None,
    force: bool = False,
) -> None:
    """Write the chart to an SVG or PNG file, or print it to stdout as text.

    Raises as `plot_svg` does, and UsageError for another kind of file.
    """
    if output is None:
        from perfctl.render.terminal_plot import terminal_plot

        print_text(terminal_plot(document, kind, benchmark=benchmark, host=host))
        return
    suffix = output.suffix.lower()
    if suffix not in (".svg", ".png"):
        raise UsageError(
            f"charts are SVG or PNG, not {output.suffix or 'a file without a suffix'}",
            where=str(output),
            hint="-o NAME.svg, which browsers and word processors read, or -o NAME.png",
        )
    svg = plot_svg(document, kind, benchmark=benchmark, host=host)
    write_new(output, png(svg) if suffix == ".png" else svg.encode("utf-8", "replace"), force=force)
