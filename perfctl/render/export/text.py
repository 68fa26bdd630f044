"""Samples and comparisons as CSV, JSON, a JSON object per line, and Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from perfctl.redaction import redact
from perfctl.render import csv as csv_format
from perfctl.render import json as json_format
from perfctl.render import markdown
from perfctl.render.comparison import comparison_view
from perfctl.render.runs import utc_text
from perfctl.render.view import Column, Screen, Section, View, columns, plain
from perfctl.report import ComparisonReport
from perfctl.report.export import SampleReport
from perfctl.store import MeasuredInvocation, SampleSeries

_RUN = ("run_id", "suite")
_INVOCATION = (
    *("benchmark", "workload", "target", "host", "peer", "environment", "replicate", "block", "attempt"),
    *("counts", "position", "accelerator", "status", "reason", "validity", "started", "duration_s"),
    "invocation_id",
)
_METRIC = ("metric", "unit", "direction", "headline")
CSV_FIELDS = (*_RUN, *_INVOCATION, *_METRIC, "index", "is_warmup", "value")
RECORD_FIELDS = (*_RUN, *_INVOCATION, *_METRIC, "indexes", "warmups", "values")

_FILE = Screen()


def samples_csv(report: SampleReport) -> str:
    """Return a line per sample; an invocation without any has one line with an empty metric and value.

    No cell is a formula to a spreadsheet, as in every CSV of perfctl.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_FIELDS)
    for shared, series in invocation_rows(report):
        # What the rows of one series share is made safe once: a million samples take seconds, not minutes.
        head = [csv_format.cell(value) for value in shared]
        if series is None:
            writer.writerow([*head, "", "", ""])
            continue
        for index, is_warmup, value in zip(series.indexes, series.is_warmup, series.values, strict=True):
            writer.writerow([*head, index, "true" if is_warmup else "false", value])
    return buffer.getvalue()


def samples_json(report: SampleReport) -> str:
    """Return one JSON object: a record per invocation and metric, with all its values."""
    return json_format.render(View("samples", columns(*RECORD_FIELDS), list(_records(report))), _FILE)


def samples_jsonl(report: SampleReport) -> str:
    """Return the same records, each a line of its own."""
    return "".join(json.dumps(plain(record), allow_nan=False) + "\n" for record in _records(report))


def samples_markdown(report: SampleReport) -> str:
    """Return a table with one value per invocation and metric: the median of what is no warm-up."""
    names = ("benchmark", "target", "environment", "replicate", "block", "status", "metric", "unit")
    shown = [*columns(*names), Column("value", align="right"), Column("samples", align="right")]
    rows = []
    for item, series in _series(report):
        values = dict(zip((*_INVOCATION, *_METRIC), (*_invocation(item), *_metric(series)), strict=True))
        counted = sorted(series.counted) if series else []
        half = len(counted) // 2
        middle = (counted[half] + counted[~half]) / 2 if counted else None
        rows.append([*(values[name] for name in names), middle, len(series.values) if series else None])
    summary = report.detail.summary
    section = Section(shown, rows, f"run {summary.run_id}: suite {summary.suite}")
    return markdown.render(View("samples", shown, [], sections=[section]), _FILE)


def comparisons_csv(report: ComparisonReport) -> str:
    """Return the comparisons as `perfctl compare --format csv` prints them."""
    return csv_format.render(comparison_view(report), _FILE)


def comparisons_json(report: ComparisonReport) -> str:
    """Return the comparisons as `perfctl compare --format json` prints them."""
    return json_format.render(comparison_view(report), _FILE)


def comparisons_jsonl(report: ComparisonReport) -> str:
    """Return the records of `perfctl compare --format json`, each a line of its own."""
    records = comparison_view(report).records
    return "".join(json.dumps(plain(record), allow_nan=False) + "\n" for record in records)


def comparisons_markdown(report: ComparisonReport) -> str:
    """Return the comparisons as `perfctl compare --format md` prints them."""
    return markdown.render(comparison_view(report), _FILE)


def _series(report: SampleReport) -> Iterator[tuple[MeasuredInvocation, SampleSeries | None]]:
    for item in report.invocations:
        if item.series:
            yield from ((item, series) for series in item.series)
        else:
            yield item, None


def _records(report: SampleReport) -> Iterator[dict[str, Any]]:
    for item, series in _series(report):
        samples = (series.indexes, series.is_warmup, series.values) if series else (None, None, None)
        values = (*_run(report), *_invocation(item), *_metric(series), *samples)
        yield dict(zip(RECORD_FIELDS, values, strict=True))


def invocation_rows(report: SampleReport) -> Iterator[tuple[tuple[Any, ...], SampleSeries | None]]:
    """Yield what all samples of an invocation's metric share, as in `CSV_FIELDS`, and those samples."""
    for item, series in _series(report):
        yield (*_run(report), *_invocation(item), *_metric(series)), series


def _run(report: SampleReport) -> tuple[Any, ...]:
    summary = report.detail.summary
    return (summary.run_id, summary.suite)


def _invocation(item: MeasuredInvocation) -> tuple[Any, ...]:
    own: dict[str, Any] = {
        "target": str(item.target),
        "host": item.target.host,
        "peer": item.target.peer,
        "started": utc_text(item.started_at),
        "status": str(item.status),
        "reason": None if item.reason is None else str(item.reason),
    }
    return tuple(own[name] if name in own else getattr(item, name) for name in _INVOCATION)


def _metric(series: SampleSeries | None) -> tuple[Any, ...]:
    if series is None:
        return (None,) * len(_METRIC)
    metric = series.metric
    return (redact(metric.name), metric.unit, str(metric.direction), metric.headline)
