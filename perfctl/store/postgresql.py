"""A database on a PostgreSQL server: every call has a time limit, a commit is certain, errors are messages.

A server that goes away while a run is stored is waited for. Whether the commit that it was given last is in
the database is not guessed: the server itself knows the transaction by its number.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from sqlalchemy import Connection, Engine, bindparam, create_engine, text

from perfctl.errors import DatabaseLost, DatabaseUnavailable, DataError, QueryError
from perfctl.store import revision
from perfctl.store.location import WAYS_OF_PASSWORDS, Server
from perfctl.store.tables import METADATA

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")

OLDEST_VERSION = 14
CONNECT_TIMEOUT_S = 10
STATEMENT_TIMEOUT_S = 600
"""Of a statement of ours; those of users have their own."""
_IDLE_TIMEOUT_S = 60
"""After this long the server undoes a transaction whose client says nothing more, and frees its locks."""
_RETRIES = 5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 15.0
_DDL_LOCK = 5_784_937_201_150
"""Who makes or changes the tables holds the server's advisory lock of this number."""

_CONNECTION = {
    "application_name": "perfctl",
    "connect_timeout": str(CONNECT_TIMEOUT_S),
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}

_log = logging.getLogger(__name__)

_MESSAGES = {
    "25006": ("the database cannot be written", "is the server a standby? name the primary one"),
    "28000": ("the server does not let this role in", "see its pg_hba.conf, and docs/postgresql.md"),
    "28P01": ("the server refuses the password", WAYS_OF_PASSWORDS),
    "3D000": ("there is no such database on the server", "createdb makes one; see docs/postgresql.md"),
    "42501": (
        "the role lacks rights",
        "make it the database's owner, or see docs/postgresql.md for the rights of writers and readers",
    ),
    "53100": ("the disk of the database's server is full", "free some space there, then try again"),
    "53300": ("the server has no connection left", "end other programs there, or raise max_connections"),
    "55P03": ("the database is locked by another program", "wait for it to end, then try again"),
    "57014": ("the server ended a statement that took too long", "look at the load of the server"),
    "XX001": ("the database is damaged", "restore a backup (pg_restore)"),
    "XX002": ("an index of the database is damaged", "REINDEX it, or restore a backup (pg_restore)"),
}
"""SQLSTATE -> what it means for the user, and what to do."""

_CONNECTING = (
    (("password authentication failed", "no password supplied"), "28P01"),
    (("no pg_hba.conf entry", "Peer authentication failed", "is not permitted to log in"), "28000"),
    (("permission denied for database",), "42501"),
    (("sorry, too many clients", "remaining connection slots"), "53300"),
)
"""What libpq says where it has no SQLSTATE, because there was no connection yet."""
_NO_ANSWER = (
    ("could not translate host name", "Name or service not known"),
    ("Connection refused", "No such file or directory", "timeout expired", "No route to host"),
)


def _psycopg() -> Any:
    """Return the driver. Raises DatabaseUnavailable where it is not installed."""
    try:
        import psycopg
    except ImportError as error:
        raise DatabaseUnavailable(
            "a database on a PostgreSQL server needs the driver psycopg, which is not installed",
            hint="pip install 'perfctl[postgresql]'",
        ) from error
    return psycopg


def connect(server: Server, *, read_only: bool, lock_timeout_s: float = 30.0) -> psycopg.Connection[Any]:
    """Return a connection with time limits for all that it does. Raises psycopg.Error."""
    named = {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "password": server.password,
        "dbname": server.database,
        "client_encoding": "utf8",
    }
    given = {name: value for name, value in named.items() if value is not None}
    connection = _psycopg().connect(**(_CONNECTION | dict(server.options) | given))
    settings = {
        "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
        "lock_timeout": f"{round(lock_timeout_s * 1000)}ms",
        "idle_in_transaction_session_timeout": f"{_IDLE_TIMEOUT_S}s",
        "default_transaction_read_only": "on" if read_only else "off",
    }
    with connection.cursor() as cursor:
        cursor.execute("".join(f"SET {name} = '{value}';" for name, value in settings.items()))
    connection.commit()
    return cast("psycopg.Connection[Any]", connection)


def engine_of(server: Server, *, read_only: bool, lock_timeout_s: float = 30.0) -> Engine:
    """Return an engine with few connections (of `connect`), for any number of threads."""
    _psycopg()
    return create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect(server, read_only=read_only, lock_timeout_s=lock_timeout_s),
        use_native_hstore=False,
        pool_size=2 if read_only else 1,
        max_overflow=0,
        pool_timeout=STATEMENT_TIMEOUT_S,
        pool_pre_ping=read_only,
    )


@contextmanager
def translated(server: Server) -> Iterator[None]:
    """Turn the driver's errors into DatabaseLost, DatabaseUnavailable or DataError."""
    try:
        yield
    except (DatabaseUnavailable, DataError) as error:
        error.where = error.where or str(server)
        raise
    except Exception as error:
        cause = getattr(error, "orig", None) or error
        if isinstance(cause, UnicodeEncodeError):
            raise QueryError("this is not UTF-8 text", where=str(server), hint="type it in UTF-8") from error
        if not isinstance(cause, _psycopg().Error):
            raise
        raise error_of(cause, server) from error


