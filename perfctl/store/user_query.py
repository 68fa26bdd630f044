"""Read-only SQL for users: one SELECT at a time, on a connection that can do nothing else.

Beside the engine's own functions there are the aggregates `median(x)` and `string_agg(text, separator)`;
NULLs do not count.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from perfctl.errors import QueryError, UnknownName
from perfctl.store.location import Server
from perfctl.store.query_limits import ANSWER_BYTES, HINT, NARROWER, column_hint, row_bytes
from perfctl.store.records import Rows
from perfctl.store.series import median
from perfctl.store.sqlite import FILE_ERRORS, connect, translated
from perfctl.store.store import Store

_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE, sqlite3.SQLITE_FUNCTION}
_FORBIDDEN_FUNCTIONS = {"load_extension", "fts3_tokenizer"}
_ALL_METRICS = ":all_metrics"
MAX_ROWS = 100_000
"""Rows of an answer, unless more are asked for."""

_MAX_HEAP_BYTES = 1 << 30
"""Memory of SQLite in this process."""
_MAX_VALUE_BYTES = 64 << 20
_INTERRUPT_S = 2.0
"""How long to wait for a query that was interrupted: SQLite ends it between two of its steps."""


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


class _StringAgg:
    """What every newer SQLite, and PostgreSQL, has by itself."""

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def step(self, piece: object, separator: str) -> None:
        if piece is not None:
            self._pieces += [separator, str(piece)]

    def finalize(self) -> str | None:
        return "".join(self._pieces[1:]) if self._pieces else None


class _Median:
    def __init__(self) -> None:
        self._values = array("d")

    def step(self, value: float | None) -> None:
        if value is not None:
            self._values.append(value)

    def finalize(self) -> float | None:
        return median(self._values) if self._values else None


def query(
    store: Store,
    sql: str,
    *,
    timeout_s: float = 60.0,
    max_rows: int = MAX_ROWS,
    all_metrics: bool = False,
) -> Rows:
    """Return the rows of one SELECT, at most `max_rows`; ':all_metrics' in it stands for that argument.

    Raises QueryError when it would change something, is no SQL, is more than one statement, takes longer than
    `timeout_s` or more memory than there is for it; DatabaseUnavailable. Signals end it like a time-out.
    """
    parameters = {"all_metrics": all_metrics} if _ALL_METRICS in sql else {}
    location = store.database.location
    if isinstance(location, Server):
        from perfctl.store.server_query import server_query

        return server_query(location, sql, parameters, timeout_s=timeout_s, max_rows=max_rows)
    return _file_query(location, sql, parameters, timeout_s=timeout_s, max_rows=max_rows)


def _file_query(
    path: Path, sql: str, parameters: Mapping[str, bool], *, timeout_s: float, max_rows: int
) -> Rows:
    with translated(path):
        connection = _connect(path)
        work = _Work(connection, sql, parameters or (), max_rows)
        # SQLite returns to the interpreter only between rows, and to its signal handlers not even then.
        thread = threading.Thread(target=work.run, name="perfctl-query", daemon=True)
        thread.start()
        try:
            thread.join(timeout_s)
        finally:
            is_late = thread.is_alive()
            connection.interrupt()
            thread.join(_INTERRUPT_S)
            if not thread.is_alive():
                connection.close()
        if is_late:
            raise QueryError(f"the query took longer than {timeout_s:g} s", hint=NARROWER)
        if isinstance(work.error, MemoryError):
            raise QueryError(
                f"the query needs more than {_MAX_HEAP_BYTES >> 20} MiB of memory", hint=NARROWER
            )
        if isinstance(work.error, (sqlite3.Error, sqlite3.Warning)):
            raise _query_error(work.error, path) from work.error
        if work.error is not None:
            raise work.error
    return work.rows


class _Work:
    """A query to be run in a thread of its own: `rows` or `error`, in the end."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        sql: str,
        parameters: Mapping[str, bool] | tuple[()],
        max_rows: int,
    ) -> None:
        self._connection, self._sql, self._parameters = connection, sql, parameters
        self._max_rows = max_rows
        self.rows = Rows((), ())
        self.error: Exception | None = None

    def run(self) -> None:
        """Run it to the end, to the last row wanted, or until the connection is interrupted."""
        try:
            cursor = self._connection.execute(self._sql, self._parameters)
            if cursor.description is None:
                raise QueryError("the query has no statement", hint=HINT)
            columns = tuple(column[0] for column in cursor.description)
            found: list[tuple[object, ...]] = []
            size = 0
            for row in cursor:
                size += row_bytes(row)
                if size > ANSWER_BYTES:
                    raise QueryError(f"its answer has more than {ANSWER_BYTES >> 20} MiB", hint=NARROWER)
                found.append(row)
                if len(found) > self._max_rows:
                    break
            self.rows = Rows(columns, tuple(found[: self._max_rows]), len(found) > self._max_rows)
        except Exception as error:  # noqa: BLE001 (raised again in the caller's thread)
            self.error = error


def _query_error(error: Exception, path: Path) -> Exception:
    """Return a QueryError when the query is to blame, `error` itself when the database is."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_TOOBIG:
        return QueryError(f"a value of it has more than {_MAX_VALUE_BYTES >> 20} MiB", hint=HINT)
    if code == sqlite3.SQLITE_AUTH:
        return QueryError(f"a query may only read ({error})", hint=HINT)
    if code in FILE_ERRORS:
        return error
    unknown = _UNKNOWN_COLUMN.fullmatch(str(error))
    return QueryError(str(error), hint=column_hint(unknown[1], _columns(path)) if unknown else HINT)


def _columns(path: Path) -> list[tuple[str, str]]:
    """Return every column of the views, with its view first."""
    connection = connect(path, "ro")
    try:
        return connection.execute(_COLUMNS).fetchall()
    finally:
        connection.close()


_UNKNOWN_COLUMN = re.compile(r"no such column: (\S+)(?: .*)?")
_COLUMNS = (
    "SELECT view.name, field.name FROM sqlite_master AS view JOIN pragma_table_info(view.name) AS field"
    " WHERE view.type = 'view' ORDER BY view.name, field.cid"
)


def _connect(path: Path) -> sqlite3.Connection:
    """Return a connection that can only read, with limits and `median`."""
    connection = connect(path, "ro")
    connection.create_aggregate("median", 1, _Median)  # type: ignore[arg-type]
    connection.create_aggregate("string_agg", 2, _StringAgg)  # type: ignore[arg-type]
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
    connection.execute(f"PRAGMA hard_heap_limit = {_MAX_HEAP_BYTES}")
    # From here on not even PRAGMA is allowed.
    connection.set_authorizer(_authorize)
    return connection


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
