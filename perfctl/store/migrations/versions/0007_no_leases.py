"""No leases: who may measure a host is known on the host itself."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop the table `lease`, which nothing has read or written since leases are on the hosts."""
    op.drop_table("lease")
