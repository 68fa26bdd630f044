"""Views of what is moved between databases, and of bundles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perfctl.render.view import Column, Section, View, columns
from perfctl.transfer import Merged


def merged_view(found: Merged) -> View:
    """Return the view of how many rows of each table are new, and of how many more is known."""
    names = sorted(found.new.keys() | found.changed.keys())
    records = [(name, found.new[name], found.changed[name]) for name in names]
    records = [record for record in records if any(record[1:])]
    fields = [
        *columns("table"),
        Column("new", "new rows", align="right"),
        Column("changed", "rows that went on", align="right"),
    ]
    return View("transfer", fields, records, footer=[f"runs compared: {found.runs}"])


def bundle_view(found: Mapping[str, Any]) -> View:
    """Return the view of a bundle in which nothing was changed."""
    sections = [
        Section(columns("what", "value"), list(found.items()), notes=["every byte is as it was written"])
    ]
    return View("bundle", columns(*found), [found], sections=sections)
