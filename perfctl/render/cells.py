"""How a value stands in a cell for people."""

from __future__ import annotations

import json
from typing import Any

from perfctl.model.quantity import MISSING, number
from perfctl.output import visible
from perfctl.render.view import Column, Section, plain, row_values


def cell_texts(section: Section) -> list[list[str]]:
    """Return the cells of a section row by row."""
    found = []
    for row in section.rows:
        values = row_values(section.columns, row)
        found.append([_text(column, values[column.name]) for column in section.columns])
    return found


def _text(column: Column, value: Any) -> str:
    found = plain(value)
    if found is None or found == "":
        return MISSING
    if isinstance(found, bool):
        return "yes" if found else "no"
    if isinstance(found, (int, float)) and column.align == "right":
        return number(found)
    if isinstance(found, list) and all(isinstance(item, str) for item in found):
        return visible(", ".join(found)) or MISSING
    if isinstance(found, (dict, list)):
        return visible(json.dumps(found, ensure_ascii=False))
    return visible(str(found))
