"""Definitions: the workload that a user defined, with each benchmark of it, and how long a command took."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TEXT = sa.TEXT().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add columns: no benchmark had a definition, and how long a command took was not measured inside."""
    op.add_column("benchmark", sa.Column("definition", _TEXT, nullable=True))
    connection = op.get_bind()
    real = "REAL" if connection.dialect.name == "sqlite" else "DOUBLE PRECISION"
    # Alembic would add the column without what it must satisfy.
    column = f"wall_s {real}\n\tCONSTRAINT ck_invocation_wall_s CHECK (wall_s >= 0)"
    connection.exec_driver_sql(f"ALTER TABLE invocation ADD COLUMN {column}")
