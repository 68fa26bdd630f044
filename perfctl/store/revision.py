"""Create a database, and recognise one that is older, newer or of other programs."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    insert,
    inspect,
    select,
)

from perfctl.errors import DatabaseUnavailable, SchemaMismatch
from perfctl.store import schema
from perfctl.store.tables import METADATA

_VERSION = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def read_revision(connection: Connection) -> str | None:
    """Return the revision of a database, None for one without tables.

    Raises DatabaseUnavailable when it is somebody else's.
    """
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return None
    row = None
    if {_VERSION.name, "run", "invocation"} <= tables:
        row = connection.execute(select(_VERSION)).first()
    if row is None:
        raise DatabaseUnavailable("this database was not made by perfctl", hint="name another file with --db")
    return str(row[0])


def require_revision(connection: Connection) -> str:
    """Return the revision of a database. Raises DatabaseUnavailable for one without tables, too."""
    revision = read_revision(connection)
    if revision is None:
        raise DatabaseUnavailable("the database is empty", hint="`perfctl run` makes its tables")
    return revision


def create(connection: Connection) -> None:
    """Make all tables and views and write the revision. The caller holds the transaction."""
    # Imported here so that opening a database that is there does not wait for it.
    from perfctl.store.views import create_views

    METADATA.create_all(connection, checkfirst=False)
    _VERSION.create(connection, checkfirst=False)
    connection.execute(insert(_VERSION).values(version_num=schema.REVISION))
    create_views(connection)


def require_current(revision: str) -> None:
    """Raise SchemaMismatch when a database of this revision cannot be used by this program."""
    if revision == schema.REVISION:
        return
    require_older(revision)
    raise SchemaMismatch(
        f"the database has schema {revision}, this perfctl needs {schema.REVISION}",
        hint="run `perfctl db upgrade`; it makes a backup first",
    )


def require_older(revision: str) -> None:
    """Raise SchemaMismatch when this program does not know the revision."""
    if revision.isdigit() and int(revision) <= int(schema.REVISION):
        return
    raise SchemaMismatch(
        f"the database has schema {revision}, this perfctl knows up to {schema.REVISION}",
        hint="upgrade perfctl; the database was not changed",
    )
