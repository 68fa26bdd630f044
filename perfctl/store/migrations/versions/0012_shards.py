"""Shards: the parts of a planned run, each measured by one controller."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_TEXT = sa.TEXT().with_variant(sa.TEXT(collation="C"), "postgresql")
_NUMBER = sa.BigInteger().with_variant(sa.INTEGER(), "sqlite")
_MOMENT: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
_STATUSES = "status IN ('planned', 'running', 'complete', 'partial', 'interrupted')"


def upgrade() -> None:
    """Make the table, and let a run be 'planned': what became of it is said by its shards."""
    op.create_table(
        "shard",
        sa.Column("run_id", _TEXT, nullable=False),
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("shard_count", _NUMBER, nullable=False),
        sa.Column("controller", _TEXT, nullable=False),
        sa.Column("begun_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT, nullable=True),
        sa.Column("status", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "number", name="pk_shard"),
        sa.CheckConstraint("number >= 1 AND number <= shard_count", name=op.f("ck_shard_number")),
        sa.CheckConstraint(
            "status IN ('running', 'complete', 'partial', 'interrupted')", name=op.f("ck_shard_status")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.run_id"], name="fk_shard_run_id_run"),
        sqlite_strict=True,
    )
    with op.batch_alter_table("run", table_kwargs={"sqlite_strict": True}) as run:
        run.drop_constraint(op.f("ck_run_status"), type_="check")
        run.create_check_constraint(op.f("ck_run_status"), _STATUSES)
