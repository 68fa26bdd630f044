"""Whether the file at a database's path is still the one that was opened, whole and with its log."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from perfctl.errors import DatabaseMoved

_Identity = tuple[int, int]
_HINT = "put it back, or name with --db where it is now"


class OpenedFile:
    """The database file of an open connection, as a path that somebody named.

    SQLite goes on writing into a file that was moved or deleted: every commit succeeds, and nothing is where
    the user looks for it.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Remember the file; `connection` has read it, so that its log is there."""
        self._path = path
        # Looked at three times for each transaction: a Path would take longer than the call itself.
        self._name = str(path)
        found = path.stat()
        self._identity = (found.st_dev, found.st_ino)
        self._size_bytes = found.st_size
        self._written_ns = found.st_mtime_ns
        self._content = _content_of(path) or _NOTHING
        self.is_overwritten = False
        """Whether something else was written into the file, which its log no longer belongs to."""
        self._page_bytes = int(connection.execute("PRAGMA page_size").fetchone()[0])
        real = os.path.realpath(path)
        beside = (f"{real}{suffix}" for suffix in ("-wal", "-shm"))
        # They stay as long as anybody has the database open.
        self._beside = {log: identity for log in beside if (identity := _identity_of(log))}

    def require(self, connection: sqlite3.Connection) -> None:
        """Raise DatabaseMoved when the path leads to another file, or the file was cut or overwritten."""
        for text in self._differences(connection):
            raise DatabaseMoved(f"the database is not what it was: {text}", where=str(self._path), hint=_HINT)

    def _differences(self, connection: sqlite3.Connection) -> Iterator[str]:
        try:
            found = os.stat(self._name)  # noqa: PTH116
        except OSError as error:
            yield f"it was moved or deleted while it was written ({error.strerror})"
            return
        if (found.st_dev, found.st_ino) != self._identity:
            yield "another file is in its place"
        # With a log the file may be smaller than the database, but only VACUUM makes a file smaller.
        pages = int(connection.execute("PRAGMA page_count").fetchone()[0])
        if found.st_size < min(self._size_bytes, pages * self._page_bytes):
            yield f"it was cut from {self._size_bytes} to {found.st_size} bytes"
        self._size_bytes = found.st_size
        if found.st_mtime_ns != self._written_ns and not self.is_overwritten:
            is_other = self._has_other_content(connection)
            self.is_overwritten = is_other is True
            if is_other is not None:
                self._written_ns = found.st_mtime_ns
        if self.is_overwritten:
            yield "something else was copied into its file"
        for log, identity in self._beside.items():
            if _identity_of(log) != identity:
                yield f"{Path(log).name} was moved, deleted or replaced while it was written"

    def _has_other_content(self, connection: sqlite3.Connection) -> bool | None:
        """Return whether the file, without its log, is not an earlier state of the database.

        It is written when a log is copied into it, by any program that has it open. Then it has all the runs
        and invocations that it had before, and only such runs as the database has. None when that cannot be
        told now: beside a reader of an older state only some pages of the log are copied.
        """
        for _ in range(_LOOKS):
            found = _content_of(self._path)
            if found is None:
                return None
            if found.follows(self._content):
                with suppress(sqlite3.DatabaseError):
                    known = {run_id for (run_id,) in connection.execute("SELECT run_id FROM run")}
                    if found.runs <= known:
                        self._content = found
                        return False
            if not _is_whole(self._path):
                return None
            # The log may have been on its way into it, and be there by now.
            time.sleep(_LOOK_PAUSE_S)
        return True

    def drop_log(self) -> None:
        """Empty the log: what it has belongs to what was overwritten, and would be written over the rest."""
        for log in self._beside:
            if log.endswith("-wal"):
                with suppress(OSError):
                    os.truncate(log, 0)


@dataclass(frozen=True, slots=True)
class _Content:
    """What a database's file has without its log."""

    runs: frozenset[str]
    newest_invocation: int

    def follows(self, earlier: _Content) -> bool:
        """Return whether this can have become of an earlier content: nothing is ever removed."""
        return earlier.runs <= self.runs and earlier.newest_invocation <= self.newest_invocation


_NOTHING = _Content(frozenset(), 0)
_NO_DATABASE = _Content(frozenset(), -1)
_LOOKS, _LOOK_PAUSE_S = 3, 0.05


def _content_of(path: Path) -> _Content | None:
    """Return the content of a file without its log; None where its pages are of several states."""
    try:
        with closing(_without_log(path)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'run'").fetchone():
                return _NOTHING
            runs = frozenset(run_id for (run_id,) in connection.execute("SELECT run_id FROM run"))
            (newest,) = connection.execute("SELECT max(invocation_pk) FROM invocation").fetchone()
            return _Content(runs, newest or 0)
    except sqlite3.Error as error:
        return _NO_DATABASE if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB else None


def _is_whole(path: Path) -> bool:
    """Return whether the pages of a file without its log belong together, or are no database's."""
    try:
        with closing(_without_log(path)) as connection:
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            return str(said) == "ok"
    except sqlite3.Error as error:
        return error.sqlite_errorcode == sqlite3.SQLITE_NOTADB


def _without_log(path: Path) -> sqlite3.Connection:
    # By SQLite, not by open(): closing a file of ours would drop the locks that SQLite holds on it.
    return sqlite3.connect(f"file:{quote(os.fsencode(path.absolute()))}?mode=ro&immutable=1", uri=True)


def _identity_of(path: str) -> _Identity | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return (found.st_dev, found.st_ino)
