"""Pruning: a tombstone says what was removed of a run, when, and how much that was."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TEXT = sa.TEXT().with_variant(sa.TEXT(collation="C"), "postgresql")
_NUMBER = sa.BigInteger().with_variant(sa.INTEGER(), "sqlite")
_MOMENT: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")


def upgrade() -> None:
    """Make the table: nothing was pruned so far."""
    op.create_table(
        "tombstone",
        sa.Column("run_id", _TEXT, nullable=False),
        sa.Column("what", _TEXT, nullable=False),
        sa.Column("pruned_at", _MOMENT, nullable=False),
        sa.Column("invocations", _NUMBER, nullable=False),
        sa.Column("raw_outputs", _NUMBER, nullable=False),
        sa.Column("raw_bytes", _NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "what", name="pk_tombstone"),
        sa.CheckConstraint("what IN ('run', 'raw outputs')", name=op.f("ck_tombstone_what")),
        sa.ForeignKeyConstraint(["run_id"], ["run.run_id"], name="fk_tombstone_run_id_run"),
        sqlite_strict=True,
    )
