"""Maintain a database: describe it, check it, copy it, upgrade its schema."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from perfctl.errors import DatabaseUnavailable, DataError
from perfctl.store import artifact, derived, schema
from perfctl.store.connection import BUSY_TIMEOUT_S, connect, path_of, require_file, translated
from perfctl.store.store import Store


@dataclass(frozen=True, slots=True)
class DatabaseInfo:
    """A database file, as `perfctl db info` prints it. `integrity` is 'ok' or SQLite's first problem."""

    path: Path
    size_bytes: int
    """Of the file and its write-ahead log."""
    revision: str
    newest_revision: str
    rows: dict[str, int]
    integrity: str


@dataclass(frozen=True, slots=True)
class Check:
    """One check, and the problems that it found (none when all is well)."""

    name: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Upgrade:
    """From which revision to which; `backup` is None when nothing had to be done."""

    before: str
    after: str
    backup: Path | None


def database_info(url_or_path: str | PathLike[str]) -> DatabaseInfo:
    """Describe a database, of an older or newer schema too. Raises DatabaseUnavailable."""
    path = path_of(url_or_path)
    require_file(path)
    with translated(path), closing(connect(path, "ro")) as connection:
        revision = _revision(connection)
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        ).fetchall()
        rows = {
            name: int(connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0])
            for (name,) in tables
            if name != "alembic_version"
        }
        integrity = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    log = path.with_name(path.name + "-wal")
    size_bytes = path.stat().st_size + (log.stat().st_size if log.exists() else 0)
    return DatabaseInfo(path, size_bytes, revision, schema.REVISION, rows, integrity)


def _revision(connection: sqlite3.Connection) -> str:
    revision = schema.read_revision(connection)
    if revision is None:
        raise DatabaseUnavailable("the file is empty", hint="`perfctl run` makes a database")
    return revision


def check(store: Store) -> tuple[Check, ...]:
    """Read everything and return one check each of the file, references, raw outputs and derived rows."""
    checks: tuple[tuple[str, Callable[[sqlite3.Connection], list[str]]], ...] = (
        ("file structure", _structure),
        ("references", _references),
        ("raw outputs", _artifacts),
        ("derived rows", _derived),
    )
    with translated(store.path), closing(connect(store.path, "ro")) as connection:
        # One transaction, so that a run that writes meanwhile is seen whole or not at all.
        connection.execute("BEGIN")
        return tuple(Check(name, tuple(problems(connection))) for name, problems in checks)


def _structure(connection: sqlite3.Connection) -> list[str]:
    answers = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
    return [] if answers == ["ok"] else answers


def _references(connection: sqlite3.Connection) -> list[str]:
    return [
        f"row {rowid} of {table} refers to a row of {parent} that does not exist"
        for table, rowid, parent, _ in connection.execute("PRAGMA foreign_key_check")
    ]


def _artifacts(connection: sqlite3.Connection) -> list[str]:
    problems = []
    for sha256, size_bytes, content in connection.execute("SELECT sha256, size_bytes, content FROM artifact"):
        try:
            artifact.unpack(sha256, size_bytes, content)
        except DataError as error:
            problems.append(error.message)
    orphans = connection.execute(f"SELECT sha256 FROM artifact EXCEPT {_REFERENCES} ORDER BY 1")
    return problems + [f"the artifact {sha256} belongs to no invocation" for (sha256,) in orphans]


_REFERENCES = " EXCEPT ".join(
    ["SELECT sha256 FROM invocation_artifact"]
    + [f"SELECT {name}_sha256 FROM invocation" for name in schema.OUTPUTS]
)


def _derived(connection: sqlite3.Connection) -> list[str]:
    try:
        return derived.differences(connection)
    except DataError as error:
        return [error.message]


def backup(url_or_path: str | PathLike[str], target: Path) -> None:
    """Copy a database, also while it is written to, to a file that does not exist yet.

    Raises DatabaseUnavailable when the target exists or cannot be written; nothing is left over then.
    """
    path = path_of(url_or_path)
    require_file(path)
    if target.exists():
        raise DatabaseUnavailable(
            "this file exists; a backup never overwrites", where=str(target), hint="name another file"
        )
    if not target.parent.is_dir():
        raise DatabaseUnavailable(f"the directory {target.parent} does not exist", where=str(target))
    unfinished = target.with_name(target.name + ".unfinished")
    with translated(path), closing(connect(path, "ro")) as source:
        _revision(source)
        try:
            with translated(target), closing(sqlite3.connect(unfinished)) as copy:
                source.backup(copy)
                # A copy that is one file, without a log beside it, is easier to carry about.
                copy.execute("PRAGMA journal_mode = DELETE")
            unfinished.rename(target)
        finally:
            unfinished.unlink(missing_ok=True)


def upgrade(url_or_path: str | PathLike[str], *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Upgrade:
    """Bring a database to the newest schema, after a backup beside it.

    Raises SchemaMismatch when it is newer than this program, DataError or DatabaseUnavailable when that
    fails; the database is unchanged then, and the backup stays.
    """
    path = path_of(url_or_path)
    require_file(path)
    with translated(path), closing(connect(path, "rw", busy_timeout_s=busy_timeout_s)) as connection:
        before = _revision(connection)
    if before == schema.REVISION:
        return Upgrade(before, before, None)
    schema.require_older(before)
    copy = path.with_name(f"{path.name}.{before}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.bak")
    backup(path, copy)
    from perfctl.store.migration import migrate

    with translated(path):
        migrate(path, busy_timeout_s=busy_timeout_s)
    return Upgrade(before, schema.REVISION, copy)
