"""Guests: which accelerator ran one, and what is kept of it; in the .sql file beside this one."""

from __future__ import annotations

from pathlib import Path

from alembic import op

from perfctl.store.schema import statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns and a table. No table is rebuilt: what is there stays untouched."""
    for statement in statements(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")):
        op.get_bind().exec_driver_sql(statement)
