"""`trend`: one benchmark over all runs, a table per series."""

from __future__ import annotations

from math import exp
from typing import Any

from perfctl.compare import format_interval, format_ratio
from perfctl.model.quantity import counted, number, percent, quantity
from perfctl.render.figures import RATIO_LEAD, UNFINISHED, figure_section, heading, value_text
from perfctl.render.runs import short_id, utc_text
from perfctl.render.text import WIDTH
from perfctl.render.view import Column, Section, View, columns
from perfctl.report.trend import TrendReport, TrendSeries
from perfctl.report.trend_points import TrendPoint, sparkline

_FIELDS = (
    *("benchmark", "metric", "unit", "direction", "target", "environment", "baseline"),
    *("accelerator", "baseline_accelerator", "emulated", "run_id", "suite", "started"),
    *("ratio", "low", "high", "blocks", "value", "baseline_value"),
    *("segment", "new_segment", "change", "change_factor", "change_p", "change_block_p", "change_reason"),
    *("changed_facts", "status"),
)
_MOST_FACTS = 5


def trend_view(report: TrendReport, *, last: int) -> View:
    """Return the view of all series; people see the newest `last` runs of each."""
    return View(
        "trend",
        columns(*_FIELDS),
        [_record(report, one, index) for one in report.series for index in range(len(one.points))],
        sections=[_section(report, one, last) for one in report.series],
        lead=RATIO_LEAD if report.series else "",
        footer=_footer(report),
        database=report.database,
        widest=WIDTH,
    )


def _record(report: TrendReport, one: TrendSeries, index: int) -> dict[str, Any]:
    point = one.points[index]
    return {
        "benchmark": report.benchmark.name,
        "metric": one.metric.name,
        "unit": one.metric.unit,
        "direction": one.metric.direction,
        "target": str(one.target),
        "environment": one.environment,
        "baseline": one.baseline,
        "accelerator": one.accelerator,
        "baseline_accelerator": one.baseline_accelerator,
        "emulated": one.is_emulated,
        "run_id": point.run_id,
        "suite": point.suite,
        "started": utc_text(point.started_at),
        "ratio": exp(point.value) if one.environment is not None else None,
        "low": None if point.low is None else exp(point.low),
        "high": None if point.high is None else exp(point.high),
        "blocks": point.blocks,
        "value": point.environment_value,
        "baseline_value": point.baseline_value,
        "status": point.status,
    } | _events(one, index)


def _events(one: TrendSeries, index: int) -> dict[str, Any]:
    """Return what happened at a point: a new segment, a change."""
    broken = next((item for item in one.breaks if item.index == index), None)
    change = next((item for item in one.changes if item.index == index), None)
    return {
        "segment": 1 + sum(item.index <= index for item in one.breaks),
        "new_segment": list(broken.differences) if broken else [],
        "change": change.state if change else None,
        "change_factor": change.factor if change else None,
        "change_p": change.p if change else None,
        "change_block_p": change.block_p if change else None,
        "change_reason": change.reason if change else None,
        "changed_facts": list(change.facts) if change else [],
    }


# ---- tables for people -------------------------------------------------------------------------------------


def _section(report: TrendReport, one: TrendSeries, last: int) -> Section:
    shown = [Column("run"), Column("started"), Column("baseline_value", one.baseline, align="right")]
    if one.environment is not None:
        shown += columns("value", "ratio", align="right")
    shown += [Column("interval", "95 % CI", align="right"), Column("n", align="right"), Column("event")]
    title = heading(report.benchmark.name, one.metric, is_emulated=one.is_emulated)
    rows = [_row(one, index) for index in range(max(0, len(one.points) - last), len(one.points))]
    return figure_section(f"{title}\n{one.target}  {_environment(one)}", shown, rows)


def _row(one: TrendSeries, index: int) -> dict[str, Any]:
    point, events = one.points[index], _events(one, index)
    happened = [f"segment {events['segment']}" if events["new_segment"] else ""]
    happened.append(f"{events['change']} change" if events["change"] else "")
    happened.append(f"unfinished ({point.status})" if point.status in UNFINISHED else "")
    return _figures(one, point) | {
        "run": short_id(point.run_id),
        "started": utc_text(point.started_at),
        "baseline_value": value_text(point.baseline_value),
        "n": point.blocks,
        "event": ", ".join(filter(None, happened)),
    }


