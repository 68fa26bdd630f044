"""`gate`: what is decided of each line, and the one-sided p values that decide it."""

from __future__ import annotations

from typing import Any

from perfctl.compare import format_interval, format_p, format_ratio
from perfctl.model.quantity import counted
from perfctl.render.figures import figure_section, heading
from perfctl.render.runs import utc_text
from perfctl.render.text import WIDTH
from perfctl.render.view import Column, Remarks, Tone, View, columns
from perfctl.report.gate import LEVEL, GateLine, GateReport, GateState

_FIELDS = (
    *("benchmark", "metric", "unit", "direction", "target", "environment", "baseline", "state", "why"),
    *("worse", "ratio", "low", "high", "p_crossed", "p_passed", "words", "confounded"),
    *("needed", "run_id", "suite", "started"),
)

_TONES: dict[str, Tone] = {
    GateState.PASSED: "good",
    GateState.CROSSED: "bad",
    GateState.UNDECIDED: "doubtful",
    GateState.MISSING: "doubtful",
}

_COLUMNS = (
    *columns("target", "environment"),
    *columns("ratio", align="right"),
    Column("interval", "95 % CI", align="right"),
    Column("worse", "worse by", align="right"),
    Column("state", "decision", tones=_TONES),
    Column("p_crossed", "p (beyond)", align="right"),
    Column("p_passed", "p (within)", align="right"),
    Column("note"),
)


def gate_view(report: GateReport, *, strict: bool = False) -> View:
    """Return the view of a gate's decisions; its last line says PASS, FAIL or NOT DECIDED."""
    remarks = Remarks()
    tables: dict[str, list[GateLine]] = {}
    for line in report.lines:
        title = heading(line.benchmark, line.metric) if line.metric else f"{line.benchmark}  all metrics"
        tables.setdefault(title, []).append(line)
    return View(
        "gate",
        columns(*_FIELDS),
        [_record(report, line) for line in report.lines],
        sections=[
            figure_section(title, _COLUMNS, [_row(line, remarks) for line in lines])
            for title, lines in tables.items()
        ],
        lead=_lead(report) if report.lines else "",
        remarks=remarks.texts,
        footer=_footer(report),
        database=report.database,
        conclusion=report.conclusion(strict=strict),
        widest=WIDTH,
    )


def _lead(report: GateReport) -> str:
    limit = f"{100 * report.max_regression:g} %"
    return (
        f"p (beyond) <= {LEVEL}: worse by more than {limit}, crossed. p (within) <= {LEVEL}: by less, passed."
    )


def _record(report: GateReport, line: GateLine) -> dict[str, Any]:
    own = {
        "metric": line.metric.name if line.metric else None,
        "unit": line.metric.unit if line.metric else None,
        "direction": line.metric.direction if line.metric else None,
        "run_id": report.run.run_id,
        "suite": report.run.suite,
        "started": utc_text(report.run.started_at),
    }
    return {name: own[name] if name in own else getattr(line, name) for name in _FIELDS}


def _row(line: GateLine, remarks: Remarks) -> dict[str, Any]:
    found: dict[str, Any] = {
        "target": line.target,
        "environment": line.environment,
        "worse": None if line.worse is None else f"{100 * line.worse:+.1f} %",
        "state": line.state,
        "p_crossed": format_p(line.p_crossed),
        "p_passed": format_p(line.p_passed),
        "note": remarks.add(line.why, f"confounded: {line.confounded}" if line.confounded else ""),
    }
    if line.ratio is not None and line.metric is not None:
        found["ratio"] = format_ratio(line.ratio, line.metric.direction)
        found["interval"] = format_interval(line.ratio, line.low, line.high)
    return found


def _footer(report: GateReport) -> list[str]:
    against = "its own baseline"
    if report.baseline_run is not None:
        against = f"the ratios of run {report.baseline_run.run_id}"
    limit = f"{100 * report.max_regression:g} %"
    notes = [
        f"run {report.run.run_id} ({report.run.status}) against {against}: at most {limit} worse",
        ", ".join(f"{len(report.of(state))} {state}" for state in GateState)
        + f"; Holm-adjusted over {counted(report.tests, 'test')}",
    ]
    notes += [
        f"in quarantine: {item.target}, {item.failed} of {item.tests} A/A tests have p <= 0.05;"
        f" at most {item.way_out} more without a failure end it"
        for item in report.quarantined
    ]
    return notes
