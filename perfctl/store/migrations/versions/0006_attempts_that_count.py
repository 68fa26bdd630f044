"""Views alone: `v_block` and `attempt_counts` name the attempt at a block that comparisons use."""

from __future__ import annotations

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change no table: `migrate` makes this version's views when this is over."""
