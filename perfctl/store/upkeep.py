"""Maintain a database: describe it, check it, copy it, upgrade its schema."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from sqlalchemy import Connection, except_, exists, func, inspect, select, table, text

from perfctl.errors import DatabaseUnavailable, DataError, UsageError
from perfctl.store import artifact, derived, revision, schema
from perfctl.store import tables as db
from perfctl.store.location import Location, location_of
from perfctl.store.sqlite import (
    connected,
    driver_of,
    make_private,
    require_file,
    translated,
)
from perfctl.store.store import BUSY_TIMEOUT_S, Store


@dataclass(frozen=True, slots=True)
class DatabaseInfo:
    """A database, as `perfctl db info` prints it. `integrity` is 'ok', or SQLite's first problem."""

    name: str
    """The path or URL, without a password."""
    size_bytes: int
    """Of the file and its write-ahead log; on a server of the tables and their indexes."""
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
    """From which revision to which; `backup` is None on a server, and when nothing had to be done."""

    before: str
    after: str
    backup: Path | None


def database_info(url_or_path: str | PathLike[str]) -> DatabaseInfo:
    """Describe a database, of an older or newer schema too. Raises DatabaseUnavailable."""
    location = location_of(url_or_path)
    with _opened(location) as connection:
        found = revision.require_revision(connection)
        rows = {
            name: connection.execute(select(func.count()).select_from(table(name))).scalar_one()
            for name in sorted(inspect(connection).get_table_names())
            if name != "alembic_version"
        }
        if isinstance(location, Path):
            integrity = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one())
            size_bytes = _file_bytes(location)
        else:
            sums = connection.exec_driver_sql("SHOW data_checksums").scalar_one()
            integrity = f"checksums of pages are {sums}"
            size_bytes = connection.execute(_SERVER_BYTES, {"names": list(rows)}).scalar_one()
    name = str(location.absolute()) if isinstance(location, Path) else str(location)
    return DatabaseInfo(name, size_bytes, found, schema.REVISION, rows, integrity)


_SERVER_BYTES = text(
    "SELECT CAST(sum(pg_total_relation_size(CAST(quote_ident(name) AS regclass))) AS bigint)"
    " FROM unnest(CAST(:names AS text[])) AS name"
)


def _file_bytes(path: Path) -> int:
    log = path.with_name(path.name + "-wal")
    return path.stat().st_size + (log.stat().st_size if log.exists() else 0)


@contextmanager
def _opened(location: Location, *, read_only: bool = True) -> Iterator[Connection]:
    """Connect to a database that is there, of any schema."""
    if isinstance(location, Path):
        require_file(location)
        with connected(location, "ro" if read_only else "rw") as connection:
            yield connection
        return
    from perfctl.store import postgresql

    with postgresql.connected(location, read_only=read_only) as connection:
        yield connection


def check(store: Store) -> tuple[Check, ...]:
    """Read everything and return one check each of the file, references, raw outputs and derived rows."""
    checks: tuple[tuple[str, Callable[[Connection], list[str]]], ...] = (
        ("file structure", _structure),
        ("references", _references),
        ("raw outputs", _artifacts),
        ("derived rows", _derived),
    )
    with _opened(store.database.location) as connection:
        # One transaction, so that a run that writes meanwhile is seen whole or not at all.
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN")
        else:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return tuple(Check(name, tuple(problems(connection))) for name, problems in checks)


def _structure(connection: Connection) -> list[str]:
    """Return what SQLite finds in its file; a server says itself what it cannot read of a table."""
    if connection.dialect.name == "sqlite":
        answers = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check")]
        return [] if answers == ["ok"] else answers
    for each in db.METADATA.sorted_tables:
        connection.execute(select(func.count()).select_from(each))
    return []


def _references(connection: Connection) -> list[str]:
    if connection.dialect.name == "sqlite":
        return [
            f"row {rowid} of {table} refers to a row of {parent} that does not exist"
            for table, rowid, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check")
        ]
    problems = []
    for key in (key for each in db.METADATA.sorted_tables for key in each.foreign_keys):
        parent = key.column.table.alias("parent")
        is_there = exists().where(parent.c[key.column.name] == key.parent)
        of = key.parent.table
        missing = select(func.count()).select_from(of).where(key.parent.is_not(None), ~is_there)
        if count := connection.execute(missing).scalar_one():
            problems.append(f"{count} x {of.name}.{key.parent.name} refers to a row that does not exist")
    return problems


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

    A server does that by itself (autovacuum). Raises DatabaseUnavailable, also while another program uses the
    database.
    """
    location = location_of(url_or_path)
    if not isinstance(location, Path):
        return
    with connected(location, "rw", busy_timeout_s=BUSY_TIMEOUT_S) as connection:
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
    location = location_of(url_or_path)
    if not isinstance(location, Path):
        raise UsageError(
            "a database on a server is copied by its own tools",
            where=str(location),
            hint=f"pg_dump --format=custom --file={target} DATABASE, and pg_restore to bring it back",
        )
    path = location
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
    """Bring a database to the newest schema; of a file after a backup beside it.

    Raises SchemaMismatch when it is newer than this program, DataError or DatabaseUnavailable when that
    fails; the database is unchanged then, and the backup stays.
    """
    location = location_of(url_or_path)
    with _opened(location, read_only=False) as connection:
        before = revision.require_revision(connection)
    if before == schema.REVISION:
        return Upgrade(before, before, None)
    revision.require_older(before)
    from perfctl.store.migration import migrate

    copy = None
    if isinstance(location, Path):
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        copy = location.with_name(f"{location.name}.{before}-{now}.bak")
        backup(location, copy)
    migrate(location, busy_timeout_s=busy_timeout_s)
    return Upgrade(before, schema.REVISION, copy)
