"""`query`: the answer to a SELECT, and the queries that come with perfctl."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from perfctl.render.view import Column, View, columns
from perfctl.store import NamedQuery, Rows


def queries_view(queries: Iterable[NamedQuery]) -> View:
    """Return the view of the named queries."""
    return View(
        "queries", columns("name", "description"), [(item.name, item.description) for item in queries]
    )


def rows_view(found: Rows) -> View:
    """Return the view of an answer; columns of numbers are right-aligned."""
    records = [tuple(_text(value) for value in row) for row in found.rows]
    fields = [
        Column(name, align="right" if _is_numeric([record[place] for record in records]) else "left")
        for place, name in enumerate(_unique(found.columns))
    ]
    more = f"only the first {len(records):,} rows; more: --max-rows N" if found.is_cut else ""
    return View("query", fields, records, footer=[more] if more else [])


def _text(value: object) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _is_numeric(values: Sequence[object]) -> bool:
    present = [value for value in values if value is not None]
    return bool(present) and all(isinstance(value, (int, float)) for value in present)


def _unique(names: Sequence[str]) -> list[str]:
    """Number the columns that share a name: JSON has each key once."""
    unique: list[str] = []
    for name in names:
        candidate, number = name, 1
        while candidate in unique:
            number += 1
            candidate = f"{name}_{number}"
        unique.append(candidate)
    return unique
