"""From one revision of the schema to the next, by Alembic: a backup first, then all or nothing.

Only `perfctl db upgrade` and tests come here; Alembic and SQLAlchemy take half a second to import.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

from perfctl.errors import DataError
from perfctl.store import schema
from perfctl.store.connection import connect

MIGRATIONS = Path(__file__).with_name("migrations")


def migrate(
    path: Path, *, target: str = "head", scripts: Path | None = None, busy_timeout_s: float = 30
) -> None:
    """Bring the file to the revision `target` in one transaction.

    Raises DataError when rows would be left without the row they refer to (nothing is changed then), and
    sqlite3.Error.
    """
    connection = connect(path, "rwc", busy_timeout_s=busy_timeout_s)
    # Batch mode drops a table and renames its copy. With foreign keys on, dropping deletes rows that refer
    # to it, without a word; and the switch does nothing inside a transaction.
    connection.execute("PRAGMA foreign_keys = OFF")
    try:
        with _engine(connection).begin() as transaction:
            _run_migrations(transaction, target, scripts or MIGRATIONS)
            _check_references(connection)
            schema.create_views(connection)
    finally:
        connection.close()


def _engine(connection: sqlite3.Connection) -> Engine:
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)

    @event.listens_for(engine, "begin")
    def begin(transaction: Connection) -> None:
        # The driver is in autocommit mode, so that tables and rows change in one transaction of ours.
        transaction.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _run_migrations(transaction: Connection, target: str, scripts: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = transaction
    # A view that names a table which is being replaced makes SQLite refuse the renaming.
    for (name,) in transaction.exec_driver_sql(
        "SELECT name FROM sqlite_master WHERE type = 'view'"
    ).fetchall():
        transaction.exec_driver_sql(f'DROP VIEW "{name}"')
    command.upgrade(config, target)


def _check_references(connection: sqlite3.Connection) -> None:
    broken = connection.execute("PRAGMA foreign_key_check").fetchall()
    if broken:
        tables = sorted({str(row[0]) for row in broken})
        raise DataError(
            f"the upgrade would leave {len(broken)} rows that refer to missing rows, in: {', '.join(tables)}",
            hint="nothing was changed; please report this",
        )
