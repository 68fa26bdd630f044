"""CSV: the fields of every record. It has no place for notes, which would be rows to whatever reads it."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from perfctl.render.view import Screen, View, plain, row_values


def render(view: View, screen: Screen) -> str:
    """Return a line of names and a line per record; a missing value is empty, a list is JSON."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([column.name for column in view.fields])
    for record in view.records:
        values = row_values(view.fields, record)
        writer.writerow([_cell(values[column.name]) for column in view.fields])
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    found = plain(value)
    if isinstance(found, bool):
        return "true" if found else "false"
    return json.dumps(found) if isinstance(found, (dict, list)) else found
