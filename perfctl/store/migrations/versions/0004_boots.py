"""Boots: how many vCPUs a guest had and how often it was booted; in the .sql file beside this one."""

from __future__ import annotations

from pathlib import Path

from alembic import op

from perfctl.store.schema import statements

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns. NULL for what was measured before: how many vCPUs a guest had was not kept with it."""
    for statement in statements(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")):
        op.get_bind().exec_driver_sql(statement)
