"""`perfctl runs`: the runs in the database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from perfctl.cli.command import Command
from perfctl.output import Column, Format, Table, duration, emit, format_option

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings
    from perfctl.store import RunSummary


@click.command(cls=Command)
@format_option
@click.pass_obj
def runs(settings: Settings, fmt: Format) -> None:
    """List the runs in the database, the newest last."""
    from perfctl.store import open_store

    with open_store(settings.database_url, read_only=True) as store:
        found = store.runs()
    if fmt in ("table", "md"):
        columns = [
            Column("run_id", "run"),
            *(Column(name) for name in ("suite", "status", "started", "took", "hosts")),
            *(Column(name, align="right") for name in ("ok", "failed", "skipped", "planned")),
        ]
        emit(Table("runs", columns, [_row_for_people(run) for run in found]), fmt)
    else:
        columns = [Column(name) for name in _FIELDS]
        emit(Table("runs", columns, [run_row(run) for run in found]), fmt)


_FIELDS = (
    *("run_id", "suite", "status", "started", "ended", "hosts"),
    *("planned", "ok", "failed", "skipped", "interrupted"),
)


def run_row(run: RunSummary) -> dict[str, Any]:
    """Return a run's fields as machines read them; times are ISO 8601 in UTC."""
    own = {"started": utc_text(run.started_at), "ended": utc_text(run.ended_at), "hosts": list(run.hosts)}
    return {name: own[name] if name in own else getattr(run, name) for name in _FIELDS}


def _row_for_people(run: RunSummary) -> dict[str, Any]:
    took = duration(None if run.ended_at is None else run.ended_at - run.started_at)
    return run_row(run) | {"hosts": ", ".join(run.hosts), "took": took}


def utc_text(unix_s: float | None) -> str | None:
    """Return a Unix time as ISO 8601 text in UTC to the second."""
    if unix_s is None:
        return None
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
