"""A database in an SQLite file: opened and written so that no commit is lost, its errors as messages.

Write-ahead log with `synchronous=NORMAL`: a commit survives the death of this process at once, and of the
machine after the next checkpoint; the file is never torn. FULL would wait for the disk at every commit, on a
machine that may be measuring its disk.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeVar, cast
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import StaticPool

from perfctl.errors import DatabaseMoved, DatabaseUnavailable, DataError, QueryError, UsageError
from perfctl.store import revision
from perfctl.store.location import Location
from perfctl.store.opened_file import OpenedFile

Mode = Literal["ro", "rw", "rwc"]
T = TypeVar("T")

OPEN_TIMEOUT_S = 5.0
"""How long opening and reading wait for another program that has locked the database."""

NOTICE_S = 2.0
"""After this long it is said what is being waited for."""

_log = logging.getLogger(__name__)

FILE_ERRORS = {
    sqlite3.SQLITE_BUSY: ("the database is locked by another program", "wait for it to end, then try again"),
    sqlite3.SQLITE_LOCKED: (
        "the database is locked by another program",
        "wait for it to end, then try again",
    ),
    sqlite3.SQLITE_READONLY: ("the database cannot be written", "check its permissions and its file system"),
    sqlite3.SQLITE_PERM: ("the database cannot be opened: permission denied", "check its permissions"),
    sqlite3.SQLITE_CANTOPEN: ("the database cannot be opened", "check the permissions of file and directory"),
    sqlite3.SQLITE_FULL: ("the disk that holds the database is full", "free some space, then try again"),
    sqlite3.SQLITE_IOERR: ("the disk failed to read or write the database", "check the system log"),
    sqlite3.SQLITE_CORRUPT: ("the database is damaged", "restore a backup (see `perfctl db backup`)"),
    sqlite3.SQLITE_NOTADB: ("this is not an SQLite database", "name another file with --db"),
}


def file_of(location: Location) -> Path:
    """Return the file of an SQLite database. Raises UsageError where it is on a server."""
    if isinstance(location, Path):
        return location
    raise UsageError("this needs a database in a file", where=str(location), hint="name one with --db")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn the driver's errors into DatabaseUnavailable (locked, read-only, damaged, ...) or DataError."""
    try:
        yield
    except (DatabaseUnavailable, DataError) as error:
        error.where = error.where or str(path)
        raise
    except Exception as error:
        cause = _cause(error)
        if isinstance(cause, sqlite3.IntegrityError):
            raise DataError(f"the database refused a row: {cause}", where=str(path)) from error
        if isinstance(cause, sqlite3.Error):
            message, hint = FILE_ERRORS.get(_code(cause), (f"database error: {cause}", None))
            raise DatabaseUnavailable(message, where=str(path), hint=hint) from error
        if isinstance(cause, UnicodeEncodeError):
            text = f"this is not UTF-8 text: {os.fsencode(cause.object)!r}"
            raise QueryError(text, where=str(path), hint=_NOT_UTF8) from error
        raise


def _cause(error: BaseException) -> BaseException:
    """Return the driver's error where SQLAlchemy's has one."""
    return getattr(error, "orig", None) or error


def _code(error: BaseException) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


_NOT_UTF8 = "type it in a terminal whose encoding is UTF-8"


def connect(path: Path, mode: Mode, *, busy_timeout_s: float = OPEN_TIMEOUT_S) -> sqlite3.Connection:
    """Return a connection in autocommit mode that any one thread at a time may use.

    Foreign keys are on. Raises sqlite3.Error; wrap it in `translated`.
    """
    uri = f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}"
    if mode == "ro" and _is_beyond_writing(path):
        # Reading a write-ahead log needs a shared-memory file beside it. Where none can be made and no log
        # is left over, nobody can be writing either.
        uri += "&immutable=1"
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, timeout=busy_timeout_s, check_same_thread=False
    )
    connection.execute("PRAGMA foreign_keys = ON")
    if mode == "ro":
        connection.execute("PRAGMA query_only = ON")
    else:
        connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _is_beyond_writing(path: Path) -> bool:
    log = path.with_name(path.name + "-wal")
    return not os.access(path.parent, os.W_OK, effective_ids=True) and not (
        log.exists() and log.stat().st_size
    )


