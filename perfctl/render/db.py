"""`db`: the database file and its checks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from perfctl.render.runs import utc_text
from perfctl.render.view import Column, Section, View, columns
from perfctl.store import Check, DatabaseInfo, Pruned


def database_view(found: DatabaseInfo) -> View:
    """Return the view of the file, its schema, and how many rows each table has."""
    fields = {
        "path": found.name,
        "size_bytes": found.size_bytes,
        "schema": found.revision,
        "newest_schema": found.newest_revision,
        "integrity": found.integrity,
    }
    rows = [*fields.items(), *((f"rows in {name}", count) for name, count in found.rows.items())]
    return View(
        "database",
        columns(*fields),
        [fields | {"rows": found.rows}],
        sections=[Section(columns("what", "value"), rows)],
    )


def checks_view(checks: Iterable[Check]) -> View:
    """Return the view of what was checked, and the first problems of each check."""
    records = [
        (item.name, "wrong" if item.problems else "ok", len(item.problems), "; ".join(item.problems[:3]))
        for item in checks
    ]
    fields = [
        Column("look", "check"),
        Column("result"),
        Column("problems", align="right"),
        Column("first"),
    ]
    return View("check", fields, records)


def pruned_view(found: Iterable[Pruned]) -> View:
    """Return the view of what is removed of each run."""
    records = [asdict(item) | {"started": utc_text(item.started_at)} for item in found]
    counted = [Column(name, align="right") for name in ("invocations", "raw_outputs", "raw_bytes")]
    return View("pruned", [*columns("run_id", "suite", "started"), *counted], records)
