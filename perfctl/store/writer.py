"""The one connection that writes: every change is one transaction, committed before its caller goes on."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from perfctl.errors import DatabaseMoved, DatabaseUnavailable
from perfctl.store.connection import NOTICE_S, is_locked, say_locked, set_busy_timeout, translated
from perfctl.store.opened_file import OpenedFile

T = TypeVar("T")


class Writer:
    """Runs jobs one after another, each in its own transaction."""

    def __init__(self, connection: sqlite3.Connection, path: Path, busy_timeout_s: float) -> None:
        self._connection = connection
        self._busy_timeout_s = busy_timeout_s
        self._path = path
        with translated(path):
            self._file = OpenedFile(path, connection)
        self._turn = threading.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="perfctl-writer")
        """For the main thread, whom an interrupt must not leave half way."""
        self._is_open = True

    def do(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `job` returns, after its commit. Its errors, and the database's, reach the caller.

        Raises DatabaseMoved when what is committed would not be, or is not, in the file at the path. An
        interrupt while waiting does not undo the job: it is committed all the same.
        """
        if not self._is_open:
            raise DatabaseUnavailable("the database was closed", where=str(self._path))
        if threading.current_thread() is threading.main_thread():
            return self._thread.submit(self._transact, job).result()
        # To hand it over and wait costs as much as a third of an invocation's transaction.
        return self._transact(job)

    def _transact(self, job: Callable[[sqlite3.Connection], T]) -> T:
        with self._turn, translated(self._path):
            try:
                # A log without its file is taken by whatever has the file's name: nothing is written then.
                self._file.require(self._connection)
                self._begin()
                result = job(self._connection)
                self._file.require(self._connection)
                self._connection.execute("COMMIT")
                # What went away in the meantime must not be taken for stored.
                self._file.require(self._connection)
            except BaseException as error:
                # After a full disk or an I/O error SQLite may have rolled back by itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if isinstance(error, DatabaseMoved):
                    self._leave_whole()
                raise
        return result

    def _begin(self) -> None:
        """Begin a transaction; say so when another program holds the database for long."""
        noticed_s = min(NOTICE_S, self._busy_timeout_s)
        set_busy_timeout(self._connection, noticed_s)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            left_s = self._busy_timeout_s - noticed_s
            if not is_locked(error) or left_s <= 0:
                raise
            say_locked(self._path, left_s)
            set_busy_timeout(self._connection, left_s)
            self._connection.execute("BEGIN IMMEDIATE")

    def _leave_whole(self) -> None:
        """Write the log into the opened file, wherever that is now: it is whole without a file beside it.

        A log that stayed behind would be applied to whatever has taken its place. Where something else is in
        the opened file itself, the log must not get into that.
        """
        if self._file.is_overwritten:
            self._file.drop_log()
            return
        with suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Wait for the jobs already given, then close the connection; again is harmless."""
        self._is_open = False
        self._thread.shutdown(wait=True)
        with self._turn:
            self._connection.close()