def engine_of(path: Path, mode: Mode, *, busy_timeout_s: float = OPEN_TIMEOUT_S) -> Engine:
    """Return an engine with one connection (of `connect`), which any one thread at a time may use."""
    return create_engine(
        "sqlite://",
        creator=lambda: connect(path, mode, busy_timeout_s=busy_timeout_s),
        poolclass=StaticPool,
        pool_reset_on_return=None,
    )


@contextmanager
def connected(path: Path, mode: Mode, *, busy_timeout_s: float = OPEN_TIMEOUT_S) -> Iterator[Connection]:
    """Connect to a database of any schema for as long as the context lasts."""
    engine = engine_of(path, mode, busy_timeout_s=busy_timeout_s)
    with translated(path):
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()


def driver_of(connection: Connection) -> sqlite3.Connection:
    """Return the driver's connection, for what is SQLite's own."""
    return cast("sqlite3.Connection", connection.connection.driver_connection)


class SqliteDatabase:
    """An open database file; a `perfctl.store.database.Database`."""

    def __init__(self, path: Path, *, create: bool, read_only: bool, busy_timeout_s: float) -> None:
        """Open a database of the current schema, made first if `create` and there is none.

        Raises DatabaseUnavailable (missing, locked, read-only, damaged, not ours), SchemaMismatch.
        """
        self.path = path
        self.location = path
        self.name = str(path)
        self.is_read_only = read_only
        self._busy_timeout_s = busy_timeout_s
        self._lock = threading.Lock()
        self._is_open = True
        mode: Mode = "ro" if read_only else "rwc" if create else "rw"
        opened = _open(path, mode, min(busy_timeout_s, OPEN_TIMEOUT_S))
        self._reader = opened.engine
        self._writer = None if read_only else opened
        with translated(path):
            if self._writer is None:
                opened.close()
            else:
                set_busy_timeout(driver_of(opened), busy_timeout_s)
                self._file = OpenedFile(path, driver_of(opened))
                # It reads what was committed, not what is being written.
                self._reader = engine_of(path, "rw", busy_timeout_s=busy_timeout_s)
                self._reader.connect().close()

    def close(self) -> None:
        """Close the file; again is harmless. No other thread may be in a transaction."""
        with self._lock:
            self._is_open = False
            self._reader.dispose()
        if self._writer is not None:
            self._writer.close()
            self._writer.engine.dispose()

    def stop_waiting(self) -> None:
        """Do nothing: a file has no server that is waited for."""

    def read(self, job: Callable[[Connection], T]) -> T:
        """Return what `job` reads by a connection, one thread at a time."""
        with self._lock, translated(self.path):
            if not self._is_open:
                raise DatabaseUnavailable("the database was closed")
            with self._reader.connect() as connection:
                return job(connection)

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Yield a connection that sees the database as it is now; nothing else can read meanwhile."""
        with self._lock, translated(self.path):
            if not self._is_open:
                raise DatabaseUnavailable("the database was closed")
            with self._reader.connect() as connection:
                connection.exec_driver_sql("BEGIN")
                try:
                    yield connection
                finally:
                    connection.rollback()

    def transact(self, job: Callable[[Connection], T]) -> T:
        """Return what `job` returns after its changes were committed; undo them after an error.

        Raises DatabaseMoved when what is committed would not be, or is not, in the file at the path.
        """
        with self._transaction() as connection:
            return job(connection)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        if self._writer is None:
            raise DatabaseUnavailable("the database was opened for reading only", where=str(self.path))
        driver = driver_of(self._writer)
        with translated(self.path):
            try:
                # A log without its file is taken by whatever has the file's name: nothing is written then.
                self._file.require(driver)
                with self._writer.begin():
                    self._begin(driver)
                    yield self._writer
                    self._file.require(driver)
                # What went away in the meantime must not be taken for stored.
                self._file.require(driver)
            except DatabaseMoved:
                self._leave_whole(driver)
                raise

    def _begin(self, driver: sqlite3.Connection) -> None:
        """Begin a transaction; say so when another program holds the database for long."""
        noticed_s = min(NOTICE_S, self._busy_timeout_s)
        set_busy_timeout(driver, noticed_s)
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            left_s = self._busy_timeout_s - noticed_s
            if not is_locked(error) or left_s <= 0:
                raise
            say_locked(self.path, left_s)
            set_busy_timeout(driver, left_s)
            driver.execute("BEGIN IMMEDIATE")

    def _leave_whole(self, driver: sqlite3.Connection) -> None:
        """Write the log into the opened file, wherever that is now: it is whole without a file beside it.

        A log that stayed behind would be applied to whatever has taken its place. Where something else is in
        the opened file itself, the log must not get into that.
        """
        if self._file.is_overwritten:
            self._file.drop_log()
            return
        with suppress(sqlite3.Error):
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def make_private(path: Path) -> None:
    """Make an empty file that only the user can read; SQLite gives its mode to the files beside it.

    A file that exists keeps its mode. Raises DatabaseUnavailable.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise DatabaseUnavailable(
            f"the database cannot be opened: {error.strerror}",
            where=str(path),
            hint="check the permissions and the space of the directory",
        ) from error


