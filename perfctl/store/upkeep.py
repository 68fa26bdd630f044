"""Maintain a database: describe it, check it, copy it, upgrade its schema."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from sqlalchemy import Connection, except_, func, inspect, select, table

from perfctl.errors import DatabaseUnavailable, DataError
from perfctl.store import artifact, derived, revision, schema
from perfctl.store import tables as db
from perfctl.store.sqlite import (
    connected,
    driver_of,
    make_private,
    path_of,
    require_file,
    translated,
)
from perfctl.store.store import BUSY_TIMEOUT_S, Store


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
    with connected(path, "ro") as connection:
        found = revision.require_revision(connection)
        rows = {
            name: connection.execute(select(func.count()).select_from(table(name))).scalar_one()
            for name in sorted(inspect(connection).get_table_names())
            if name != "alembic_version"
        }
        integrity = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one())
    log = path.with_name(path.name + "-wal")
    size_bytes = path.stat().st_size + (log.stat().st_size if log.exists() else 0)
    return DatabaseInfo(path, size_bytes, found, schema.REVISION, rows, integrity)


def check(store: Store) -> tuple[Check, ...]:
    """Read everything and return one check each of the file, references, raw outputs and derived rows."""
    checks: tuple[tuple[str, Callable[[Connection], list[str]]], ...] = (
        ("file structure", _structure),
        ("references", _references),
        ("raw outputs", _artifacts),
        ("derived rows", _derived),
    )
    with connected(store.path, "ro") as connection:
        # One transaction, so that a run that writes meanwhile is seen whole or not at all.
        connection.exec_driver_sql("BEGIN")
        return tuple(Check(name, tuple(problems(connection))) for name, problems in checks)


def _structure(connection: Connection) -> list[str]:
    answers = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check")]
    return [] if answers == ["ok"] else answers


def _references(connection: Connection) -> list[str]:
    return [
        f"row {rowid} of {table} refers to a row of {parent} that does not exist"
        for table, rowid, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check")
    ]


def _artifacts(connection: Connection) -> list[str]:
    problems = []
    kept = db.artifact.c
    # What was pruned has no content, and nothing that could be wrong.
    whole = select(kept.sha256, kept.size_bytes, kept.content).where(func.length(kept.content) > 0)
    for row in connection.execute(whole):
        try:
            artifact.unpack(*row)
        except DataError as error:
            problems.append(error.message)
    orphans = except_(
        select(kept.sha256).where(func.length(kept.content) > 0),
        select(db.invocation_artifact.c.sha256),
        *(select(db.invocation.c[f"{name}_sha256"]) for name in schema.OUTPUTS),
    ).order_by("sha256")
    return problems + [
        f"the artifact {sha256} belongs to no invocation" for (sha256,) in connection.execute(orphans)
    ]


def compact(url_or_path: str | PathLike[str]) -> None:
    """Give the space of what was removed back to the file system. Needs as much free space as is in use.

    Raises DatabaseUnavailable, also while another program uses the database.
    """
    with connected(path_of(url_or_path), "rw", busy_timeout_s=BUSY_TIMEOUT_S) as connection:
        connection.exec_driver_sql("VACUUM")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def _derived(connection: Connection) -> list[str]:
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
    with connected(path, "ro") as source:
        revision.require_revision(source)
        try:
            make_private(unfinished)
            with translated(target), closing(sqlite3.connect(unfinished)) as copy:
                driver_of(source).backup(copy)
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
    with connected(path, "rw", busy_timeout_s=busy_timeout_s) as connection:
        before = revision.require_revision(connection)
    if before == schema.REVISION:
        return Upgrade(before, before, None)
    revision.require_older(before)
    copy = path.with_name(f"{path.name}.{before}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.bak")
    backup(path, copy)
    from perfctl.store.migration import migrate

    migrate(path, busy_timeout_s=busy_timeout_s)
    return Upgrade(before, schema.REVISION, copy)
