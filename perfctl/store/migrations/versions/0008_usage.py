"""Usage: the processor time, memory, page faults and context switches of each invocation's command."""

from __future__ import annotations

from pathlib import Path

from alembic import op

from perfctl.store.schema import statements

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns. NULL for what was measured before: it was not kept."""
    for statement in statements(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")):
        op.get_bind().exec_driver_sql(statement)
