"""Views alone: values and samples name their host and suite. Views are made afresh after every upgrade."""

from __future__ import annotations

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change no table: `migrate` makes this version's views when this is over."""
