"""`perfctl why`: from a value in a table to what it was read from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from perfctl.cli.command import Command
from perfctl.output import Column, Format, Table, counted, emit, format_option

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings
    from perfctl.report.why import WhyBlock, WhyCell, WhyExecution, WhyReport


@click.command(cls=Command)
@click.argument("run")
@click.argument("metric")
@click.option("--benchmark", metavar="NAME", help="Only this benchmark.")
@click.option("--environment", metavar="NAME", help="Only this; the baseline's is its A/A test.")
@click.option("--host", metavar="NAME", help="Only this host and its pairs.")
@format_option
@click.pass_obj
def why(
    settings: Settings,
    run: str,
    metric: str,
    benchmark: str | None,
    environment: str | None,
    host: str | None,
    fmt: Format,
) -> None:
    """From a value of METRIC in RUN to its blocks, executions, and the lines of output it was read from.

    For a metric without a value: which executions gave none, and why. More than eight cells of a table are
    only listed: name one with --benchmark, --environment and --host.
    """
    from perfctl.report.why import why_report
    from perfctl.store import open_store

    with open_store(settings.database_url, read_only=True) as store:
        report = why_report(store, run, metric, benchmark=benchmark, environment=environment, host=host)
    if not report.has_lines:
        tables = [_cells(report)]
    elif fmt in ("json", "csv"):
        tables = [_executions(report)]
    else:
        tables = [table for cell in report.cells for table in _cell_tables(report, cell)]
    for number, table in enumerate(tables):
        if number:
            click.echo()
        emit(table, fmt)


def _cells(report: WhyReport) -> Table:
    columns = [Column(name) for name in ("benchmark", "target", "environment", "baseline", "unit")]
    rows = [
        (cell.benchmark, str(cell.target), cell.environment, cell.baseline, cell.unit, cell.complete)
        for cell in report.cells
    ]
    note = f"{len(rows)} cells have {report.metric}: name one with --benchmark, --environment and --host"
    return Table("why_cells", [*columns, Column("blocks", align="right")], rows, [note])


_FIELDS = (
    *("benchmark", "target", "environment", "baseline", "metric", "unit", "block", "attempt", "counts"),
    *("order", "difference", "leg", "replicate", "position", "invocation_id", "status", "reason", "detail"),
    *("validity", "accelerator", "started", "duration_s", "value", "samples", "flags", "findings"),
    "lines",
    *("line_count", "lines_are"),
)


def _executions(report: WhyReport) -> Table:
    rows = [
        _place(report, cell, block) | _execution(item)
        for cell in report.cells
        for block in cell.blocks
        for item in _both(block)
    ]
    return Table("why", [Column(name) for name in _FIELDS], rows, [f"database {report.database}"])


def _both(block: WhyBlock) -> Iterator[WhyExecution]:
    yield from (item for item in (block.base, block.leg) if item is not None)


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


def _execution(item: WhyExecution) -> dict[str, Any]:
    from perfctl.cli.runs import utc_text

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


def _cell_tables(report: WhyReport, cell: WhyCell) -> list[Table]:
    own = f"{cell.environment} A2" if cell.environment == cell.baseline else cell.environment
    columns = [
        Column("block", align="right"),
        Column("attempt", align="right"),
        Column("order"),
        Column("base", cell.baseline, unit=cell.unit or "", align="right"),
        Column("value", own, unit=cell.unit or "", align="right"),
        Column("change"),
        Column("flags"),
        Column("base_id", f"{cell.baseline}: invocation"),
        Column("leg_id", f"{own}: invocation"),
    ]
    head = f"{report.metric} of {cell.benchmark} on {cell.target}: {own} against {cell.baseline}"
    notes = [f"{head}, {counted(cell.complete, 'block')} with both values (change = d_b, as a share)"]
    if not cell.complete:
        notes.append("no block has both values: the flags say why")
    tables = [Table("why", columns, [_block_row(cell, block) for block in cell.blocks], notes)]
    flagged = [_flag_row(block, item) for block in cell.blocks for item in _both(block) if item.flags]
    if flagged:
        names = [Column("block", align="right"), Column("leg"), Column("flags"), Column("id", "invocation")]
        tables.append(Table("flags", [*names, Column("counted", "what was counted then")], flagged))
    rows = [row for block in cell.blocks for item in _both(block) for row in _line_rows(block, item)]
    columns = [Column("block", align="right"), Column("leg"), Column("took"), Column("status")]
    columns += [Column("line", align="right"), Column("text", "what it printed")]
    note = f"all of an execution: perfctl show {report.run_id} --invocation ID --artifact stdout"
    return [*tables, Table("lines", columns, rows, [note, f"database {report.database}"])]


def _block_row(cell: WhyCell, block: WhyBlock) -> dict[str, Any]:
    import math

    flags = [f"{_name(item)}: {', '.join(item.flags)}" for item in _both(block) if item.flags]
    if not block.counts:
        flags.append("does not count: another attempt does")
    change = None if block.difference is None else f"{100 * math.expm1(block.difference):+.2f} %"
    return {
        "block": block.block,
        "attempt": block.attempt,
        "order": ", ".join(block.order),
        "base": block.base.evidence.value if block.base else None,
        "value": block.leg.evidence.value if block.leg else None,
        "change": change,
        "flags": "; ".join(flags),
        "base_id": _short(block.base),
        "leg_id": _short(block.leg),
    }


def _flag_row(block: WhyBlock, item: WhyExecution) -> dict[str, Any]:
    return {
        "block": block.block,
        "leg": _name(item),
        "flags": ", ".join(item.flags),
        "id": _short(item),
        "counted": item.counted,
    }


def _line_rows(block: WhyBlock, item: WhyExecution) -> list[dict[str, Any]]:
    from perfctl.output import duration

    found, lines = item.evidence, item.lines
    row = {
        "block": block.block,
        "leg": _name(item),
        "took": duration(found.duration_s),
        "status": f"{found.status} ({found.reason})" if found.reason else str(found.status),
    }
    if not lines.lines:
        return [row | {"line": None, "text": found.detail or lines.how}]
    rows = [row | {"line": line.number, "text": line.text} for line in lines.lines]
    more = lines.count - len(lines.lines)
    if more > 0 or lines.how:
        text = "; ".join(filter(None, [lines.how, f"and {more} more lines" if more > 0 else ""]))
        rows.append(row | {"line": None, "text": f"({text})"})
    return rows


def _name(item: WhyExecution) -> str:
    return f"{item.evidence.environment} A2" if item.evidence.replicate == 2 else item.evidence.environment


_SHORT_ID = 12


def _short(item: WhyExecution | None) -> str | None:
    return None if item is None else item.evidence.invocation_id[:_SHORT_ID]
