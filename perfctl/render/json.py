"""JSON: every field of every record, with its schema_version."""

from __future__ import annotations

import json

from perfctl.render.view import Screen, View, plain, row_values

SCHEMA_VERSION = 1


def render(view: View, screen: Screen) -> str:
    """Return one record on a line: readable, good to diff, and json's fast encoder cannot indent."""
    rows = ",\n  ".join(
        json.dumps(plain(row_values(view.fields, record)), allow_nan=False) for record in view.records
    )
    return (
        f'{{"schema_version": {SCHEMA_VERSION}, "kind": {json.dumps(view.kind)}, "rows": ['
        + (f"\n  {rows}\n" if rows else "")
        + f'], "notes": {json.dumps(plain(view.notes))}}}\n'
    )