def error_of(cause: psycopg.Error, server: Server) -> DataError:
    """Return the driver's error in words for the user."""
    said = " ".join(str(cause).split())
    state = cause.sqlstate or next((state for texts, state in _CONNECTING if _has(said, texts)), "")
    where = str(server)
    if state == "" and 'database "' in said and "does not exist" in said:
        state = "3D000"
    if state in _MESSAGES:
        message, hint = _MESSAGES[state]
        detail = "" if state in ("28P01", "3D000", "55P03") else f": {said}"
        return DatabaseUnavailable(message + detail, where=where, hint=hint)
    if state[:2] == "23":
        return DataError(f"the database refused a row: {said}", where=where)
    if state[:2] == "22" or isinstance(cause, _psycopg().DataError):
        return DataError(f"the database refused a value: {said}", where=where)
    if _has(said, _NO_ANSWER[0]):
        return DatabaseLost(f"there is no host {server.host}", where=where, hint="check the URL's host")
    if state == "" or state[:2] in ("08", "57"):
        no_answer = _has(said, _NO_ANSWER[1])
        message = "no PostgreSQL server answers there" if no_answer else f"the server was lost: {said}"
        hint = "see whether it runs, and listens there (listen_addresses in postgresql.conf)"
        return DatabaseLost(message, where=where, hint=hint)
    return DatabaseUnavailable(f"database error: {said}", where=where)


def _has(said: str, texts: tuple[str, ...]) -> bool:
    return any(part in said for part in texts)


@contextmanager
def connected(server: Server, *, read_only: bool, lock_timeout_s: float = 30.0) -> Iterator[Connection]:
    """Connect to a database of any schema for as long as the context lasts."""
    engine = engine_of(server, read_only=read_only, lock_timeout_s=lock_timeout_s)
    with translated(server):
        try:
            with engine.connect() as connection:
                _require_server(connection)
                yield connection
        finally:
            engine.dispose()


def _require_server(connection: Connection) -> None:
    """Raise DatabaseUnavailable for a server that is too old, or a database of another encoding."""
    info = driver_of(connection).info
    if info.server_version < OLDEST_VERSION * 10_000:
        raise DatabaseUnavailable(
            f"the server is PostgreSQL {info.server_version // 10_000}",
            hint=f"upgrade the server: {OLDEST_VERSION} is the oldest version that works",
        )
    encoding = info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise DatabaseUnavailable(
            f"the database has the encoding {encoding}", hint="make one with: createdb -E UTF8 -T template0"
        )


def driver_of(connection: Connection) -> psycopg.Connection[Any]:
    """Return the driver's connection, for what is PostgreSQL's own."""
    return cast("psycopg.Connection[Any]", connection.connection.driver_connection)


