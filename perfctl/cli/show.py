"""`perfctl show`: one run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from perfctl.output import Column, Format, Table, duration, emit, format_option

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings
    from perfctl.store import RunDetail


@click.command()
@click.argument("run")
@format_option
@click.pass_obj
def show(settings: Settings, run: str, fmt: Format) -> None:
    """Show one run: its plan, its hosts, how its invocations ended, what failed and why.

    RUN is a run's id, its unique beginning or end, or 'latest'. CSV has only the run's own line, JSON all.
    """
    from perfctl.store import open_store

    with open_store(settings.database_url, read_only=True) as store:
        detail = store.run(run)
    if fmt in ("json", "csv"):
        emit(_table_for_machines(detail), fmt)
        return
    for number, table in enumerate(_tables_for_people(detail)):
        if number:
            click.echo()
        emit(table, fmt)


def _table_for_machines(detail: RunDetail) -> Table:
    from dataclasses import asdict

    from perfctl.cli.runs import run_row, utc_text

    row = run_row(detail.summary)
    row |= {name: getattr(detail, name) for name in ("seed", "baseline", "perfctl_version")}
    columns = [Column(name) for name in row]
    row |= {
        "command": list(detail.command),
        "inventory": list(detail.inventory),
        "environments": [asdict(item) for item in detail.environments],
        "benchmarks": [asdict(item) for item in detail.benchmarks],
        "counts": [asdict(item) for item in detail.counts],
        "failures": [asdict(item) | {"target": str(item.target)} for item in detail.failures],
        "events": [asdict(item) | {"happened_at": utc_text(item.happened_at)} for item in detail.events],
    }
    return Table("run", columns, [row])


def _tables_for_people(detail: RunDetail) -> list[Table]:
    tables = [_head(detail), _counts(detail)]
    if detail.failures:
        tables.append(_failures(detail))
    if detail.events:
        tables.append(_events(detail))
    return tables


def _head(detail: RunDetail) -> Table:
    from perfctl.cli.runs import utc_text

    run = detail.summary
    took = None if run.ended_at is None else run.ended_at - run.started_at
    stored = run.ok + run.failed + run.skipped + run.interrupted
    facts = {
        "run": run.run_id,
        "suite": run.suite,
        "status": run.status,
        "started": utc_text(run.started_at),
        "took": duration(took),
        "command": shlex.join(detail.command),
        "inventory": ", ".join(detail.inventory),
        "hosts": ", ".join(run.hosts),
        "environments": ", ".join(item.name for item in detail.environments),
        "baseline": detail.baseline,
        "seed": detail.seed,
        "invocations": f"{stored} stored, {run.planned} planned",
        "perfctl": detail.perfctl_version,
    }
    rows = list(facts.items())
    rows += [(f"benchmark {item.name}", _call(item.workload, item.parameters)) for item in detail.benchmarks]
    return Table("run", [Column("what"), Column("value")], rows)


def _call(workload: str, parameters: Mapping[str, Any]) -> str:
    return " ".join([workload, *(f"{name}={value}" for name, value in parameters.items())])


def _counts(detail: RunDetail) -> Table:
    columns = [Column("status"), Column("reason"), Column("invocations", align="right")]
    rows = [(item.status, item.reason, item.invocations) for item in detail.counts]
    return Table("counts", columns, rows)


def _failures(detail: RunDetail) -> Table:
    names = (
        "benchmark",
        "target",
        "environment",
        "block",
        "attempt",
        "status",
        "reason",
        "exit_code",
        "detail",
    )
    rows = [{name: getattr(item, name) for name in names} for item in detail.failures]
    for row in rows:
        row["target"] = str(row["target"])
    note = f"run what failed again: perfctl resume {detail.summary.run_id}"
    return Table("failures", [Column(name) for name in names], rows, [note])


def _events(detail: RunDetail) -> Table:
    from perfctl.cli.runs import utc_text

    columns = [Column("time"), Column("level"), Column("where"), Column("text")]
    rows = [(utc_text(item.happened_at), item.level, item.where, item.text) for item in detail.events]
    return Table("events", columns, rows)
