"""A comparison report as tables: short for people, every field for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from perfctl.output import Column, Table

if TYPE_CHECKING:
    from perfctl.model import Comparison, FleetComparison, Judgement, SuiteComparison
    from perfctl.report import ComparisonReport

_FIELDS = (
    *("level", "benchmark", "target", "host", "peer", "metric", "unit", "direction", "headline"),
    *("environment", "baseline", "is_aa", "accelerator", "baseline_accelerator", "emulated"),
    *("verdict", "why", "baseline_value", "value", "ratio", "low", "high", "confidence", "p", "q"),
    *("delta", "delta_source", "mde", "needed"),
    *("difference", "difference_low", "difference_high"),
    *("blocks", "left_out", "reasons", "hosts", "reach", "i2", "lowest", "highest"),
    *("flagged", "verdict_without_flagged", "artefact", "words", "note", "confounded"),
)
"""`level` says what a row is about: 'host', 'fleet' or 'suite'; what a level has not is null."""


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
        rows = [_host(item) for item in report.comparisons]
        rows += [_fleet(item) for item in report.fleets]
        rows += [_suite(item) for item in report.suites]
        columns = [Column(name) for name in _FIELDS]
    return Table("comparison", columns, rows, notes(report))


def left_out_table(report: ComparisonReport) -> Table:
    """Return what no figure rests on, and why."""
    columns = [Column(name) for name in ("benchmark", "target", "environment", "metric", "reason")]
    rows = [
        {
            "benchmark": item.benchmark,
            "target": str(item.target or ""),
            "environment": item.environment,
            "metric": item.metric,
            "reason": item.reason,
            "blocks": item.blocks,
        }
        for item in report.left_out
    ]
    return Table("left_out", [*columns, Column("blocks", align="right")], rows)


# ---- for machines ------------------------------------------------------------------------------------------


def _row(level: str, item: Any, judgement: Judgement | None, **values: Any) -> dict[str, Any]:
    """Return every field: of `values`, else of the judgement, else of the item, else null."""
    found: dict[str, Any] = {"level": level}
    for name in _FIELDS[1:]:
        if name in values:
            found[name] = values[name]
        elif judgement is not None and hasattr(judgement, name):
            found[name] = getattr(judgement, name)
        else:
            found[name] = getattr(item, name, None)
    return found


def _metric(item: Comparison | FleetComparison) -> dict[str, Any]:
    metric = item.metric
    return {
        "metric": metric.name,
        "unit": metric.unit,
        "direction": metric.direction,
        "headline": metric.headline,
        "emulated": item.is_emulated,
    }


def _host(item: Comparison) -> dict[str, Any]:
    from perfctl.compare import words

    other = item.without_flagged
    return _row(
        "host",
        item,
        item.judgement,
        **_metric(item),
        target=str(item.target),
        host=item.target.host,
        peer=item.target.peer,
        hosts=None,
        reasons=dict(item.reasons),
        flagged=list(item.flagged),
        verdict_without_flagged=other.judgement.verdict if other else None,
        words=words(item),
    )


def _fleet(item: FleetComparison) -> dict[str, Any]:
    from perfctl.compare import fleet_words

    return _row(
        "fleet",
        item,
        item.judgement,
        **_metric(item),
        target=_together(item),
        is_aa=False,
        blocks=sum(host.blocks for host in item.hosts),
        left_out=len(item.missing),
        reasons={str(target): "no ratio" for target in item.missing},
        hosts=[str(host.target) for host in item.hosts],
        words=fleet_words(item),
    )


def _suite(item: SuiteComparison) -> dict[str, Any]:
    from perfctl.compare import suite_words

    return _row(
        "suite",
        item,
        item.judgement,
        benchmark=", ".join(item.benchmarks),
        target=_count(len(item.targets), item.scope),
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
        "environment": _environment_for_people(item),
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
        "target": _together(item),
        "metric": item.metric.name,
        "environment": _environment_for_people(item),
        "baseline_value": item.baseline_value,
        "value": item.value,
        "unit": item.metric.unit,
        "words": fleet_words(item),
        "note": "; ".join(filter(None, notes)),
    }


def _suite_for_people(item: SuiteComparison) -> dict[str, Any]:
    from perfctl.compare import suite_words

    return {
        "benchmark": _count(len(item.benchmarks), "benchmark"),
        "target": _count(len(item.targets), item.scope),
        "metric": "geometric mean",
        "environment": _environment_for_people(item),
        "baseline_value": None,
        "value": None,
        "unit": "",
        "words": suite_words(item),
        "note": item.judgement.why if item.ratio is not None else "",
    }


def _environment_for_people(item: Comparison | FleetComparison | SuiteComparison) -> str:
    """Return the environment with its accelerator, so that two lines of one environment can be told apart."""
    parts = [item.environment]
    if item.accelerator:
        parts.append(f"({item.accelerator})")
    elif item.baseline_accelerator:
        parts.append(f"(against {item.baseline_accelerator})")
    if getattr(item, "is_aa", False):
        parts.append("A2 (A/A)")
    return " ".join(parts)


def _together(item: FleetComparison) -> str:
    return _count(len(item.hosts), "pair" if item.hosts[0].target.peer else "host")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


# ---- notes -------------------------------------------------------------------------------------------------


def notes(report: ComparisonReport) -> list[str]:
    """Return what a reader must know beside the lines."""
    run = report.run
    going = "; it is still going, and the figures may change" if run.status == "running" else ""
    found = [
        f"run {run.run_id}: suite {run.suite}, {run.status}, hosts {', '.join(run.hosts)},"
        f" {report.blocks} of {report.planned_blocks} blocks have values{going}",
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
            f"flagged: {sum(len(item.flagged) for item in flagged)} blocks in {_count(len(flagged), 'line')}"
            f" are far off or were disturbed; all are in the figures, {turned or 'no'}"
            f" verdict{'' if turned == 1 else 's'} would change without them (--sensitivity shows all)"
        )
    return found


def _instrument(report: ComparisonReport) -> list[str]:
    """Return the A/A result of this run, and the rate over the database up to it."""
    found = []
    if report.aa_tests:
        below = sum(item.p is not None and item.p <= 0.05 for item in report.aa_tests)
        found.append(
            f"A/A: {below} of {len(report.aa_tests)} comparisons of the baseline with itself have p <= 0.05"
            " (1 in 20 is expected by chance)"
        )
    health = report.health
    if health.interval.estimate is not None:
        low, high = health.interval.low or 0.0, health.interval.high or 0.0
        found.append(
            f"A/A over the database: {health.failed} of {_count(health.tests, 'test')} in"
            f" {_count(health.runs, 'run')} ({100 * health.interval.estimate:.1f}%,"
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
    ok = f"{report.run.ok} of {tried} invocations ok"
    other: Sequence[str] = [f"{item.invocations} {item.status} ({item.reason})" for item in report.failed]
    if other:
        return f"{ok}, left out: {', '.join(other)}"
    return ok if report.left_out else f"{ok}, left out: nothing"
