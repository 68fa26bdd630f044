"""The one thread that writes: every change is one transaction, committed before its caller goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from perfctl.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from perfctl.store.sqlite import SqliteDatabase

T = TypeVar("T")


class Writer:
    """Runs jobs one after another, in the order in which they come, each in its own transaction."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="perfctl-writer")
        self._is_open = True

    def do(self, job: Callable[[Connection], T]) -> T:
        """Return what `job` returns, after its commit. Its errors, and the database's, reach the caller.

        Raises DatabaseMoved when what is committed would not be, or is not, in the file at the path. An
        interrupt while waiting does not undo the job: it is committed all the same.
        """
        if not self._is_open:
            raise DatabaseUnavailable("the database was closed", where=str(self._database.path))
        return self._thread.submit(self._transact, job).result()

    def _transact(self, job: Callable[[Connection], T]) -> T:
        with self._database.transaction() as connection:
            return job(connection)

    def close(self) -> None:
        """Wait for the jobs already given; again is harmless."""
        self._is_open = False
        self._thread.shutdown(wait=True)
