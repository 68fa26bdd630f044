"""A plugin of Datasette: the aggregates of `perfctl query`, median and string_agg; NULLs do not count."""

from __future__ import annotations

import sqlite3
import statistics
from typing import Any

from datasette import hookimpl


class Median:
    """What SQLite calls for each row, and at the end."""

    def __init__(self) -> None:
        self._values: list[float] = []

    def step(self, value: Any) -> None:
        """Take the value of a row."""
        if value is not None:
            self._values.append(value)

    def finalize(self) -> Any:
        """Return the median, None of nothing."""
        return statistics.median(self._values) if self._values else None


class StringAgg:
    """What newer versions of SQLite have by themselves."""

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def step(self, value: Any, separator: str) -> None:
        """Take the value of a row."""
        if value is not None:
            self._pieces += [separator, str(value)]

    def finalize(self) -> Any:
        """Return the values with separators between them, None of nothing."""
        return "".join(self._pieces[1:]) if self._pieces else None


def _prepare_connection(conn: sqlite3.Connection) -> None:
    """Give a connection the aggregates."""
    conn.create_aggregate("median", 1, Median)
    aggregate: Any = StringAgg
    conn.create_aggregate("string_agg", 2, aggregate)


prepare_connection: Any = hookimpl(_prepare_connection)
"""What Datasette calls, by this name, for each connection."""
