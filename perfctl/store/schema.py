"""The schema's revision: create a database, and recognise one that is older, newer or of other programs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from perfctl.errors import DatabaseUnavailable, SchemaMismatch

REVISION = "0008"
"""The newest migration. Revisions are numbers, so that older and newer can be told apart."""

RUN_STATUSES = ("running", "complete", "partial", "interrupted")
BLOCK_STATUSES = ("running", "complete", "failed", "interrupted")
INVOCATION_STATUSES = ("ok", "failed", "skipped", "interrupted")
ACCELERATORS = ("kvm", "tcg")
VALIDITIES = ("valid", "flagged", "invalid")
USAGE_SOURCES = ("wait4", "cgroup")

OUTPUTS = ("stdout", "stderr", "counters_before", "counters_after")
"""What is kept of every invocation, in columns of its own; no other artifact may have such a name."""

_VERSION_TABLE = (
    "CREATE TABLE alembic_version ("
    "version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)


def statements(script: str) -> Iterator[str]:
    """Yield the statements of an SQL script one by one (`executescript` would end the open transaction)."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _run_script(connection: sqlite3.Connection, name: str) -> None:
    for statement in statements(Path(__file__).with_name(name).read_text(encoding="utf-8")):
        connection.execute(statement)


def read_revision(connection: sqlite3.Connection) -> str | None:
    """Return the revision of a database, None for an empty file.

    Raises DatabaseUnavailable when it is somebody else's SQLite database.
    """
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return None
    row = None
    if {"alembic_version", "run", "invocation"} <= tables:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if row is None:
        raise DatabaseUnavailable(
            "this SQLite database was not made by perfctl", hint="name another file with --db"
        )
    return str(row[0])


def create(connection: sqlite3.Connection) -> None:
    """Make all tables and views and write the revision. The caller holds the transaction."""
    connection.execute(_VERSION_TABLE)
    _run_script(connection, "schema.sql")
    create_views(connection)
    connection.execute("INSERT INTO alembic_version VALUES (?)", (REVISION,))


def create_views(connection: sqlite3.Connection) -> None:
    """Make the views afresh. They hold no data, so they need no migrations: the newest text is right."""
    views = connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'").fetchall()
    for (name,) in views:
        connection.execute(f'DROP VIEW "{name}"')
    _run_script(connection, "views.sql")


def require_current(revision: str) -> None:
    """Raise SchemaMismatch when a database of this revision cannot be used by this program."""
    if revision == REVISION:
        return
    require_older(revision)
    raise SchemaMismatch(
        f"the database has schema {revision}, this perfctl needs {REVISION}",
        hint="run `perfctl db upgrade`; it makes a backup first",
    )


def require_older(revision: str) -> None:
    """Raise SchemaMismatch when this program does not know the revision."""
    if revision.isdigit() and int(revision) <= int(REVISION):
        return
    raise SchemaMismatch(
        f"the database has schema {revision}, this perfctl knows up to {REVISION}",
        hint="upgrade perfctl; the database was not changed",
    )
