"""`hosts`: who holds which host, and what runs have left there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from perfctl.execute import HostStatus
from perfctl.model.quantity import duration
from perfctl.render.text import WIDTH
from perfctl.render.view import Column, Section, View, columns

_FIELDS = ("host", "state", "owner", "purpose", "run_id", "held_s", "left_s", "job_is_running", "remark")


def hosts_view(statuses: Sequence[HostStatus]) -> View:
    """Return the view of all hosts in their order; a host with leases of two users has two rows."""
    records = [record for status in statuses for record in _records(status)]
    shown = [*columns("host", "state", "owner", "purpose"), Column("run_id", "run")]
    shown += [Column("since"), Column("until", "held for at least"), Column("remark")]
    rows = [
        record | {"since": _ago(record["held_s"]), "until": duration(record["left_s"])} for record in records
    ]
    return View("hosts", columns(*_FIELDS), records, sections=[Section(shown, rows)], widest=WIDTH)


def _ago(seconds: float | None) -> str:
    text = duration(seconds)
    return text if seconds is None else f"{text} ago"


def _records(status: HostStatus) -> Iterator[dict[str, Any]]:
    empty = dict.fromkeys(_FIELDS) | {"host": status.host.name, "state": status.state}
    remarks = [status.error.message] if status.error else list(_left(status))
    if not status.leases:
        yield empty | {"remark": "; ".join(remarks)}
    for lease in status.leases:
        known = {name: getattr(lease, name) for name in _FIELDS if hasattr(lease, name)}
        reasons = [lease.why] if lease.why else []
        if lease.controller_is_gone:
            reasons.append("its controller is gone")
        if lease.job_is_running:
            reasons.append("a job of it runs")
        yield empty | known | {"remark": "; ".join([*reasons, *remarks])}


def _left(status: HostStatus) -> Iterator[str]:
    """Yield what runs that hold nothing have left, with the command that removes it."""
    if status.runs is None:
        return
    holders = {lease.run_id for lease in status.leases}
    for text, runs in (("processes", status.runs.dead), ("results", status.runs.results)):
        for run in runs:
            if run not in holders:
                yield f"{text} of run {run} are left: perfctl reap {run}"
