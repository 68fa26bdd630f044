"""A comparison of two runs as a table: short for people, every field for machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perfctl.cli.comparison_table import (
    environment_for_people,
    left_out_row,
    metric_fields,
    row_of,
    together,
)
from perfctl.output import Column, Table, counted

if TYPE_CHECKING:
    from perfctl.model import FleetComparison, RunComparison
    from perfctl.report import RunReport

_FIELDS = (
    *("level", "run", "benchmark", "target", "other_target", "metric", "unit", "direction", "headline"),
    *("environment", "baseline", "accelerator", "baseline_accelerator", "emulated"),
    *("verdict", "why", "first", "second", "first_ratio", "second_ratio"),
    *("ratio", "low", "high", "confidence", "p", "q", "delta", "delta_source", "mde", "needed"),
    *("raw_ratio", "raw_low", "raw_high", "first_blocks", "second_blocks", "left_out"),
    *("hosts", "reach", "i2", "lowest", "highest", "words", "note", "confounded"),
)
"""`level` is 'host', 'fleet' or 'left_out'; `run` says in which run blocks are left out."""


def run_comparison_table(report: RunReport, *, for_people: bool) -> Table:
    """Return the report as a table."""
    if for_people:
        rows = [_row_for_people(item) for item in report.comparisons]
        rows += [_fleet_for_people(item) for item in report.fleets]
        columns = _columns(report)
        if any(row["note"] for row in rows):
            columns.append(Column("note"))
    else:
        rows = [_row(item) for item in report.comparisons]
        rows += [_fleet(item) for item in report.fleets]
        rows += [
            left_out_row(item, _FIELDS, run=run.run_id)
            for run, items in zip((report.first, report.second), report.left_out, strict=True)
            for item in items
        ]
        columns = [Column(name) for name in _FIELDS]
    return Table("run_comparison", columns, rows, _notes(report))


def _row(item: RunComparison) -> dict[str, Any]:
    from perfctl.compare import run_words

    return row_of(
        _FIELDS,
        "host",
        item,
        item.judgement,
        **metric_fields(item),
        target=str(item.target),
        other_target=str(item.other_target),
        first_blocks=item.blocks[0],
        second_blocks=item.blocks[1],
        words=run_words(item),
    )


def _fleet(item: FleetComparison) -> dict[str, Any]:
    from perfctl.compare import fleet_words

    first, second = (sum(blocks) for blocks in zip(*(host.blocks for host in item.hosts), strict=True))
    return row_of(
        _FIELDS,
        "fleet",
        item,
        item.judgement,
        **metric_fields(item),
        target=together(item),
        first=item.baseline_value,
        second=item.value,
        first_blocks=first,
        second_blocks=second,
        left_out=len(item.missing),
        hosts=[str(host.target) for host in item.hosts],
        words=fleet_words(item),
    )


def _columns(report: RunReport) -> list[Column]:
    names = ("first host", "second host") if report.is_one_run else ("first run", "second run")
    return [
        Column("benchmark"),
        Column("target"),
        Column("metric"),
        Column("environment"),
        Column("first", names[0], align="right"),
        Column("second", names[1], align="right"),
        Column("unit"),
        Column("first_ratio", f"1st / {report.baseline}", align="right"),
        Column("second_ratio", f"2nd / {report.baseline}", align="right"),
        Column("words", f"what became of the ratio to {report.baseline}"),
        Column("raw", "of the values themselves (no verdict)"),
    ]


def _row_for_people(item: RunComparison) -> dict[str, Any]:
    from perfctl.compare import raw_words, run_words

    same = item.target == item.other_target
    return {
        "benchmark": item.benchmark,
        "target": str(item.target) if same else f"{item.target}, then {item.other_target}",
        "metric": item.metric.name,
        "environment": environment_for_people(item),
        "first": item.first,
        "second": item.second,
        "unit": item.metric.unit,
        "first_ratio": item.first_ratio,
        "second_ratio": item.second_ratio,
        "words": run_words(item),
        "raw": raw_words(item),
        "note": _note(item, item.note if item.ratio is not None else ""),
    }


def _fleet_for_people(item: FleetComparison) -> dict[str, Any]:
    from perfctl.compare import fleet_words

    missing = f"without {', '.join(map(str, item.missing))}" if item.missing else ""
    return {
        "benchmark": item.benchmark,
        "target": together(item),
        "metric": item.metric.name,
        "environment": environment_for_people(item),
        "first": item.baseline_value,
        "second": item.value,
        "unit": item.metric.unit,
        "first_ratio": None,
        "second_ratio": None,
        "words": fleet_words(item),
        "raw": None,
        "note": _note(item, item.note, missing),
    }


def _note(item: RunComparison | FleetComparison, *notes: str) -> str:
    every = (*notes, item.judgement.why, "confounded" if item.confounded else "")
    return "; ".join(dict.fromkeys(filter(None, every)))


def _notes(report: RunReport) -> list[str]:
    from perfctl.model.quantity import duration

    first, second = report.first, report.second
    if report.is_one_run:
        found = [f"run {first.run_id}: its hosts, each by its ratio to {report.baseline} there"]
    else:
        apart = duration(abs(second.started_at - first.started_at))
        found = [
            f"first run {first.run_id}: suite {first.suite}, {first.status}",
            f"second run {second.run_id}: suite {second.suite}, {second.status}",
            f"the runs are not interleaved: they began {apart} apart, and whatever changed in between is in"
            f" the values themselves; verdicts are about the ratio to {report.baseline} of the same run only",
        ]
    if report.by:
        found.append(f"compared by {report.by}: nothing else that perfctl refuses for differs")
    found += [f"confounded: {text}" for text in report.confounded]
    if report.unmatched or not any(report.left_out):
        found.append(f"left out: {'; '.join(report.unmatched) or 'nothing'}")
    health = report.health
    if health.interval.estimate is not None:
        low, high = health.interval.low or 0.0, health.interval.high or 0.0
        found.append(
            f"A/A over the database: {health.failed} of {counted(health.tests, 'test')}"
            f" ({100 * health.interval.estimate:.1f}%, 95% interval {100 * low:.1f}-{100 * high:.1f}%)"
        )
    if report.other_metrics:
        found.append(f"not shown: {', '.join(report.other_metrics)} (--all-metrics shows them)")
    return [*found, f"database {report.database}"]
