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
    """Return the view of all hosts in their order; a host with leases of two users has two rows.

    A record has also `left`: the runs that hold nothing and have left processes or results there.
    """
    records = [record for status in statuses for record in _records(status)]
    shown = [*columns("host", "state", "owner", "purpose"), Column("run_id", "run"), Column("since")]
    shown += [Column("until", "held for at least"), Column("remark")]
    rows = [
        record | {"since": _ago(record["held_s"]), "until": duration(record["left_s"])} for record in records
    ]
    left = [{"host": record["host"], **item} for record in records for item in record["left"]]
    heading = "Left by runs that hold nothing; to remove it: perfctl reap RUN"
    leftovers = Section([*columns("host", "left"), Column("run_id", "run")], left, heading)
    return View(
        "hosts",
        columns(*_FIELDS),
        records,
        sections=[Section(shown, rows), *([leftovers] if left else [])],
        widest=WIDTH,
    )


def _ago(seconds: float | None) -> str:
    text = duration(seconds)
    return text if seconds is None else f"{text} ago"


def _records(status: HostStatus) -> Iterator[dict[str, Any]]:
    empty = dict.fromkeys(_FIELDS) | {"host": status.host.name, "state": status.state, "left": _left(status)}
    if not status.leases:
        yield empty | {"remark": status.error.message if status.error else None}
    for lease in status.leases:
        known = {name: getattr(lease, name) for name in _FIELDS if hasattr(lease, name)}
        remarks = [lease.why, "its controller is gone" if lease.controller_is_gone else ""]
        remarks.append("a job of it runs" if lease.job_is_running else "")
        yield empty | known | {"remark": "; ".join(filter(None, remarks))}


def _left(status: HostStatus) -> list[dict[str, str]]:
    if status.runs is None:
        return []
    holders = {lease.run_id for lease in status.leases}
    found = (("processes", status.runs.dead), ("results", status.runs.results))
    return [{"left": what, "run_id": run} for what, runs in found for run in runs if run not in holders]
