"""Open SQLite files so that no commit is lost, and turn the driver's errors into messages.

Write-ahead log with `synchronous=NORMAL`: a commit survives the death of this process at once, and of the
machine after the next checkpoint; the file is never torn. FULL would wait for the disk at every commit, on a
machine that may be measuring its disk.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from perfctl.errors import DatabaseUnavailable, DataError, UsageError
from perfctl.store import schema

Mode = Literal["ro", "rw", "rwc"]

BUSY_TIMEOUT_S = 30.0
"""How long to wait for another process's write before giving up."""

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


def path_of(url_or_path: str | os.PathLike[str]) -> Path:
    """Return the file that a path or an sqlite:/// URL names. Raises UsageError for any other URL."""
    text = os.fspath(url_or_path)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Path(text)
    if scheme != "sqlite" or not rest.startswith("/") or rest == "/":
        raise UsageError(
            f"cannot use the database {scheme}://...",
            hint="give a path or sqlite:///PATH; other database servers are not supported yet",
        )
    return Path(rest[1:])


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn the driver's errors into DatabaseUnavailable (locked, read-only, damaged, ...) or DataError."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise DataError(f"the database refused a row: {error}", where=str(path)) from error
    except sqlite3.Error as error:
        message, hint = FILE_ERRORS.get(
            getattr(error, "sqlite_errorcode", 0) & 0xFF, (f"database error: {error}", None)
        )
        raise DatabaseUnavailable(message, where=str(path), hint=hint) from error
    except (DatabaseUnavailable, DataError) as error:
        error.where = error.where or str(path)
        raise


def connect(path: Path, mode: Mode, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> sqlite3.Connection:
    """Return a connection in autocommit mode that any one thread at a time may use.

    Foreign keys are on. Raises sqlite3.Error; wrap it in `translated`.
    """
    uri = f"file:{quote(str(path.absolute()))}?mode={mode}"
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


def open_checked(path: Path, *, create: bool, read_only: bool, busy_timeout_s: float) -> sqlite3.Connection:
    """Return a connection to a database of the current schema, made first if `create` and there is none.

    Raises DatabaseUnavailable (missing, locked, read-only, damaged, not ours), SchemaMismatch.
    """
    if create and not _exists(path):
        _require_directory(path)
    else:
        require_file(path)
    with translated(path):
        connection = connect(
            path, "ro" if read_only else "rwc" if create else "rw", busy_timeout_s=busy_timeout_s
        )
        try:
            if not read_only:
                _prepare_for_writing(connection, create, busy_timeout_s)
            revision = schema.read_revision(connection)
            if revision is None:
                raise DatabaseUnavailable("the file is empty", hint="`perfctl run` makes a database")
            schema.require_current(revision)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare_for_writing(connection: sqlite3.Connection, create: bool, busy_timeout_s: float) -> None:
    """Prove now, not after the first measurement, that a write will work."""
    if schema.read_revision(connection) is None and create:
        _use_write_ahead_log(connection, busy_timeout_s)
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Somebody else may have made it between our look and our lock.
        if create and schema.read_revision(connection) is None:
            schema.create(connection)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _use_write_ahead_log(connection: sqlite3.Connection, busy_timeout_s: float) -> None:
    # The change of mode is kept in the file. SQLite does not wait its busy timeout here.
    deadline = time.monotonic() + busy_timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
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
