"""The views that users' queries may rely on; docs/database.md describes every column, and a test compares.

They hold no data, so they need no migrations: they are made afresh after every upgrade.
"""

from __future__ import annotations

from sqlalchemy import Connection, inspect

from perfctl.store import invocation_views  # noqa: F401 (its views are among them)
from perfctl.store.run_views import VIEWS

__all__ = ["VIEWS", "create_views", "drop_views"]


def create_views(connection: Connection) -> None:
    """Drop all views and make this version's. The caller holds the transaction."""
    drop_views(connection)
    for view in VIEWS:
        connection.execute(view)


def drop_views(connection: Connection) -> None:
    """Drop all views, of whatever version."""
    quote = connection.dialect.identifier_preparer.quote
    for name in inspect(connection).get_view_names():
        connection.exec_driver_sql(f"DROP VIEW {quote(name)}")
