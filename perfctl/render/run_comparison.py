"""`compare` of two runs, or of the hosts of one: how each environment's ratio changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perfctl.compare import format_fleet, format_ratio, format_run_comparison
from perfctl.model import FleetComparison, RunComparison
from perfctl.model.quantity import duration
from perfctl.render.comparison_records import metric_fields, record_of
from perfctl.render.figures import (
    VERDICT_TONES,
    by_heading,
    figure_cells,
    figure_section,
    fleet_remarks,
    hosts_text,
    not_shown,
    shared_remarks,
    unfinished,
)
from perfctl.render.health import rate_note
from perfctl.render.left_out import left_out_record, left_out_sections
from perfctl.render.runs import utc_text
from perfctl.render.text import WIDTH
from perfctl.render.view import Column, Remarks, Section, View, columns
from perfctl.report import RunReport
from perfctl.store import RunSummary

_FIELDS = (
    *("level", "run", "benchmark", "target", "other_target", "metric", "unit", "direction", "headline"),
    *("environment", "baseline", "accelerator", "baseline_accelerator", "emulated"),
    *("verdict", "why", "first", "second", "first_ratio", "second_ratio"),
    *("ratio", "low", "high", "confidence", "p", "q", "delta", "delta_source", "mde", "needed"),
    *("raw_ratio", "raw_low", "raw_high", "first_blocks", "second_blocks", "left_out"),
    *("hosts", "reach", "i2", "lowest", "highest", "words", "note", "confounded", "to_decide"),
    *("first_run_id", "second_run_id", "suite", "started"),
)
"""`level` is 'host', 'fleet' or 'left_out'; `run` says in which run blocks are left out."""


def run_comparison_view(report: RunReport) -> View:
    """Return the view of a comparison of two runs, or of two hosts."""
    remarks = Remarks()
    items: list[RunComparison | FleetComparison] = [*report.comparisons, *report.fleets]
    first, second = report.left_out
    parts = {"": first} if report.is_one_run else {"first": first, "second": second}
    return View(
        "run_comparison",
        columns(*_FIELDS),
        _records(report),
        sections=[
            run_comparison_section(report, heading, group, remarks)
            for heading, group in by_heading(items).items()
        ],
        warnings=unfinished(*_runs(report)),
        lead=_lead(report),
        remarks=remarks.texts,
        appendix=left_out_sections(parts),
        footer=_footer(report),
        database=report.database,
        widest=WIDTH,
    )


def run_comparison_section(
    report: RunReport, heading: str, items: Sequence[RunComparison | FleetComparison], remarks: Remarks
) -> Section:
    """Return the table of one benchmark and metric, a row per item; what is to be known goes to `remarks`."""
    rows = [_row(item, remarks, report.second.suite) for item in items]
    return figure_section(heading, _columns(report), rows)


def _runs(report: RunReport) -> tuple[RunSummary, ...]:
    return (report.first,) if report.is_one_run else (report.first, report.second)


def _lead(report: RunReport) -> str:
    kind = "host" if report.is_one_run else "run"
    return (
        f"{kind} 1 and {kind} 2: the ratio to {report.baseline} there;"
        " change: the second ratio over the first, from n blocks of each."
    )


def _records(report: RunReport) -> list[dict[str, Any]]:
    records = [_record(item) for item in report.comparisons]
    records += [_fleet_record(item) for item in report.fleets]
    records += [
        left_out_record(item, _FIELDS, run=run.run_id)
        for run, items in zip((report.first, report.second), report.left_out, strict=True)
        for item in items
    ]
    runs = {
        "first_run_id": report.first.run_id,
        "second_run_id": report.second.run_id,
        "suite": report.second.suite,
        "started": utc_text(report.second.started_at),
    }
    return [record | runs for record in records]


def _record(item: RunComparison) -> dict[str, Any]:
    return record_of(
        _FIELDS,
        "host",
        item,
        item.judgement,
        **metric_fields(item),
        target=str(item.target),
        other_target=str(item.other_target),
        first_blocks=item.blocks[0],
        second_blocks=item.blocks[1],
        words=format_run_comparison(item),
    )


def _fleet_record(item: FleetComparison) -> dict[str, Any]:
    first, second = (sum(blocks) for blocks in zip(*(host.blocks for host in item.hosts), strict=True))
    return record_of(
        _FIELDS,
        "fleet",
        item,
        item.judgement,
        **metric_fields(item),
        target=hosts_text(item),
        first=item.baseline_value,
        second=item.value,
        first_blocks=first,
        second_blocks=second,
        left_out=len(item.missing),
        hosts=[str(host.target) for host in item.hosts],
        words=format_fleet(item),
    )


def _columns(report: RunReport) -> list[Column]:
    kind = "host" if report.is_one_run else "run"
    return [
        *columns("target", "environment"),
        Column("first_ratio", f"{kind} 1", align="right"),
        Column("second_ratio", f"{kind} 2", align="right"),
        Column("ratio", "change", align="right"),
        Column("interval", "95 % CI", align="right"),
        Column("verdict", tones=VERDICT_TONES),
        *columns("q", "n", align="right"),
        Column("note"),
    ]


def _row(item: RunComparison | FleetComparison, remarks: Remarks, suite: str) -> dict[str, Any]:
    if isinstance(item, FleetComparison):
        return figure_cells(item) | {"note": remarks.add(*shared_remarks(item, suite), *fleet_remarks(item))}
    own = {
        name: None if ratio is None else format_ratio(ratio, item.metric.direction)
        for name, ratio in (("first_ratio", item.first_ratio), ("second_ratio", item.second_ratio))
    }
    if item.target != item.other_target:
        own["target"] = f"{item.target}, then {item.other_target}"
    return figure_cells(item) | own | {"note": remarks.add(*shared_remarks(item, suite))}


def _footer(report: RunReport) -> list[str]:
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
    rate = rate_note(report.health)
    if rate:
        found.append(rate)
    found += not_shown(report.other_benchmarks)
    if report.other_metrics:
        found.append(f"not shown: {', '.join(report.other_metrics)} (--all-metrics shows them)")
    return found
