"""The page of two runs: how the costs changed, the blocks of both, and what else differs between them."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from perfctl.model import Comparison, FleetComparison, RunComparison
from perfctl.model.quantity import MISSING, counted, duration
from perfctl.render.answer import answer
from perfctl.render.figures import by_heading, unfinished
from perfctl.render.health import rate_note
from perfctl.render.html.background import Part, validity_table
from perfctl.render.html.benchmarks import BenchmarkPart, by_environment
from perfctl.render.html.overview import Overview, forest_tables
from perfctl.render.html.tables import Cell, Heading, Table, figure_table, key_values, table_of
from perfctl.render.html.targets import MOST_CELLS, MOST_OPEN, Figure, TargetPart
from perfctl.render.left_out import left_out_sections
from perfctl.render.run_comparison import run_comparison_section
from perfctl.render.runs import short_id, utc_text
from perfctl.render.svg.distribution import ecdf_chart
from perfctl.render.svg.legs import LegSeries, LegValue, leg_classes
from perfctl.render.view import Remarks, cut
from perfctl.report.document import TwoRunsDocument

_Line = RunComparison | FleetComparison


def two_runs_context(document: TwoRunsDocument) -> dict[str, Any]:
    """Return what the page's template needs."""
    report = document.comparison
    anchors = {item.name: f"b{number}" for number, item in enumerate(document.details[1].benchmarks, 1)}
    tables, not_drawn = forest_tables(report, anchors)
    notes = [
        f"Each line is the ratio to {report.baseline} in the second run over that in the first. The runs were"
        " not interleaved: whatever changed between them is in the values, and in the baselines as well."
    ]
    overview = Overview(
        _asked(document), answer(report), unfinished(report.first, report.second), tables, notes, not_drawn
    )
    return {
        "title": f"perfctl: {report.second.suite}, two runs",
        "heading": f"How the costs of {report.second.suite} changed",
        "subheading": f"from run {short_id(report.first.run_id)} to run {short_id(report.second.run_id)}",
        "overview": overview,
        "benchmarks": _benchmarks(document, anchors),
        "parts": _parts(document),
    }


def _asked(document: TwoRunsDocument) -> list[tuple[str, str]]:
    report = document.comparison
    found = [("question", f"what changed in the costs against {report.baseline}")]
    for number, run in enumerate((report.first, report.second), 1):
        took = None if run.ended_at is None else run.ended_at - run.started_at
        text = f"{run.run_id}: suite {run.suite}, {utc_text(run.started_at)}, {duration(took)}, {run.status}"
        found.append((f"run {number}", f"{text}, {run.ok} invocations ok, hosts {', '.join(run.hosts)}"))
    apart = duration(abs(report.second.started_at - report.first.started_at))
    return [*found, ("apart", apart), ("may differ", report.by or "nothing")]


# ---- benchmarks --------------------------------------------------------------------------------------------


