"""`db`: the database file and its checks."""

from __future__ import annotations

from collections.abc import Iterable

from perfctl.render.view import Column, Section, View, columns
from perfctl.store import Check, DatabaseInfo


def database_view(found: DatabaseInfo) -> View:
    """Return the view of the file, its schema, and how many rows each table has."""
    fields = {
        "path": str(found.path.absolute()),
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