def is_locked(error: BaseException) -> bool:
    """Return whether another program holds the database."""
    return _code(_cause(error)) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def say_locked(path: Path, left_s: float) -> None:
    """Say that the database is being waited for."""
    _log.warning(
        "%s: the database is locked by another program; waiting for it, up to %g s more", path, left_s
    )


def set_busy_timeout(connection: sqlite3.Connection, seconds: float) -> None:
    """Set how long the connection waits for another's lock."""
    connection.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")


def _open(path: Path, mode: Mode, patience_s: float) -> Connection:
    """Return a connection to a database of the current schema, made first with mode rwc."""
    if mode == "rwc" and not _exists(path):
        _require_directory(path)
        make_private(path)
    else:
        require_file(path)
    with translated(path):
        try:
            return _open_once(path, mode, min(patience_s, NOTICE_S))
        except Exception as error:
            if not is_locked(error) or patience_s <= NOTICE_S:
                raise
            say_locked(path, patience_s - NOTICE_S)
            return _open_once(path, mode, patience_s - NOTICE_S)


def _open_once(path: Path, mode: Mode, patience_s: float) -> Connection:
    engine = engine_of(path, mode, busy_timeout_s=patience_s)
    connection = engine.connect()
    try:
        if mode != "ro":
            _prepare_for_writing(connection, mode == "rwc", patience_s)
        revision.require_current(revision.require_revision(connection))
        connection.rollback()
    except BaseException:
        engine.dispose()
        raise
    return connection


def _prepare_for_writing(connection: Connection, create: bool, busy_timeout_s: float) -> None:
    """Prove now, not after the first measurement, that a write will work."""
    driver = driver_of(connection)
    if revision.read_revision(connection) is None and create:
        _use_write_ahead_log(driver, busy_timeout_s)
    driver.execute("BEGIN IMMEDIATE")
    try:
        # Somebody else may have made it between our look and our lock.
        if create and revision.read_revision(connection) is None:
            revision.create(connection)
    except BaseException:
        driver.execute("ROLLBACK")
        raise
    driver.execute("COMMIT")


def _use_write_ahead_log(connection: sqlite3.Connection, busy_timeout_s: float) -> None:
    # The change of mode is kept in the file. SQLite does not wait its busy timeout here.
    deadline = time.monotonic() + busy_timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if not is_locked(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


_NO_FILE = (
    "`perfctl run` makes one; --db names another, such as the one in the first line that a run printed"
    " (a folder has its own database once perfctl.toml is in it)"
)


def require_file(path: Path) -> None:
    """Raise DatabaseUnavailable when there is no readable file, with a plainer message than SQLite's."""
    if path.is_dir():
        raise DatabaseUnavailable("this is a directory, not a database", where=str(path))
    if not _exists(path):
        raise DatabaseUnavailable("there is no database yet", where=str(path), hint=_NO_FILE)
    if not os.access(path, os.R_OK, effective_ids=True):
        raise DatabaseUnavailable("the database cannot be read: permission denied", where=str(path))


def _require_directory(path: Path) -> None:
    if path.parent.is_dir():
        return
    if not path.absolute().is_relative_to(_data_home()):
        raise DatabaseUnavailable(
            f"the directory {path.parent} does not exist", where=str(path), hint=f"mkdir -p {path.parent}"
        )
    # The default place is ours to make; any other missing directory is more likely a slip of the pen.
    path.parent.mkdir(parents=True, mode=0o700)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError as error:
        raise DatabaseUnavailable(
            "the database cannot be reached: permission denied", where=str(path)
        ) from error


def _data_home() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "perfctl"
