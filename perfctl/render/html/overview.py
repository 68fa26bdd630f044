"""The first part of the page: what was asked, the answer, and the forest plot of all main lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perfctl.model import Direction, RunComparison
from perfctl.model.quantity import counted, duration
from perfctl.render.answer import Line, answer, main_lines
from perfctl.render.comparison import blocks_note, ended_note, margin_notes, suite_section
from perfctl.render.figures import VERDICT_TONES, figure_cells, unfinished
from perfctl.render.html.tables import Table, figure_table
from perfctl.render.runs import utc_text
from perfctl.render.svg.forest import forest_row
from perfctl.render.view import Column, Remarks, Section, columns
from perfctl.report import ComparisonReport, RunReport
from perfctl.report.document import RunDocument
from perfctl.store import RunDetail


@dataclass(frozen=True, slots=True)
class Overview:
    """The texts and tables of the first part."""

    asked: Sequence[tuple[str, str]]
    answer: Sequence[str]
    warnings: Sequence[str]
    tables: Sequence[Table]
    notes: Sequence[str]
    not_drawn: str
    """Which lines are in no forest plot, and why; '' where all are."""


def run_overview(document: RunDocument, anchors: Mapping[str, str]) -> Overview:
    """Return the first part for one run; `anchors` are the ids of the benchmarks' parts."""
    report = document.comparison
    tables, not_drawn = forest_tables(report, anchors)
    if report.suites:
        remarks = Remarks()
        section = suite_section(report, remarks)
        caption = "All benchmarks: geometric mean of the headline ratios (slower is always worse)"
        tables.append(
            figure_table(section, report.suites, caption=caption, remarks=remarks.texts, id_="suite")
        )
    return Overview(
        asked=asked(document.detail, report),
        answer=answer(report),
        warnings=unfinished(report.run),
        tables=tables,
        notes=margin_notes(report),
        not_drawn=not_drawn,
    )


def asked(detail: RunDetail, report: ComparisonReport) -> list[tuple[str, str]]:
    """Return what was asked of the run, as names and texts."""
    run = detail.summary
    others = [item for item in detail.environments if item.name != report.baseline]
    took = None if run.ended_at is None else run.ended_at - run.started_at
    return [
        (
            "question",
            f"what {', '.join(item.name for item in others) or 'nothing'} cost against {report.baseline}",
        ),
        ("suite", f"{run.suite}: {', '.join(item.name for item in detail.benchmarks)}"),
        ("hosts", f"{len(run.hosts)}: {', '.join(run.hosts)}" if run.hosts else "none"),
        ("measured", f"{utc_text(run.started_at)}, {duration(took)}, {run.status}"),
        ("blocks", blocks_note(report)),
        ("invocations", ended_note(report)),
        ("run", run.run_id),
    ]


def forest_tables(
    report: ComparisonReport | RunReport, anchors: Mapping[str, str]
) -> tuple[list[Table], str]:
    """Return the forest plot, near and far factors apart, and which lines it cannot have."""
    lines = main_lines(report)
    emulated = [item for item in lines if item.is_emulated]
    others = [item for item in lines if not item.is_emulated]
    neutral = [item for item in others if item.metric.direction is Direction.NEUTRAL]
    drawn = [(item, forest_row(item).is_far) for item in others if item.metric.direction != Direction.NEUTRAL]
    captions = (f"What each environment costs against {report.baseline}", "Costs beyond 2x")
    if isinstance(report, RunReport):
        captions = ("How the cost of each environment changed from run 1 to run 2", "Changes beyond 2x")
    tables = []
    for is_far, caption, id_ in ((False, captions[0], "forest"), (True, captions[1], "forest-far")):
        if items := [item for item, item_is_far in drawn if item_is_far is is_far]:
            tables.append(_forest(items, caption, id_, anchors))
    missing = []
    if emulated:
        missing.append(f"{counted(len(emulated), 'line')} of emulated guests: their figures are no overhead")
    if neutral:
        missing.append(f"{counted(len(neutral), 'line')} of metrics that are neither better high nor low")
    return tables, f"Not in the plot, but in the tables below: {'; '.join(missing)}." if missing else ""


def _forest(items: Sequence[Line], caption: str, id_: str, anchors: Mapping[str, str]) -> Table:
    ordered = sorted(items, key=_cost, reverse=True)
    shown = [
        *columns("benchmark", "environment"),
        Column("target", "hosts"),
        Column("ratio", align="right"),
        Column("interval", "95 % CI", align="right"),
        Column("verdict", tones=VERDICT_TONES),
        *columns("q", "n", align="right"),
    ]
    several = {(item.benchmark, item.environment) for item in ordered}
    has_metrics = len(several) < len(ordered)
    rows = [_row(item, has_metrics=has_metrics) for item in ordered]
    hrefs = [f"#{anchors[item.benchmark]}" if item.benchmark in anchors else "" for item in ordered]
    return figure_table(Section(shown, rows), ordered, caption=caption, hrefs=hrefs, id_=id_)


def _row(item: Line, *, has_metrics: bool) -> dict[str, Any]:
    name = f"{item.benchmark}  {item.metric.name}" if has_metrics else item.benchmark
    found = figure_cells(item) | {"benchmark": name}
    if isinstance(item, RunComparison) and item.target != item.other_target:
        found["target"] = f"{item.target}, then {item.other_target}"
    return found


def _cost(item: Line) -> float:
    cost = forest_row(item).cost
    return float("-inf") if cost is None else cost