def _figures(one: TrendSeries, point: TrendPoint) -> dict[str, Any]:
    low, high = (None if end is None else exp(end) for end in (point.low, point.high))
    if one.environment is None:
        interval = "" if low is None or high is None else f"{value_text(low)} to {value_text(high)}"
        return {"interval": interval}
    ratio = exp(point.value)
    return {
        "value": value_text(point.environment_value),
        "ratio": format_ratio(ratio, one.metric.direction),
        "interval": format_interval(ratio, low, high),
    }


def _environment(one: TrendSeries) -> str:
    if one.environment is None:
        name = f"{one.baseline} (raw)"
        return f"{name} ({one.accelerator})" if one.accelerator else name
    if one.accelerator:
        return f"{one.environment} ({one.accelerator})"
    return one.environment + (f" (against {one.baseline_accelerator})" if one.baseline_accelerator else "")


# ---- footer ------------------------------------------------------------------------------------------------


def _footer(report: TrendReport) -> list[str]:
    item = report.benchmark
    call = " ".join([item.workload, *(f"{name}={value}" for name, value in item.parameters.items())])
    notes = [f"{item.name}: {call}, {counted(report.runs, 'run')}"]
    if not report.series:
        notes.append("no run has a value of it: `perfctl show RUN` says why")
    for one in report.series:
        notes += _series_notes(one)
    notes += [f"left out: {text}" for text in report.left_out]
    return notes


def _series_notes(one: TrendSeries) -> list[str]:
    name = f"{one.target} {_environment(one)}"
    notes = [f"{name}  {sparkline(one.points, [item.index for item in one.breaks])}  {_range(one)}"]
    for item in one.breaks:
        notes.append(f"{name}: new segment from run {_run(one, item.index)}: {_some(item.differences)}")
    notes += [_change_note(one, place) for place in range(len(one.changes))]
    cut = [point.run_id for point in one.points if point.status in UNFINISHED]
    if cut:
        runs = counted(len(cut), "run")
        notes.append(
            f"{name}: {runs} still going or stopped ({_some(tuple(map(short_id, cut)))}): these rest on"
            " a part of their blocks"
        )
    if not (one.lacking or one.changes or one.environment is None):
        runs = counted(len(one.points), "run")
        notes.append(
            f"{name}: no change found in {runs}; a shift of {percent(one.smallest_shift)} or less is no"
            " change"
        )
    if one.lacking and one.environment is not None:
        where = "its newest segment" if one.breaks else "it"
        runs = counted(one.lacking, "more run")
        notes.append(f"{name}: {where} needs {runs} before a change can be seen")
    if one.unknown_facts:
        runs = counted(one.unknown_facts, "run")
        notes.append(f"{name}: {runs} without a fingerprint: what changed there is not known")
    if one.without_ratio:
        runs = counted(one.without_ratio, "run")
        notes.append(f"{name}: {runs} without a ratio: no common block, or values not above 0")
    return notes


def _change_note(one: TrendSeries, place: int) -> str:
    item = one.changes[place]
    size = format_ratio(item.factor, one.metric.direction)
    why = f" ({item.reason})" if item.reason else ""
    facts = f"with it: {_some(item.facts)}" if item.facts else "no fact that was read changed with it"
    return (
        f"{one.target} {_environment(one)}: {item.state} change at run {_run(one, item.index)}: {size}"
        f" than before, p={item.p:.3g}{why}; {facts}"
    )


def _some(texts: tuple[str, ...]) -> str:
    more = len(texts) - _MOST_FACTS
    return "; ".join(texts[:_MOST_FACTS]) + (f"; and {more} more (--format json has all)" if more > 0 else "")


def _range(one: TrendSeries) -> str:
    if not one.points:
        return "no point"
    values, runs = [exp(point.value) for point in one.points], counted(len(one.points), "run")
    if one.environment is None:
        return f"{number(min(values))} to {quantity(max(values), one.metric.unit)}, {runs}"
    return f"{min(values):.3f} to {max(values):.3f} of {one.baseline}, {runs}"


def _run(one: TrendSeries, index: int) -> str:
    return one.points[index].run_id