def lock_tables(connection: Connection) -> None:
    """Keep others from making or changing tables until the end of the transaction."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _DDL_LOCK})


@dataclass(slots=True)
class _Change(Generic[T]):
    """What is to be done in a transaction, and its number while nobody knows whether it was committed."""

    job: Callable[[Connection], T]
    number: str | None = None
    answer: T | None = None


class PostgresqlDatabase:
    """An open database on a server; a `perfctl.store.database.Database`."""

    def __init__(
        self, server: Server, *, create: bool, read_only: bool, lock_timeout_s: float, patience_s: float
    ) -> None:
        """Open a database of the current schema, whose tables are made first if `create` and it has none.

        Raises DatabaseUnavailable (no server, role, database, right, or not ours), SchemaMismatch.
        """
        self.location = self._server = server
        self.name = str(server)
        self.is_read_only = read_only
        # What is wrong now is said now: only a server that was there is waited for.
        self._patience_s = 0.0
        self._impatient = threading.Event()
        self._reader = engine_of(server, read_only=True)
        self._writer = (
            None if read_only else engine_of(server, read_only=False, lock_timeout_s=lock_timeout_s)
        )
        try:
            with translated(server), (self._writer or self._reader).connect() as connection:
                _require_server(connection)
                if create and self._writer is not None:
                    _make_tables(connection)
                revision.require_current(revision.require_revision(connection))
                connection.rollback()
                if self._writer is not None:
                    _require_rights(connection)
        except BaseException:
            self.close()
            raise
        self._patience_s = patience_s

    def close(self) -> None:
        """Close all connections; again is harmless."""
        self.stop_waiting()
        self._reader.dispose()
        if self._writer is not None:
            self._writer.dispose()

    def stop_waiting(self) -> None:
        """Have whatever waits for a lost server give up, now and from now on."""
        self._impatient.set()

    def read(self, job: Callable[[Connection], T]) -> T:
        """Return what `job` reads by a connection."""

        def once() -> T:
            with self._reader.connect() as connection, _broken_is_closed(connection):
                return job(connection)

        return self._patiently(once)

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Yield a connection that sees the database as it is now, whatever is written meanwhile."""
        with translated(self._server), self._reader.connect() as connection:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield connection

    def transact(self, job: Callable[[Connection], T]) -> T:
        """Return what `job` returns after its changes were committed; undo them after an error."""
        change = _Change(job)
        return self._patiently(lambda: self._try(change))

    def _try(self, change: _Change[T]) -> T:
        if self._writer is None:
            raise DatabaseUnavailable("the database was opened for reading only")
        with self._writer.connect() as connection, _broken_is_closed(connection):
            if change.number is not None and _is_committed(connection, change.number):
                return cast("T", change.answer)
            change.number = None
            with connection.begin():
                change.answer = change.job(connection)
                number = connection.exec_driver_sql("SELECT CAST(pg_current_xact_id() AS text)").scalar_one()
                change.number = str(number)
            return change.answer

    def _patiently(self, attempt: Callable[[], T]) -> T:
        """Return what an attempt returns; try again while the server is away, and after a deadlock."""
        pause_s, deadline, conflicts = _FIRST_PAUSE_S, 0.0, 0
        while True:
            try:
                with translated(self._server):
                    answer = attempt()
                if deadline:
                    _log.warning("%s: the server is back", self.name)
                return answer
            except DatabaseUnavailable as error:
                if _is_conflict(error) and conflicts < _RETRIES:
                    conflicts += 1
                    continue
                # Who holds the lock may be our own transaction, whose end the server has not seen yet.
                if not (isinstance(error, DatabaseLost) or (deadline and _state_of(error) == "55P03")):
                    raise
                now = time.monotonic()
                if not deadline:
                    deadline = now + self._patience_s
                    if self._patience_s and not self._impatient.is_set():
                        text = "%s: %s; waiting for the server, up to %g s (--db-patience)"
                        _log.warning(text, self.name, error.message, self._patience_s)
                if now >= deadline or self._impatient.wait(min(pause_s, deadline - now)):
                    raise
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _state_of(error: DatabaseUnavailable) -> str:
    cause = error.__cause__
    return getattr(getattr(cause, "orig", None) or cause, "sqlstate", None) or ""


def _is_conflict(error: DatabaseUnavailable) -> bool:
    """Return whether two transactions were in each other's way, so that one had to be undone."""
    return _state_of(error) in ("40001", "40P01")


@contextmanager
def _broken_is_closed(connection: Connection) -> Iterator[None]:
    """Have a connection that broke while the driver was used directly not be used again."""
    try:
        yield
    except BaseException:
        with suppress(Exception):
            if driver_of(connection).closed:
                connection.invalidate()
        raise


def _is_committed(connection: Connection, number: str) -> bool:
    """Return whether a transaction whose end was not heard of is in the database.

    One that still waits for a client that is gone is ended.
    """
    deadline = time.monotonic() + _IDLE_TIMEOUT_S
    given = {"number": number}
    while True:
        try:
            status = connection.execute(_STATUS, given).scalar_one()
        except Exception as error:
            # After a crash the server may not have heard of it: numbers go on after the last that was kept.
            if getattr(getattr(error, "orig", None), "sqlstate", None) != "22023":
                raise
            status = "aborted"
        if status == "in progress":
            connection.execute(_END, given)
        connection.rollback()
        if status != "in progress" or time.monotonic() > deadline:
            return bool(status == "committed")
        time.sleep(_FIRST_PAUSE_S)


_STATUS = text("SELECT pg_xact_status(CAST(:number AS xid8))")
_END = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE backend_xid = CAST(CAST(:number AS xid8) AS xid)"
)


def _make_tables(connection: Connection) -> None:
    """Make all tables where there are none; of two that come at once the second finds them made."""
    if revision.read_revision(connection) is not None:
        return
    connection.rollback()
    with connection.begin():
        lock_tables(connection)
        if revision.read_revision(connection) is None:
            revision.create(connection)


def _require_rights(connection: Connection) -> None:
    """Raise DatabaseUnavailable now, not after the first measurement, where a write would fail."""
    with connection.begin():
        if connection.exec_driver_sql("SHOW transaction_read_only").scalar_one() == "on":
            message, hint = _MESSAGES["25006"]
            raise DatabaseUnavailable(message, hint=hint)
        statement = text(
            "SELECT DISTINCT name FROM unnest(CAST(:names AS text[])) AS name,"
            " unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege"
            " WHERE NOT has_table_privilege(CAST(name AS regclass), privilege) ORDER BY name"
        ).bindparams(bindparam("names", sorted(METADATA.tables)))
        missing = connection.execute(statement).scalars().all()
        if missing:
            raise DatabaseUnavailable(
                f"the role may not write the tables {', '.join(missing[:3])}{', ...' if missing[3:] else ''}",
                hint=_MESSAGES["42501"][1],
            )