def _benchmarks(document: TwoRunsDocument, anchors: Mapping[str, str]) -> list[BenchmarkPart]:
    report = document.comparison
    ratios = _block_ratios(document)
    share = max(1, MOST_CELLS // max(len(anchors), 1))
    parts = []
    for item in document.details[1].benchmarks:
        both: list[_Line] = [*report.fleets, *report.comparisons]
        lines = [line for line in both if line.benchmark == item.name]
        tables: list[Table] = []
        for heading, group in by_heading(lines).items():
            for caption, several in by_environment(heading, group):
                remarks = Remarks()
                section = run_comparison_section(report, heading, several, remarks)
                id_ = f"{anchors[item.name]}-t{len(tables) + 1}"
                tables.append(figure_table(section, several, caption=caption, remarks=remarks.texts, id_=id_))
        cells = {key: found for key, found in ratios.items() if key[0] == item.name}
        shown = list(cells.items())[:share]
        targets = [
            _target(key, found, document, f"{anchors[item.name]}-{number}", is_open=len(shown) <= MOST_OPEN)
            for number, (key, found) in enumerate(shown, 1)
        ]
        hidden = (
            f"Blocks are shown of the first {share} of {counted(len(cells), 'target')}."
            if len(cells) > share
            else ""
        )
        names = [environment.name for environment in document.details[1].environments]
        classes = leg_classes(report.baseline, names)
        parts.append(
            BenchmarkPart(
                id=anchors[item.name],
                name=item.name,
                call=" ".join(
                    [item.workload, *(f"{name}={value}" for name, value in item.parameters.items())]
                ),
                metrics=[],
                lead="",
                tables=tables,
                legend=[(class_, name) for name, class_ in classes.items() if name != report.baseline]
                if targets
                else [],
                targets=targets,
                details=[],
                hidden=hidden,
            )
        )
    return parts


_Key = tuple[str, str, str]
"""Benchmark, metric, target."""
_Ratios = dict[tuple[str, int], dict[int, float]]
"""(environment, run) -> block -> ratio to the baseline."""


def _block_ratios(document: TwoRunsDocument) -> dict[_Key, _Ratios]:
    """Return the ratio of every block that both runs' comparisons rest on."""
    known = {(item.benchmark, item.metric.name, str(item.target)) for item in document.comparison.comparisons}
    found: dict[_Key, _Ratios] = {}
    for number, report in enumerate(document.runs, 1):
        for line in report.paired:
            item: Comparison = line.comparison
            key = (item.benchmark, item.metric.name, str(item.target))
            if key in known and not item.is_aa and item.ratio is not None:
                ratios = {block: math.exp(d) for block, d in zip(line.blocks, line.differences, strict=True)}
                found.setdefault(key, {})[item.environment, number] = ratios
    return found


def _target(key: _Key, ratios: _Ratios, document: TwoRunsDocument, id_: str, *, is_open: bool) -> TargetPart:
    _, metric, place = key
    names = [environment.name for environment in document.details[1].environments]
    classes = leg_classes(document.comparison.baseline, names)
    order = sorted(ratios, key=lambda leg: (names.index(leg[0]) if leg[0] in names else len(names), leg[1]))
    legs = [
        LegSeries(
            f"{name}, run {number}",
            # The first run is drawn as the second replicate of a leg is: lighter, dashed.
            1 if number == 2 else 2,
            classes.get(name, "e1"),
            tuple(LegValue(block, ratio, 0.0, "") for block, ratio in ratios[name, number].items()),
        )
        for name, number in order
    ]
    chart = ecdf_chart(legs, place=place, unit=f"ratio to {document.comparison.baseline}")
    table = _ratio_table(ratios, order, f"{id_}-t", f"Ratio of every block: {metric} on {place}")
    caption = "Distribution of the ratios to the baseline, block by block; the first run dashed"
    svg = Markup(chart.svg(aria_details=table.id))
    return TargetPart(f"{metric} on {place}", is_open, [Figure(svg, caption, table.id)], [table], None)


def _ratio_table(ratios: _Ratios, order: Sequence[tuple[str, int]], id_: str, caption: str) -> Table:
    blocks = sorted({block for of in ratios.values() for block in of})
    headings = [Heading("block", "n"), *(Heading(f"{name}, run {number}", "n") for name, number in order)]
    rows = []
    for block in blocks:
        values = [ratios[leg].get(block) for leg in order]
        rows.append(
            [
                Cell(str(block), "n"),
                *(Cell(MISSING if value is None else f"{value:.4f}", "n", value) for value in values),
            ]
        )
    return Table(
        caption,
        headings,
        rows,
        ["blocks of two runs have the same numbers and nothing else in common"],
        id=id_,
        classes="blocks",
    )


# ---- the parts after them ----------------------------------------------------------------------------------


def _parts(document: TwoRunsDocument) -> list[Part]:
    report = document.comparison
    rate = rate_note(report.health)
    trust = [validity_table(validity) for validity in document.validity if validity]
    return [
        Part("trust", "A/A and validity", [rate] if rate else [], trust),
        Part("hosts", "What else differs", _differences(document), _fact_tables(document)),
        Part(
            "left-out", "What was left out", list(report.unmatched) or _nothing(document), _left_out(document)
        ),
        Part(
            "reproduce",
            "How to reproduce",
            ["The seed of a run gives the same plan: the same blocks in the same order."],
            [_run_table(document, 0), _run_table(document, 1)],
            [
                *(shlex.join(item.command) for item in document.details),
                f"perfctl compare {report.first.run_id} {report.second.run_id}",
            ],
        ),
    ]


def _nothing(document: TwoRunsDocument) -> list[str]:
    return [] if any(document.comparison.left_out) else ["Nothing."]


def _differences(document: TwoRunsDocument) -> list[str]:
    found = [f"confounded: {text}" for text in document.comparison.confounded]
    if not document.changed_facts and not found:
        found.append("No static fact of a host differs between the runs.")
    return found


def _fact_tables(document: TwoRunsDocument) -> list[Table]:
    if not document.changed_facts:
        return []
    rows = [
        [Cell(host), Cell(cut(text, 200))] for host, texts in document.changed_facts.items() for text in texts
    ]
    return [Table("Facts of hosts that changed", [Heading("host"), Heading("change")], rows)]


def _left_out(document: TwoRunsDocument) -> list[Table]:
    first, second = document.comparison.left_out
    sections = left_out_sections({"first": first, "second": second})
    return [table_of(section, caption="What no figure rests on, and why") for section in sections]


def _run_table(document: TwoRunsDocument, place: int) -> Table:
    detail = document.details[place]
    pairs = (
        ("run", detail.summary.run_id),
        ("suite", detail.summary.suite),
        ("seed", detail.seed),
        ("perfctl", detail.perfctl_version),
        ("started", utc_text(detail.summary.started_at)),
    )
    return key_values(pairs, caption=f"Run {place + 1}")
