"""Read-only SQL for users: one SELECT at a time, on a connection that can do nothing else.

Beside SQLite's own functions there is the aggregate `median(x)`; NULLs do not count.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from perfctl.errors import QueryError, UnknownName
from perfctl.store.connection import FILE_ERRORS, connect, translated
from perfctl.store.records import Rows
from perfctl.store.series import median
from perfctl.store.store import Store

_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE, sqlite3.SQLITE_FUNCTION}
_FORBIDDEN_FUNCTIONS = {"load_extension", "fts3_tokenizer"}
_ALL_METRICS = ":all_metrics"
_STEPS_BETWEEN_LOOKS = 100_000
"""Steps of SQLite's machine (some milliseconds) between two looks at the clock."""


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A query that comes with perfctl: one file of `queries/`, whose first comment is its description."""

    name: str
    description: str
    sql: str

    @property
    def takes_all_metrics(self) -> bool:
        """Whether it shows only headline metrics unless `all_metrics` is given."""
        return _ALL_METRICS in self.sql


class _Median:
    def __init__(self) -> None:
        self._values: list[float] = []

    def step(self, value: float | None) -> None:
        if value is not None:
            self._values.append(value)

    def finalize(self) -> float | None:
        return median(self._values) if self._values else None


def query(store: Store, sql: str, *, timeout_s: float = 60.0, all_metrics: bool = False) -> Rows:
    """Return the rows of one SELECT, in which ':all_metrics' stands for that argument.

    Raises QueryError when it would change something, is not SQL, has more than one statement, or takes longer
    than `timeout_s`; DatabaseUnavailable.
    """
    with translated(store.path), _connection(store) as connection:
        deadline = time.monotonic() + timeout_s
        # Non-zero stops the statement.
        connection.set_progress_handler(lambda: int(time.monotonic() > deadline), _STEPS_BETWEEN_LOOKS)
        try:
            cursor = connection.execute(sql, {"all_metrics": all_metrics} if _ALL_METRICS in sql else ())
            if cursor.description is None:
                raise QueryError("the query has no statement", hint=_HINT)
            rows = tuple(cursor.fetchall())
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise _query_error(error, timeout_s, store.path) from error
    return Rows(tuple(column[0] for column in cursor.description), rows)


_HINT = (
    "one SELECT on v_run, v_block, v_invocation, v_finding, v_value, v_sample or v_artifact;"
    " docs/database.md has their columns"
)


def _query_error(error: Exception, timeout_s: float, path: Path) -> Exception:
    """Return a QueryError when the query is to blame, `error` itself when the database is."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_INTERRUPT:
        return QueryError(
            f"the query took longer than {timeout_s:g} s", hint="narrow it, e.g. WHERE run_id = '...'"
        )
    if code == sqlite3.SQLITE_AUTH:
        return QueryError(f"a query may only read ({error})", hint=_HINT)
    if code in FILE_ERRORS:
        return error
    unknown = _UNKNOWN_COLUMN.fullmatch(str(error))
    return QueryError(str(error), hint=_where_column_is(path, unknown[1]) if unknown else _HINT)


def _where_column_is(path: Path, name: str) -> str:
    """Return which views have a column of that name, or else columns whose names come close."""
    wanted = name.rpartition(".")[2]
    connection = connect(path, "ro")
    try:
        rows = connection.execute(_COLUMNS).fetchall()
    finally:
        connection.close()
    views = [view for view, column in rows if column == wanted]
    if views:
        return f"{wanted} is in {', '.join(views)}"
    close = get_close_matches(wanted, dict.fromkeys(column for _, column in rows), n=2)
    found = [f"{column} ({', '.join(view for view, other in rows if other == column)})" for column in close]
    return f"did you mean {' or '.join(found)}?" if found else _HINT


_UNKNOWN_COLUMN = re.compile(r"no such column: (\S+)(?: .*)?")
_COLUMNS = (
    "SELECT view.name, field.name FROM sqlite_master AS view JOIN pragma_table_info(view.name) AS field"
    " WHERE view.type = 'view' ORDER BY view.name, field.cid"
)


@contextmanager
def _connection(store: Store) -> Iterator[sqlite3.Connection]:
    connection = connect(store.path, "ro")
    try:
        connection.create_aggregate("median", 1, _Median)  # type: ignore[arg-type]
        # From here on not even PRAGMA is allowed.
        connection.set_authorizer(_authorize)
        yield connection
    finally:
        connection.close()


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action not in _ALLOWED:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and second in _FORBIDDEN_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def named_queries() -> tuple[NamedQuery, ...]:
    """Return the queries that come with perfctl, by name."""
    found = []
    for entry in sorted(Path(__file__).with_name("queries").glob("*.sql")):
        sql = entry.read_text(encoding="utf-8")
        found.append(NamedQuery(entry.stem, _description(sql), sql))
    return tuple(found)


def _description(sql: str) -> str:
    comments = []
    for line in sql.splitlines():
        if not line.startswith("--"):
            break
        comments.append(line.removeprefix("--").strip())
    return " ".join(comments)


def named_query(name: str) -> NamedQuery:
    """Return the query of that name. Raises UnknownName."""
    known = {named.name: named for named in named_queries()}
    if name not in known:
        raise UnknownName(f"there is no query {name!r}", hint=f"one of: {', '.join(known)}")
    return known[name]
