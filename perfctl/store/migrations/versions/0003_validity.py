"""Validity: whether each invocation counts and why, and a run's limits; in the .sql file beside this one."""

from __future__ import annotations

from pathlib import Path

from alembic import op

from perfctl.store.schema import statements

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns. What was measured before was never judged, and says so by NULL."""
    for statement in statements(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")):
        op.get_bind().exec_driver_sql(statement)
