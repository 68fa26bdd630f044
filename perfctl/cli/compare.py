"""`perfctl compare`: what each environment costs against the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from perfctl.output import Column, Format, Table, emit, format_option

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings
    from perfctl.model import Comparison
    from perfctl.report import ComparisonReport


@click.command()
@click.argument("run")
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME|all", help="Only this metric; repeat for more."
)
@click.option("--all-metrics", is_flag=True, help="Every metric, not only the headlines; as --metric all.")
@click.option(
    "--baseline", metavar="NAME", help="Another environment to compare with.  [default: the suite's]"
)
@format_option
@click.pass_obj
def compare(
    settings: Settings,
    run: str,
    metrics: tuple[str, ...],
    all_metrics: bool,
    baseline: str | None,
    fmt: Format,
) -> None:
    """What each environment costs against the baseline, from the paired blocks of RUN.

    RUN is a run's id, its unique beginning or end, or 'latest'. A line has both values (medians over blocks),
    the ratio in words with its exact interval and p, and the blocks it rests on; the A/A lines compare the
    baseline with itself. docs/comparison.md says how to read them.
    """
    from perfctl.report import comparison_report
    from perfctl.store import open_store

    wanted = (*metrics, "all") if all_metrics else metrics
    with open_store(settings.database_url, read_only=True) as store:
        report = comparison_report(store, run, baseline=baseline, metrics=wanted)
    emit(comparison_table(report, for_people=fmt in ("table", "md")), fmt)


def comparison_table(report: ComparisonReport, *, for_people: bool) -> Table:
    """Return the report as a table: short for people, every field for machines."""
    if for_people:
        rows = [_row_for_people(item) for item in report.comparisons]
        columns = _columns_for_people(report)
        if any(row["note"] for row in rows):
            columns.append(Column("note"))
    else:
        rows = [_row(item) for item in report.comparisons]
        columns = [Column(name) for name in _FIELDS]
    return Table("comparison", columns, rows, _notes(report))


_FIELDS = (
    *("benchmark", "target", "host", "peer", "metric", "unit", "direction", "headline"),
    *("environment", "baseline", "is_aa", "accelerator", "baseline_accelerator", "emulated"),
    *("baseline_value", "value", "ratio", "low", "high", "confidence", "p"),
    *("difference", "difference_low", "difference_high"),
    *("blocks", "left_out", "words", "note", "confounded"),
)


def _row(item: Comparison) -> dict[str, Any]:
    from perfctl.compare import words

    values = {
        "target": str(item.target),
        "host": item.target.host,
        "peer": item.target.peer,
        "metric": item.metric.name,
        "unit": item.metric.unit,
        "direction": item.metric.direction,
        "headline": item.metric.headline,
        "emulated": item.is_emulated,
        "words": words(item),
    }
    return {name: values[name] if name in values else getattr(item, name) for name in _FIELDS}


def _columns_for_people(report: ComparisonReport) -> list[Column]:
    return [
        Column("benchmark"),
        Column("target"),
        Column("metric"),
        Column("environment"),
        Column("baseline_value", report.baseline, align="right"),
        Column("value", "value", align="right"),
        Column("unit"),
        Column("words", f"against {report.baseline}"),
    ]


def _row_for_people(item: Comparison) -> dict[str, Any]:
    from perfctl.compare import words

    notes = [item.note if item.ratio is not None else ""]
    notes.append(f"{item.left_out} left out" if item.left_out else "")
    notes.append("confounded" if item.confounded else "")
    return {
        "benchmark": item.benchmark,
        "target": str(item.target),
        "metric": item.metric.name,
        "environment": _environment_for_people(item),
        "baseline_value": item.baseline_value,
        "value": item.value,
        "unit": item.metric.unit,
        "words": words(item),
        "note": "; ".join(filter(None, notes)),
    }


def _environment_for_people(item: Comparison) -> str:
    """Return the environment with its accelerator, so that two lines of one environment can be told apart."""
    parts = [item.environment]
    if item.accelerator:
        parts.append(f"({item.accelerator})")
    elif item.baseline_accelerator:
        parts.append(f"(against {item.baseline_accelerator})")
    if item.is_aa:
        parts.append("A2 (A/A)")
    return " ".join(parts)


def _notes(report: ComparisonReport) -> list[str]:
    run = report.run
    going = "; it is still going, and the figures may change" if run.status == "running" else ""
    notes = [
        f"run {run.run_id}: suite {run.suite}, {run.status}, hosts {', '.join(run.hosts)},"
        f" {report.blocks} of {report.planned_blocks} blocks have values{going}",
        _ended(report),
    ]
    if not report.comparisons:
        notes.append(
            f"nothing to compare: `perfctl show {run.run_id}` says why, `perfctl resume` tries again"
        )
    if report.aa_tests:
        below = sum(item.p is not None and item.p <= 0.05 for item in report.aa_tests)
        notes.append(
            f"A/A: {below} of {len(report.aa_tests)} comparisons of the baseline with itself have p <= 0.05"
            " (1 in 20 is expected by chance)"
        )
    if report.emulated:
        notes.append(
            f"emulated: {', '.join(report.emulated)} ran under tcg, which imitates a processor in software:"
            " such figures show what works there, not what a virtual machine costs"
        )
    notes += [f"confounded: {text}" for text in report.confounded]
    if report.other_metrics:
        notes.append(f"not shown: {', '.join(report.other_metrics)} (--all-metrics shows them)")
    notes.append(f"database {report.database}")
    return notes


def _ended(report: ComparisonReport) -> str:
    ok = f"{report.run.ok} of {report.run.planned} invocations ok"
    other = [f"{item.invocations} {item.status} ({item.reason})" for item in report.failed]
    return ok + (f", left out: {', '.join(other)}" if other else "")
