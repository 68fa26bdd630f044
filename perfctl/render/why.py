"""`why`: the blocks, flags and lines of output behind a value."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from perfctl.model.quantity import counted, duration
from perfctl.render.runs import utc_text
from perfctl.render.text import WIDTH
from perfctl.render.view import Column, Section, View, columns, cut
from perfctl.report.why import WhyBlock, WhyCell, WhyInvocation, WhyReport

_FIELDS = (
    *("benchmark", "target", "environment", "baseline", "metric", "unit", "block", "attempt", "counts"),
    *("order", "difference", "leg", "replicate", "position", "invocation_id", "status", "reason", "detail"),
    *("validity", "accelerator", "started", "duration_s", "value", "samples", "flags", "findings"),
    "lines",
    *("line_count", "lines_are"),
)
_SHORT_ID = 12


def why_view(report: WhyReport) -> View:
    """Return the view of a value's evidence; too many cells of a comparison are only listed."""
    if not report.has_lines:
        return _cells_view(report)
    return View(
        "why",
        columns(*_FIELDS),
        [
            _place(report, cell, block) | _invocation(item)
            for cell in report.cells
            for block in cell.blocks
            for item in _both(block)
        ],
        sections=[section for cell in report.cells for section in _sections(report, cell)],
        database=report.database,
        widest=WIDTH,
    )


def _cells_view(report: WhyReport) -> View:
    fields = [
        *columns("benchmark", "target", "environment", "baseline", "unit"),
        Column("blocks", align="right"),
    ]
    records = [
        (cell.benchmark, str(cell.target), cell.environment, cell.baseline, cell.unit, cell.complete)
        for cell in report.cells
    ]
    note = f"{len(records)} cells have {report.metric}: name one with --benchmark, --environment and --host"
    return View("why_cells", fields, records, footer=[note])


def _both(block: WhyBlock) -> Iterator[WhyInvocation]:
    yield from (item for item in (block.base, block.leg) if item is not None)


# ---- for machines ------------------------------------------------------------------------------------------


def _place(report: WhyReport, cell: WhyCell, block: WhyBlock) -> dict[str, Any]:
    return {
        "benchmark": cell.benchmark,
        "target": str(cell.target),
        "environment": cell.environment,
        "baseline": cell.baseline,
        "metric": report.metric,
        "unit": cell.unit,
        "block": block.block,
        "attempt": block.attempt,
        "counts": block.counts,
        "order": list(block.order),
        "difference": block.difference,
    }


def _invocation(item: WhyInvocation) -> dict[str, Any]:
    found = item.evidence
    names = (
        *("replicate", "position", "invocation_id", "status", "reason", "detail", "validity"),
        *("accelerator", "duration_s", "value", "samples"),
    )
    return {name: getattr(found, name) for name in names} | {
        "leg": found.environment,
        "started": utc_text(found.started_at),
        "flags": list(item.flags),
        "findings": list(item.findings),
        "lines": [{"number": line.number, "text": line.text} for line in item.lines.lines],
        "line_count": item.lines.count,
        "lines_are": item.lines.how,
    }


# ---- for people --------------------------------------------------------------------------------------------


def _sections(report: WhyReport, cell: WhyCell) -> list[Section]:
    """Return three tables: the blocks, what is flagged (if anything is), and the lines of output."""
    flagged = [_flag_row(block, item) for block in cell.blocks for item in _both(block) if item.flags]
    flags = [*columns("block", "attempt", align="right"), *columns("leg", "flags")]
    flags += [Column("counted", "counted meanwhile"), Column("id", "invocation")]
    lines = [*columns("block", align="right"), *columns("leg", "invocation", "took", "status")]
    lines += [Column("line", align="right"), Column("text", "output")]
    rows = [row for block in cell.blocks for item in _both(block) for row in _line_rows(block, item)]
    note = f"the whole output: perfctl show {report.run_id} --invocation ID --artifact stdout"
    return [
        _block_section(report, cell),
        *([Section(flags, flagged, "flagged")] if flagged else []),
        Section(lines, rows, "lines of output that the values were read from", [note]),
    ]


def _block_section(report: WhyReport, cell: WhyCell) -> Section:
    own = f"{cell.environment} A2" if cell.environment == cell.baseline else cell.environment
    shown = [
        *columns("block", "attempt", align="right"),
        Column("order", "order of legs"),
        Column("base", cell.baseline, align="right"),
        Column("value", own, align="right"),
        Column("change", align="right"),
        Column("counts"),
    ]
    title = f"{cell.benchmark}  {report.metric} ({cell.unit})  {cell.target}  {own} against {cell.baseline}"
    notes = [f"{counted(cell.complete, 'block')} with both values; change is the difference as a share"]
    if not cell.complete:
        notes.append("no block has both values: the flags say why")
    return Section(shown, [_block_row(block) for block in cell.blocks], title, notes)


def _block_row(block: WhyBlock) -> dict[str, Any]:
    return {
        "block": block.block,
        "attempt": block.attempt,
        "order": cut(", ".join(block.order)),
        "base": block.base.evidence.value if block.base else None,
        "value": block.leg.evidence.value if block.leg else None,
        "change": None if block.difference is None else f"{100 * math.expm1(block.difference):+.2f} %",
        "counts": "yes" if block.counts else "no: another attempt does",
    }


def _flag_row(block: WhyBlock, item: WhyInvocation) -> dict[str, Any]:
    return {
        "block": block.block,
        "attempt": block.attempt,
        "leg": _leg(item),
        "flags": cut(", ".join(item.flags)),
        "counted": cut(item.counted),
        "id": _short_id(item),
    }


def _line_rows(block: WhyBlock, item: WhyInvocation) -> list[dict[str, Any]]:
    found, lines = item.evidence, item.lines
    row = {
        "block": block.block,
        "leg": _leg(item),
        "invocation": _short_id(item),
        "took": duration(found.duration_s),
        "status": f"{found.status} ({found.reason})" if found.reason else str(found.status),
    }
    if not lines.lines:
        return [row | {"line": None, "text": cut(found.detail or lines.how)}]
    rows = [row | {"line": line.number, "text": cut(line.text.strip())} for line in lines.lines]
    more = lines.count - len(lines.lines)
    if more > 0 or lines.how:
        text = "; ".join(filter(None, [lines.how, f"and {more} more lines" if more > 0 else ""]))
        rows.append(row | {"line": None, "text": cut(f"({text})")})
    return rows


def _leg(item: WhyInvocation) -> str:
    return f"{item.evidence.environment} A2" if item.evidence.replicate == 2 else item.evidence.environment


def _short_id(item: WhyInvocation) -> str:
    return item.evidence.invocation_id[:_SHORT_ID]
