"""`runs`: the runs in the database, and the fields of one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from perfctl.model.quantity import duration
from perfctl.render.view import Column, Section, View, columns

if TYPE_CHECKING:
    from perfctl.store import RunSummary

_FIELDS = (
    *("run_id", "suite", "status", "started", "ended", "hosts"),
    *("planned", "ok", "failed", "skipped", "interrupted"),
)
_SHORT_ID = 12


def runs_view(runs: Sequence[RunSummary]) -> View:
    """Return the view of the runs, in their order."""
    records = [run_record(run) for run in runs]
    shown = [Column("run_id", "run"), *columns("suite", "status", "started", "took", "hosts")]
    shown += columns("ok", "failed", "skipped", "planned", align="right")
    rows = [record | {"took": _took(run)} for run, record in zip(runs, records, strict=True)]
    return View("runs", columns(*_FIELDS), records, sections=[Section(shown, rows)])


def run_record(run: RunSummary) -> dict[str, Any]:
    """Return a run's fields as machines read them; times are ISO 8601 in UTC."""
    own = {"started": utc_text(run.started_at), "ended": utc_text(run.ended_at), "hosts": list(run.hosts)}
    return {name: own[name] if name in own else getattr(run, name) for name in _FIELDS}


def _took(run: RunSummary) -> str:
    return duration(None if run.ended_at is None else run.ended_at - run.started_at)


def utc_text(unix_s: float | None) -> str | None:
    """Return a Unix time as ISO 8601 text in UTC to the second."""
    if unix_s is None:
        return None
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def short_id(run_id: str) -> str:
    """Return the end of a run's id, by which commands find it, too: its beginning is a time."""
    return run_id[-_SHORT_ID:]
