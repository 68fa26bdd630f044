"""A comparison report as tables: short for people, every field for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from perfctl.cli.outlier_table import outliers_of
from perfctl.output import Column, Table, counted

if TYPE_CHECKING:
    from perfctl.model import Comparison, FleetComparison, Judgement, RunComparison, SuiteComparison
    from perfctl.report import ComparisonReport, LeftOut, Outlier

_FIELDS = (
    *("level", "benchmark", "target", "host", "peer", "metric", "unit", "direction", "headline"),
    *("environment", "baseline", "is_aa", "accelerator", "baseline_accelerator", "emulated"),
    *("verdict", "why", "baseline_value", "value", "ratio", "low", "high", "confidence", "p", "q"),
    *("delta", "delta_source", "mde", "needed"),
    *("difference", "difference_low", "difference_high"),
    *("blocks", "left_out", "reasons", "hosts", "reach", "i2", "lowest", "highest"),
    *("flagged", "outliers", "verdict_without_flagged", "artefact", "words", "note", "confounded"),
)
"""`level` says what a row is about: 'host', 'fleet', 'suite' or 'left_out'; what a level has not is null."""


def comparison_table(report: ComparisonReport, *, for_people: bool, sensitivity: bool = False) -> Table:
    """Return the report's lines: those of hosts, then those of fleets and of the suite."""
    if for_people:
        rows = [_host_for_people(item, sensitivity=sensitivity) for item in report.comparisons]
        rows += [_fleet_for_people(item) for item in report.fleets]
        rows += [_suite_for_people(item) for item in report.suites]
        columns = _columns_for_people(report)
        if any(row["note"] for row in rows):
            columns.append(Column("note"))
    else:
        rows = [_host(item, report.outliers) for item in report.comparisons]
        rows += [_fleet(item) for item in report.fleets]
        rows += [_suite(item) for item in report.suites]
        rows += [left_out_row(item, _FIELDS) for item in report.left_out]
        columns = [Column(name) for name in _FIELDS]
    return Table("comparison", columns, rows, notes(report))


def left_out_table(parts: Mapping[str, Sequence[LeftOut]]) -> Table:
    """Return what no figure rests on, and why, per run; of one run its name is ''."""
    names = ("benchmark", "target", "environment", "metric", "reason", "blocks")
    columns = [Column(name, align="right" if name == "blocks" else "left") for name in names]
    rows = [
        {"run": run} | {name: getattr(item, name) for name in names} | _place(item)
        for run, items in parts.items()
        for item in items
    ]
    return Table("left_out", [Column("run"), *columns] if any(parts) else columns, rows)


def left_out_row(item: LeftOut, fields: Sequence[str], *, run: str | None = None) -> dict[str, Any]:
    """Return the same as a row with these fields; what it has not is null. `run` tells two runs apart."""
    place = _place(item)
    values = place | {
        "level": "left_out",
        "run": run,
        "host": item.target.host if item.target else None,
        "peer": item.target.peer if item.target else None,
        "left_out": place["blocks"],
        "blocks": None,
        "note": item.reason,
    }
    return {name: values.get(name) for name in fields}


def _place(item: LeftOut) -> dict[str, Any]:
    """Return what is left out, null where it is all of them; no block is null as well, never 0."""
    return {
        "benchmark": item.benchmark or None,
        "target": str(item.target) if item.target else None,
        "environment": item.environment or None,
        "metric": item.metric or None,
        "blocks": item.blocks or None,
    }


# ---- for machines ------------------------------------------------------------------------------------------


def row_of(
    fields: Sequence[str], level: str, item: Any, judgement: Judgement | None, **values: Any
) -> dict[str, Any]:
    """Return every field: of `values`, else of the judgement, else of the item, else null."""
    found: dict[str, Any] = {"level": level}
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
    """Return the fields of a row that come from the metric."""
    metric = item.metric
    return {
        "metric": metric.name,
        "unit": metric.unit,
        "direction": metric.direction,
        "headline": metric.headline,
        "emulated": item.is_emulated,
    }


def _host(item: Comparison, outliers: Sequence[Outlier]) -> dict[str, Any]:
    from perfctl.compare import words

    other = item.without_flagged
    return row_of(
        _FIELDS,
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
        outliers=outliers_of(item, outliers),
        verdict_without_flagged=other.judgement.verdict if other else None,
        words=words(item),
    )


