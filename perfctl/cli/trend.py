"""`perfctl trend`: one benchmark over all runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from perfctl.cli.command import Command
from perfctl.output import Column, Format, Table, counted, emit, format_option

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings
    from perfctl.report.trend import TrendReport, TrendSeries
    from perfctl.report.trend_points import TrendPoint


@click.command(cls=Command)
@click.argument("benchmark")
@click.option("--metric", metavar="NAME", help="Another metric.  [default: the headline]")
@click.option("--environment", "environments", multiple=True, metavar="NAME", help="Only this; repeatable.")
@click.option("--host", "hosts", multiple=True, metavar="NAME", help="Only this and its pairs; repeatable.")
@click.option(
    "--last",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="Show people the newest N runs of a series; JSON and CSV have all, changes are looked for in all.",
)
@format_option
@click.pass_obj
def trend(
    settings: Settings,
    benchmark: str,
    metric: str | None,
    environments: tuple[str, ...],
    hosts: tuple[str, ...],
    last: int,
    fmt: Format,
) -> None:
    """One BENCHMARK over all runs: where its cost changed, how sure that is, and what changed with it.

    A point is a run: the ratio of an environment to the baseline of the same run; the raw baseline is shown
    too and never counts as an alarm. A changed fingerprint begins a new segment. docs/trends.md has the
    rules.
    """
    from perfctl.report.trend import trend_report
    from perfctl.store import open_store

    with open_store(settings.database_url, read_only=True) as store:
        report = trend_report(store, benchmark, metric=metric, environments=environments, hosts=hosts)
    emit(_table_for_people(report, last) if fmt in ("table", "md") else _table_for_machines(report), fmt)


_FIELDS = (
    *("benchmark", "metric", "unit", "direction", "target", "environment", "baseline"),
    *("accelerator", "baseline_accelerator", "emulated", "run_id", "suite", "started"),
    *("ratio", "low", "high", "blocks", "value", "baseline_value"),
    *("segment", "new_segment", "change", "change_factor", "change_p", "change_block_p", "change_reason"),
    "changed_facts",
)


def _table_for_machines(report: TrendReport) -> Table:
    from math import exp

    rows = []
    for one in report.series:
        for index, point in enumerate(one.points):
            is_ratio = one.environment is not None
            ends = [None if end is None else exp(end) for end in (point.low, point.high)]
            rows.append(
                _where(report, one)
                | _what_happened(one, index)
                | {
                    "run_id": point.run_id,
                    "suite": point.suite,
                    "started": _utc(point),
                    "ratio": exp(point.value) if is_ratio else None,
                    "low": ends[0],
                    "high": ends[1],
                    "blocks": point.blocks,
                    "value": point.environment_value,
                    "baseline_value": point.baseline_value,
                }
            )
    return Table("trend", [Column(name) for name in _FIELDS], rows, _notes(report))


def _where(report: TrendReport, one: TrendSeries) -> dict[str, Any]:
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
    }


def _what_happened(one: TrendSeries, index: int) -> dict[str, Any]:
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


def _table_for_people(report: TrendReport, last: int) -> Table:
    columns = [
        Column("run"),
        Column("started"),
        Column("target"),
        Column("environment"),
        Column("value", align="right"),
        Column("unit"),
        Column("words", "against its baseline"),
        Column("blocks", align="right"),
        Column("happened", "new"),
    ]
    rows = [
        _row_for_people(one, index)
        for one in report.series
        for index in range(max(0, len(one.points) - last), len(one.points))
    ]
    return Table("trend", columns, rows, _notes(report))


def _row_for_people(one: TrendSeries, index: int) -> dict[str, Any]:
    from math import exp

    from perfctl.compare import EMULATED, describe

    point = one.points[index]
    raw = one.environment is None
    text = "" if raw else describe(exp(point.value), one.metric.direction)
    happened = _what_happened(one, index)
    new = [f"segment {happened['segment']}" if happened["new_segment"] else ""]
    new.append(f"{happened['change']} change" if happened["change"] else "")
    return {
        "run": point.run_id,
        "started": _utc(point),
        "target": str(one.target),
        "environment": _environment(one),
        "value": point.baseline_value if raw else point.environment_value,
        "unit": one.metric.unit,
        "words": f"{EMULATED}; {text}" if one.is_emulated and not raw else text,
        "blocks": point.blocks,
        "happened": ", ".join(filter(None, new)),
    }


def _environment(one: TrendSeries) -> str:
    if one.environment is None:
        name = f"{one.baseline} (raw)"
        return f"{name} ({one.accelerator})" if one.accelerator else name
    if one.accelerator:
        return f"{one.environment} ({one.accelerator})"
    return one.environment + (f" (against {one.baseline_accelerator})" if one.baseline_accelerator else "")


def _notes(report: TrendReport) -> list[str]:
    item = report.benchmark
    call = " ".join([item.workload, *(f"{name}={value}" for name, value in item.parameters.items())])
    notes = [f"{item.name}: {call}, {counted(report.runs, 'run')}"]
    if not report.series:
        notes.append("no run has a value of it: `perfctl show RUN` says why")
    for one in report.series:
        notes += _series_notes(one)
    notes += [f"left out: {text}" for text in report.left_out]
    notes.append(f"database {report.database}")
    return notes


def _series_notes(one: TrendSeries) -> list[str]:
    from perfctl.report.trend_points import sparkline

    name = f"{one.target} {_environment(one)}"
    notes = [f"{name}  {sparkline(one.points, [item.index for item in one.breaks])}  {_range(one)}"]
    for item in one.breaks:
        notes.append(f"{name}: new segment from run {_run(one, item.index)}: {_some(item.differences)}")
    notes += [_change_text(one, place) for place in range(len(one.changes))]
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


def _change_text(one: TrendSeries, place: int) -> str:
    from perfctl.compare import describe

    item = one.changes[place]
    size = describe(item.factor, one.metric.direction)
    why = f" ({item.reason})" if item.reason else ""
    facts = f"with it: {_some(item.facts)}" if item.facts else "no fact that was read changed with it"
    return (
        f"{one.target} {_environment(one)}: {item.state} change at run {_run(one, item.index)}: {size}"
        f" than before, p={item.p:.3g}{why}; {facts}"
    )


_MOST_FACTS = 5


def _some(texts: tuple[str, ...]) -> str:
    more = len(texts) - _MOST_FACTS
    return "; ".join(texts[:_MOST_FACTS]) + (f"; and {more} more (--format json has all)" if more > 0 else "")


def _range(one: TrendSeries) -> str:
    from math import exp

    from perfctl.model.quantity import number, quantity

    if not one.points:
        return "no point"
    values, runs = [exp(point.value) for point in one.points], counted(len(one.points), "run")
    if one.environment is None:
        return f"{number(min(values))} to {quantity(max(values), one.metric.unit)}, {runs}"
    return f"{min(values):.3f} to {max(values):.3f} of {one.baseline}, {runs}"


def _run(one: TrendSeries, index: int) -> str:
    return one.points[index].run_id


def _utc(point: TrendPoint) -> str | None:
    from perfctl.cli.runs import utc_text

    return utc_text(point.started_at)
