"""From one revision of the schema to the next, by Alembic: all or nothing.

Only `perfctl db upgrade` and tests come here; Alembic takes a quarter of a second to import.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from perfctl.errors import DataError
from perfctl.store import postgresql
from perfctl.store.location import Location
from perfctl.store.sqlite import connected
from perfctl.store.views import create_views, drop_views

MIGRATIONS = Path(__file__).with_name("migrations")


def migrate(
    location: Location, *, target: str = "head", scripts: Path | None = None, busy_timeout_s: float = 30
) -> None:
    """Bring a database to the revision `target` in one transaction.

    Raises DataError when rows would be left without the row they refer to (nothing is changed then).
    """
    folder = scripts or MIGRATIONS
    if isinstance(location, Path):
        with connected(location, "rwc", busy_timeout_s=busy_timeout_s) as connection:
            # Batch mode drops a table and renames its copy. With foreign keys on, dropping deletes rows that
            # refer to it, without a word; and the switch does nothing inside a transaction.
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            connection.rollback()
            with connection.begin():
                # The driver is in autocommit mode, so that tables and rows change in one transaction of ours.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                _change(connection, target, folder)
        return
    with postgresql.connected(location, read_only=False, lock_timeout_s=busy_timeout_s) as connection:
        connection.rollback()
        with connection.begin():
            postgresql.lock_tables(connection)
            _change(connection, target, folder)


def _change(connection: Connection, target: str, scripts: Path) -> None:
    # A view that names a table which is being replaced makes the engine refuse that.
    drop_views(connection)
    _run_migrations(connection, target, scripts)
    if connection.dialect.name == "sqlite":
        _check_references(connection)
    create_views(connection)


def _run_migrations(transaction: Connection, target: str, scripts: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = transaction
    command.upgrade(config, target)


def _check_references(connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if broken:
        tables = sorted({str(row[0]) for row in broken})
        raise DataError(
            f"the upgrade would leave {len(broken)} rows that refer to missing rows, in: {', '.join(tables)}",
            hint="nothing was changed; please report this",
        )