def _fleet(item: FleetComparison) -> dict[str, Any]:
    from perfctl.compare import fleet_words

    return row_of(
        _FIELDS,
        "fleet",
        item,
        item.judgement,
        **metric_fields(item),
        target=together(item),
        is_aa=False,
        blocks=sum(sum(host.blocks) for host in item.hosts),
        left_out=len(item.missing),
        reasons={str(target): "no ratio" for target in item.missing},
        hosts=[str(host.target) for host in item.hosts],
        words=fleet_words(item),
    )


def _suite(item: SuiteComparison) -> dict[str, Any]:
    from perfctl.compare import suite_words

    return row_of(
        _FIELDS,
        "suite",
        item,
        item.judgement,
        benchmark=", ".join(item.benchmarks),
        target=counted(len(item.targets), item.scope),
        metric="geometric mean",
        is_aa=False,
        emulated=item.is_emulated,
        hosts=[str(target) for target in item.targets],
        words=suite_words(item),
    )


# ---- for people --------------------------------------------------------------------------------------------


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


def _host_for_people(item: Comparison, *, sensitivity: bool) -> dict[str, Any]:
    from perfctl.compare import sensitivity as sensitivity_words
    from perfctl.compare import verdict_depends_on_flagged, words

    notes = [item.note if item.ratio is not None else ""]
    why = item.judgement.why if item.judgement else ""
    notes.append(why if why not in item.note else "")
    notes.append(f"{item.left_out} left out" if item.left_out else "")
    notes.append("confounded" if item.confounded else "")
    notes.append(f"likely artefact: {item.artefact}" if item.artefact else "")
    shown = sensitivity or verdict_depends_on_flagged(item)
    notes.append(sensitivity_words(item) if shown else "")
    return {
        "benchmark": item.benchmark,
        "target": str(item.target),
        "metric": item.metric.name,
        "environment": environment_for_people(item),
        "baseline_value": item.baseline_value,
        "value": item.value,
        "unit": item.metric.unit,
        "words": words(item),
        "note": "; ".join(filter(None, notes)),
    }


def _fleet_for_people(item: FleetComparison) -> dict[str, Any]:
    from perfctl.compare import fleet_words

    missing = [str(target) for target in item.missing]
    notes = [item.note, item.judgement.why if item.judgement.why not in item.note else ""]
    notes.append(f"without {', '.join(missing)}" if missing else "")
    notes.append("confounded" if item.confounded else "")
    notes.append(f"likely artefact: {item.artefact}" if item.artefact else "")
    return {
        "benchmark": item.benchmark,
        "target": together(item),
        "metric": item.metric.name,
        "environment": environment_for_people(item),
        "baseline_value": item.baseline_value,
        "value": item.value,
        "unit": item.metric.unit,
        "words": fleet_words(item),
        "note": "; ".join(filter(None, notes)),
    }


def _suite_for_people(item: SuiteComparison) -> dict[str, Any]:
    from perfctl.compare import suite_words

    return {
        "benchmark": counted(len(item.benchmarks), "benchmark"),
        "target": counted(len(item.targets), item.scope),
        "metric": "geometric mean",
        "environment": environment_for_people(item),
        "baseline_value": None,
        "value": None,
        "unit": "",
        "words": suite_words(item),
        "note": item.judgement.why if item.ratio is not None else "",
    }


def environment_for_people(item: Comparison | FleetComparison | SuiteComparison | RunComparison) -> str:
    """Return the environment with its accelerator, so that two lines of one environment can be told apart."""
    parts = [item.environment]
    if item.accelerator:
        parts.append(f"({item.accelerator})")
    elif item.baseline_accelerator:
        parts.append(f"(against {item.baseline_accelerator})")
    if getattr(item, "is_aa", False):
        parts.append("A2 (A/A)")
    return " ".join(parts)


def together(item: FleetComparison) -> str:
    """Return e.g. '5 hosts'."""
    return counted(len(item.hosts), "pair" if item.hosts[0].target.peer else "host")


# ---- notes -------------------------------------------------------------------------------------------------


