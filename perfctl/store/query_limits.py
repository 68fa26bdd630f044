"""What users' SQL may take on every engine, and what to do about a query that is refused."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

ANSWER_BYTES = 256 << 20
"""Memory of the rows of an answer."""
_ROW_BYTES = 40
"""Memory of a value in a row beside its text, about."""

NARROWER = "narrow it, e.g. WHERE run_id = '...'"
HINT = (
    "one SELECT on v_run, v_block, v_invocation, v_finding, v_value, v_sample or v_artifact;"
    " docs/database.md has their columns"
)


def row_bytes(row: Sequence[object]) -> int:
    """Return about how much memory a row takes."""
    return sum(len(value) for value in row if isinstance(value, (str, bytes))) + _ROW_BYTES * len(row)


def column_hint(name: str, columns: Sequence[tuple[str, str]]) -> str:
    """Return which views have a column of that name, or else columns whose names come close.

    `columns` are pairs of a view and a column of it.
    """
    wanted = name.rpartition(".")[2]
    views = [view for view, column in columns if column == wanted]
    if views:
        return f"{wanted} is in {', '.join(views)}"
    close = get_close_matches(wanted, dict.fromkeys(column for _, column in columns), n=2)
    found = [f"{near} ({', '.join(view for view, column in columns if column == near)})" for near in close]
    return f"did you mean {' or '.join(found)}?" if found else HINT
