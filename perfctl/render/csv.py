"""CSV: the fields of every record. It has no place for notes, which would be rows to whatever reads it."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from perfctl.output import visible
from perfctl.redaction import redact
from perfctl.render.view import Screen, View, plain, row_values


def render(view: View, screen: Screen) -> str:
    """Return a line of names and a line per record; a missing value is empty, a list is JSON.

    Text that a spreadsheet would take for a formula begins with an apostrophe. A file has every other
    character as it is; a terminal gets control characters as escapes.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([_as_text(redact(column.name)) for column in view.fields])
    for record in view.records:
        values = row_values(view.fields, record)
        writer.writerow([cell(values[column.name]) for column in view.fields])
    content = buffer.getvalue()
    return "\n".join(map(visible, content.split("\n"))) if screen.is_terminal else content


def cell(value: Any) -> Any:
    """Return a value as the writer takes it: missing is empty, a list is JSON, no text is a formula."""
    found = plain(value)
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, (dict, list)):
        return json.dumps(found)
    return _as_text(found) if isinstance(found, str) else found


def _as_text(text: str) -> str:
    # A carriage return begins a row for some readers, and the writer does not quote it.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.lstrip().startswith(_FORMULA) and not _is_number(text) else text


_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula begins with; spreadsheets read the full-width forms, too, and pass over blanks before it."""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
