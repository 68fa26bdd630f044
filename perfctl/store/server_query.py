"""Users' SQL on a PostgreSQL server: one SELECT, in a transaction that may only read, with limits."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from perfctl.errors import QueryError
from perfctl.store.location import Server
from perfctl.store.postgresql import connect, error_of, translated
from perfctl.store.query_limits import ANSWER_BYTES, HINT, NARROWER, column_hint, row_bytes
from perfctl.store.records import Rows

if TYPE_CHECKING:
    import psycopg

_ROWS_AT_ONCE = 1000
_UNKNOWN_COLUMN = re.compile(r'column "?([^" ]+)"? does not exist')
_COLUMNS = """
SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.views
USING (table_schema, table_name) WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position
"""


def server_query(
    server: Server, sql: str, parameters: Mapping[str, bool], *, timeout_s: float, max_rows: int
) -> Rows:
    """Return the rows of one SELECT as `perfctl.store.query` does."""
    for name, value in parameters.items():
        sql = sql.replace(f":{name}", str(value))
    with translated(server), connect(server, read_only=True) as connection:
        try:
            return _rows(connection, sql, timeout_s, max_rows)
        except connection.Error as error:
            connection.rollback()
            raise _query_error(connection, error, server, timeout_s) from error


def _rows(connection: psycopg.Connection[Any], sql: str, timeout_s: float, max_rows: int) -> Rows:
    deadline = time.monotonic() + timeout_s
    cursor = connection.cursor()
    # Prepared, so that it is one statement; of a cursor, so that it is a SELECT.
    cursor.execute("SET TRANSACTION READ ONLY")
    _limit(cursor, deadline)
    cursor.execute(f"DECLARE answer NO SCROLL CURSOR FOR {sql}".encode(), prepare=True)
    found: list[tuple[object, ...]] = []
    size_bytes = 0
    while len(found) <= max_rows:
        _limit(cursor, deadline)
        cursor.execute(f"FETCH {min(_ROWS_AT_ONCE, max_rows + 1 - len(found))} FROM answer")
        rows = cursor.fetchall()
        for row in rows:
            size_bytes += row_bytes(row)
            if size_bytes > ANSWER_BYTES:
                raise QueryError(f"its answer has more than {ANSWER_BYTES >> 20} MiB", hint=NARROWER)
            found.append(tuple(map(_plain, row)))
        columns = tuple(column.name for column in cursor.description or ())
        if not rows:
            break
    return Rows(columns, tuple(found[:max_rows]), len(found) > max_rows)


def _limit(cursor: psycopg.Cursor[Any], deadline: float) -> None:
    """Give the next statement the time that is left."""
    left_ms = max(1, round((deadline - time.monotonic()) * 1000))
    cursor.execute(f"SET LOCAL statement_timeout = {left_ms}")


def _plain(value: object) -> object:
    """Return a value as SQLite has it: 0 and 1 for what is true or not, and no decimal numbers."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


def _query_error(
    connection: psycopg.Connection[Any], error: psycopg.Error, server: Server, timeout_s: float
) -> Exception:
    """Return a QueryError when the query is to blame, else what is wrong with the database."""
    state = error.sqlstate or ""
    said = (error.diag.message_primary or str(error)).strip()
    if state == "57014":
        return QueryError(f"the query took longer than {timeout_s:g} s", hint=NARROWER)
    if state in ("25006", "42501"):
        return QueryError(f"a query may only read ({said})", hint=HINT)
    if state[:2] not in ("21", "22", "42", "0A", "54"):
        return error_of(error, server)
    if unknown := _UNKNOWN_COLUMN.fullmatch(said):
        return QueryError(said, hint=column_hint(unknown[1], connection.execute(_COLUMNS).fetchall()))
    return QueryError(said, hint=HINT)
