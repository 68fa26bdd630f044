"""What the store needs of an engine, and which one a database has."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from perfctl.store.location import Location

T = TypeVar("T")


class Database(Protocol):
    """An open database of the current schema, for any number of threads.

    Its errors are DatabaseUnavailable, DataError and QueryError, whatever the engine's are.
    """

    @property
    def name(self) -> str:
        """The path or URL, without a password."""

    @property
    def location(self) -> Location:
        """Where it is."""

    @property
    def is_read_only(self) -> bool:
        """Whether it was opened for reading only."""

    def read(self, job: Callable[[Connection], T]) -> T:
        """Return what `job` reads by a connection, of what was committed."""

    def snapshot(self) -> AbstractContextManager[Connection]:
        """Yield a connection that sees the database as it is now, whatever is written meanwhile."""

    def transact(self, job: Callable[[Connection], T]) -> T:
        """Return what `job` returns after its changes were committed; undo them after an error.

        `job` may be called again after an engine has lost what it did: all of it, or nothing, is kept.
        """

    def stop_waiting(self) -> None:
        """Have whatever waits for a lost server give up, now and from now on."""

    def close(self) -> None:
        """Close it; again is harmless. No other thread may be in a transaction."""


def open_database(
    location: Location, *, create: bool, read_only: bool, busy_timeout_s: float, patience_s: float
) -> Database:
    """Open a database of the current schema, made first if `create` and there is none.

    Raises DatabaseUnavailable, SchemaMismatch. The modules of other engines are not imported.
    """
    if isinstance(location, Path):
        from perfctl.store.sqlite import SqliteDatabase

        return SqliteDatabase(location, create=create, read_only=read_only, busy_timeout_s=busy_timeout_s)
    from perfctl.store.postgresql import PostgresqlDatabase

    return PostgresqlDatabase(
        location, create=create, read_only=read_only, lock_timeout_s=busy_timeout_s, patience_s=patience_s
    )
