"""Whether the file at a database's path is still the one that was opened, whole and with its log."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

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
        found = path.stat()
        self._identity = (found.st_dev, found.st_ino)
        self._size_bytes = found.st_size
        self._page_bytes = int(connection.execute("PRAGMA page_size").fetchone()[0])
        real = os.path.realpath(path)
        beside = (Path(f"{real}{suffix}") for suffix in ("-wal", "-shm"))
        # They stay as long as anybody has the database open.
        self._beside = {log: identity for log in beside if (identity := _identity_of(log))}

    def require(self, connection: sqlite3.Connection) -> None:
        """Raise DatabaseMoved when the path does not lead to the opened file any more, or it was cut."""
        for text in self._differences(connection):
            raise DatabaseMoved(f"the database is not what it was: {text}", where=str(self._path), hint=_HINT)

    def _differences(self, connection: sqlite3.Connection) -> Iterator[str]:
        try:
            found = self._path.stat()
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
        for log, identity in self._beside.items():
            if _identity_of(log) != identity:
                yield f"{log.name} was moved, deleted or replaced while it was written"


def _identity_of(path: Path) -> _Identity | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino)
