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
    if connection.dialect.name == "postgresql":
        for statement in _MEDIAN:
            connection.exec_driver_sql(statement)


def drop_views(connection: Connection) -> None:
    """Drop all views, of whatever version; on a server only ours: users may have made others there."""
    quote = connection.dialect.identifier_preparer.quote
    found = inspect(connection).get_view_names()
    if connection.dialect.name == "postgresql":
        found = [name for name in found if name in {view.table.name for view in VIEWS}]
        if found:
            # In one statement, as some read others.
            connection.exec_driver_sql(f"DROP VIEW {', '.join(map(quote, found))}")
        return
    for name in found:
        connection.exec_driver_sql(f"DROP VIEW {quote(name)}")


_MEDIAN = (
    """
    CREATE OR REPLACE FUNCTION perfctl_median(double precision[]) RETURNS double precision
    LANGUAGE sql IMMUTABLE AS $$
        SELECT (ordered[(count + 1) / 2] + ordered[(count + 2) / 2]) / 2
        FROM (
            SELECT array_agg(value ORDER BY value) AS ordered, CAST(count(*) AS integer) AS count
            FROM unnest($1) AS value WHERE value IS NOT NULL
        ) AS counted
    $$
    """,
    """
    CREATE OR REPLACE AGGREGATE median(double precision)
    (SFUNC = array_append, STYPE = double precision[], FINALFUNC = perfctl_median, INITCOND = '{}')
    """,
)
"""The aggregate that users' queries have on every engine."""