def notes(report: ComparisonReport) -> list[str]:
    """Return what a reader must know beside the lines."""
    run = report.run
    going = "; it is still going, and the figures may change" if run.status == "running" else ""
    found = [
        f"run {run.run_id}: suite {run.suite}, {run.status}, hosts {', '.join(run.hosts)},"
        f" {report.blocks} of {counted(report.planned_blocks, 'block')}"
        f" {'has' if report.planned_blocks == 1 else 'have'} values{_growth(report)}{going}",
        _ended(report),
    ]
    if not report.comparisons:
        found.append(
            f"nothing to compare: `perfctl show {run.run_id}` says why, `perfctl resume` tries again"
        )
    found += [*_verdicts(report), *_instrument(report)]
    if report.emulated:
        found.append(
            f"emulated: {', '.join(report.emulated)} ran under tcg, which imitates a processor in software:"
            " such figures show what works there, not what a virtual machine costs"
        )
    found += [f"confounded: {text}" for text in report.confounded]
    if report.other_metrics:
        found.append(f"not shown: {', '.join(report.other_metrics)} (--all-metrics shows them)")
    found.append(f"database {report.database}")
    return found


def _growth(report: ComparisonReport) -> str:
    first = report.first_planned_blocks
    if first is None or first >= report.planned_blocks:
        return ""
    return f" ({first} were planned at first, second stages added {report.planned_blocks - first})"


def _verdicts(report: ComparisonReport) -> list[str]:
    """Return which thresholds were used, and how many verdicts rest on flagged blocks."""
    from perfctl.compare import verdict_depends_on_flagged

    found = []
    judged = [item for item in report.comparisons if item.judgement is not None]
    limits = sorted(
        {
            (item.judgement.delta, item.judgement.delta_source)
            for item in judged
            if item.judgement is not None and item.judgement.delta is not None
        }
    )
    if limits:
        words = ", ".join(f"{100 * delta:.3g}% ({source})" for delta, source in limits[:4])
        more = f" and {len(limits) - 4} more" if len(limits) > 4 else ""
        found.append(f"practical threshold: ±{words}{more}; q: Benjamini-Hochberg over the report")
    flagged = [item for item in judged if item.flagged]
    if flagged:
        turned = sum(map(verdict_depends_on_flagged, flagged))
        found.append(
            f"flagged: {counted(sum(len(item.flagged) for item in flagged), 'block')} in"
            f" {counted(len(flagged), 'line')}: far off or disturbed; all are in the figures,"
            f" {counted(turned, 'verdict') if turned else 'no verdict'} would change without them"
            " (--sensitivity shows all)"
        )
    return found


def _instrument(report: ComparisonReport) -> list[str]:
    """Return the A/A result of this run, and the rate over the database up to it."""
    found = []
    if report.aa_tests:
        below = sum(item.p is not None and item.p <= 0.05 for item in report.aa_tests)
        found.append(
            f"A/A: {below} of {counted(len(report.aa_tests), 'comparison')} of the baseline with itself"
            f" {'has' if len(report.aa_tests) == 1 else 'have'} p <= 0.05"
            " (1 in 20 is expected by chance)"
        )
    health = report.health
    if health.interval.estimate is not None:
        low, high = health.interval.low or 0.0, health.interval.high or 0.0
        found.append(
            f"A/A over the database: {health.failed} of {counted(health.tests, 'test')} in"
            f" {counted(health.runs, 'run')} ({100 * health.interval.estimate:.1f}%,"
            f" 95% interval {100 * low:.1f}-{100 * high:.1f}%)"
        )
    else:
        found.append("A/A over the database: no test of 6 blocks or more yet")
    quarantined = [str(item.target) for item in health.quarantined]
    if quarantined:
        found.append(f"quarantined (their A/A tests fail too often): {', '.join(quarantined)}")
    return found


def _ended(report: ComparisonReport) -> str:
    # Blocks that failed are run once more, so more may have been tried than the plan had.
    tried = max(report.run.planned, sum(item.invocations for item in report.counts))
    ok = f"{report.run.ok} of {counted(tried, 'invocation')} ok"
    other: Sequence[str] = [f"{item.invocations} {item.status} ({item.reason})" for item in report.failed]
    if other:
        return f"{ok}, left out: {', '.join(other)}"
    return ok if report.left_out else f"{ok}, left out: nothing"
