"""The first schema, in the .sql file beside this one."""

from __future__ import annotations

from pathlib import Path

from alembic import op

from perfctl.store.schema import statements

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all tables."""
    for statement in statements(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")):
        op.get_bind().exec_driver_sql(statement)
