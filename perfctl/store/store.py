"""The results database, for all other packages: `run` and `history` read, `writer` writes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from perfctl.errors import DatabaseUnavailable
from perfctl.store.location import location_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from perfctl.store.database import Database
    from perfctl.store.history import History
    from perfctl.store.records import RunSummary
    from perfctl.store.run_reader import RunReader
    from perfctl.store.writer import Writer

# What opens a database is imported in functions: SQLAlchemy takes a quarter of a second, and many commands
# open none.

BUSY_TIMEOUT_S = 30.0
"""How long a write of a run waits for another process's before giving up."""


def open_store(
    url_or_path: str | PathLike[str],
    *,
    create: bool = False,
    read_only: bool = False,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    patience_s: float = 0.0,
) -> Store:
    """Open a database by path or URL; `create` makes one where there is none.

    A write waits up to `busy_timeout_s` for another program's; opening a file at most OPEN_TIMEOUT_S. A
    server that is lost once the database is open is waited for, up to `patience_s`.
    Raises DatabaseUnavailable (missing, locked, read-only, damaged, not ours), SchemaMismatch (of an older or
    newer perfctl), UsageError (another kind of database).
    """
    from perfctl.store.database import open_database
    from perfctl.store.history import History

    if not read_only:
        # Before it is open: where few files may be, an open database leaves none to import with.
        from perfctl.store.run_reader import RunReader  # noqa: F401 (for Store.run)
        from perfctl.store.writer import Writer

    database = open_database(
        location_of(url_or_path),
        create=create,
        read_only=read_only,
        busy_timeout_s=busy_timeout_s,
        patience_s=patience_s,
    )
    return Store(database, History(database), None if read_only else Writer(database))


class Store:
    """An open results database, for any number of threads. Made by `open_store`.

    Whatever reads or writes may raise DatabaseUnavailable.
    """

    def __init__(self, database: Database, history: History, writer: Writer | None) -> None:
        self.name = database.name
        """The path or URL, without a password."""
        self.history = history
        """All runs."""
        self._database = database
        self._writer = writer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Finish what was given to the writer and close the database; again is harmless."""
        if self._writer is not None:
            self._writer.close()
        self._database.close()

    def stop_waiting(self) -> None:
        """Have whatever waits for a lost server give up, now and from now on."""
        self._database.stop_waiting()

    @property
    def path(self) -> Path:
        """The file of an SQLite database. Raises UsageError where it is on a server."""
        from perfctl.store.sqlite import file_of

        return file_of(self._database.location)

    @property
    def database(self) -> Database:
        """The engine's database, for what looks after it."""
        return self._database

    @property
    def writer(self) -> Writer:
        """All that changes the database."""
        if self._writer is None:
            raise DatabaseUnavailable("the database was opened for reading only", where=self.name)
        return self._writer

    def run(self, run: str) -> RunReader:
        """Return the run that `run` names: an id, its unique beginning or end, or 'latest'.

        Raises UnknownName when there is none, or more than one.
        """
        from perfctl.store.run_reader import RunReader

        return RunReader(self._database, run)

    def snapshot(self) -> AbstractContextManager[Connection]:
        """Yield a connection that sees the database as it is now, whatever is written meanwhile.

        For `perfctl.transfer`. Until it is over nothing else of this store can read.
        """
        return self._database.snapshot()

    def runs(self) -> list[RunSummary]:
        """Return every run, the one that was begun first in this database first."""
        return self.history.summaries()
