"""Comparisons as records for machines: every field, null where a level has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perfctl.compare import format_comparison, format_fleet, format_suite
from perfctl.model import Comparison, FleetComparison, Judgement, RunComparison, SuiteComparison
from perfctl.model.quantity import counted
from perfctl.render.figures import hosts_text
from perfctl.render.left_out import left_out_record
from perfctl.render.outliers import outlier_records
from perfctl.render.runs import utc_text
from perfctl.report import ComparisonReport, Outlier
from perfctl.report.sweep import Sweep

FIELDS = (
    *("level", "benchmark", "target", "host", "peer", "metric", "unit", "direction", "headline"),
    *("environment", "baseline", "is_aa", "accelerator", "baseline_accelerator", "emulated"),
    *("verdict", "why", "baseline_value", "value", "ratio", "low", "high", "confidence", "p", "q"),
    *("delta", "delta_source", "mde", "needed"),
    *("difference", "difference_low", "difference_high"),
    *("blocks", "left_out", "reasons", "hosts", "reach", "i2", "lowest", "highest"),
    *("flagged", "outliers", "verdict_without_flagged", "artefact", "words", "note", "confounded"),
    *("to_decide", "run_id", "suite", "started"),
)
"""`level` says what a record is about: 'host', 'fleet', 'suite' or 'left_out'."""


def comparison_records(report: ComparisonReport, sweep: Sweep | None = None) -> list[dict[str, Any]]:
    """Return the comparisons of hosts, of fleets and of the suite, then what was left out.

    With a sweep those of its benchmarks, each with the parameter's value.
    """
    records = [_host(item, report.outliers) for item in report.comparisons]
    records += [_fleet(item) for item in report.fleets]
    records += [_suite(item) for item in report.suites]
    records += [left_out_record(item, FIELDS) for item in report.left_out]
    run = {
        "run_id": report.run.run_id,
        "suite": report.run.suite,
        "started": utc_text(report.run.started_at),
    }
    if sweep is None:
        return [record | run for record in records]
    return [
        record | run | {"parameter": sweep.parameter, "parameter_value": sweep.values[record["benchmark"]]}
        for record in records
        if record.get("benchmark") in sweep.values
    ]


def record_of(
    fields: Sequence[str], level: str, item: Any, judgement: Judgement | None, **values: Any
) -> dict[str, Any]:
    """Return every field: of `values`, else of the judgement, else of the item, else null."""
    found: dict[str, Any] = {"level": level}
    if judgement is not None:
        values |= {"delta": judgement.equivalence_margin, "delta_source": judgement.margin_source}
    for name in fields:
        if name in found:
            continue
        if name in values:
            found[name] = values[name]
        elif judgement is not None and hasattr(judgement, name):
            found[name] = getattr(judgement, name)
        else:
            found[name] = getattr(item, name, None)
    return found


def metric_fields(item: Comparison | FleetComparison | RunComparison) -> dict[str, Any]:
    """Return the fields of a record that come from the metric."""
    metric = item.metric
    return {
        "metric": metric.name,
        "unit": metric.unit,
        "direction": metric.direction,
        "headline": metric.headline,
        "emulated": item.is_emulated,
    }


def _host(item: Comparison, outliers: Sequence[Outlier]) -> dict[str, Any]:
    other = item.without_flagged
    return record_of(
        FIELDS,
        "host",
        item,
        item.judgement,
        **metric_fields(item),
        target=str(item.target),
        host=item.target.host,
        peer=item.target.peer,
        hosts=None,
        reasons=dict(item.reasons),
        flagged=list(item.flagged),
        outliers=outlier_records(item, outliers),
        verdict_without_flagged=other.judgement.verdict if other else None,
        words=format_comparison(item),
    )


def _fleet(item: FleetComparison) -> dict[str, Any]:
    return record_of(
        FIELDS,
        "fleet",
        item,
        item.judgement,
        **metric_fields(item),
        target=hosts_text(item),
        is_aa=False,
        blocks=sum(sum(host.blocks) for host in item.hosts),
        left_out=len(item.missing),
        reasons={str(target): "no ratio" for target in item.missing},
        hosts=[str(host.target) for host in item.hosts],
        words=format_fleet(item),
    )


def _suite(item: SuiteComparison) -> dict[str, Any]:
    return record_of(
        FIELDS,
        "suite",
        item,
        item.judgement,
        benchmark=", ".join(item.benchmarks),
        target=counted(len(item.targets), item.scope),
        metric="geometric mean",
        is_aa=False,
        emulated=item.is_emulated,
        hosts=[str(target) for target in item.targets],
        words=format_suite(item),
    )
