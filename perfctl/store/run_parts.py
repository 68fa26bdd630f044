"""What the readers of a run share: the blocks of its plan, and the values measured in them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Join, and_, case, func, literal, null, select

from perfctl.errors import DataError, UnknownName
from perfctl.model import USAGE_METRICS, Reason
from perfctl.store import tables as db
from perfctl.store.database import Database
from perfctl.store.invocation_views import peer
from perfctl.store.reader import Reader, only
from perfctl.store.run_records import Tombstone
from perfctl.store.run_views import v_block

BLOCKS = (
    db.block.join(v_block, v_block.c.block_id == db.block.c.block_id)
    .join(
        db.run_benchmark,
        and_(
            db.run_benchmark.c.run_id == db.block.c.run_id,
            db.run_benchmark.c.name == db.block.c.benchmark,
        ),
    )
    .join(db.host, db.host.c.host_id == db.block.c.host_id)
    .outerjoin(peer, peer.c.host_id == db.block.c.peer_id)
)
"""Attempts at blocks, with what they measure where."""

IN_PLAN_ORDER = (db.run_benchmark.c.position, db.block.c.target, db.block.c.block_index)
BLOCK = (
    db.block.c.block_id,
    db.block.c.benchmark,
    db.host.c.name,
    peer.c.name.label("peer"),
    db.block.c.block_index,
)


class OfRun(Reader):
    """Reads of one run, whatever has become of it since it was named."""

    def __init__(self, database: Database, run: str) -> None:
        """Find the run that `run` names: an id, its unique beginning or end, or 'latest'.

        Raises UnknownName when there is none, or more than one.
        """
        super().__init__(database)
        self.id = self._find(run)

    def _find(self, wanted: str) -> str:
        if wanted == "latest":
            newest = self._row(select(db.run.c.run_id).order_by(db.run.c.rowid.desc()).limit(1))
            if newest is None:
                raise UnknownName("the database has no run yet", hint="`perfctl run --suite cpu` makes one")
            return str(newest.run_id)
        ids = (str(run_id) for (run_id,) in self._rows(select(db.run.c.run_id).order_by(db.run.c.run_id)))
        return only("run", wanted, ids, hint="`perfctl runs` lists them; 'latest' is the newest")

    def pruned(self) -> tuple[Tombstone, ...]:
        """Return what was removed of the run to save space."""
        gone = db.tombstone.c
        rows = self._rows(
            select(gone.what, gone.pruned_at, gone.invocations, gone.raw_outputs, gone.raw_bytes)
            .where(gone.run_id == self.id)
            .order_by(gone.pruned_at)
        )
        return tuple(Tombstone(*row) for row in rows)

    def require_kept(self) -> None:
        """Raise DataError when what the run has measured was pruned."""
        if any(item.what == "run" for item in self.pruned()):
            raise DataError(
                "what it has measured was pruned",
                where=f"run {self.id}",
                hint="a backup from before still has it",
            )


def with_values(
    blocks: FromClause, block_id: ColumnElement[str], metric: str
) -> tuple[Join, tuple[ColumnElement[Any], ...]]:
    """Return the invocations of blocks, and their value of a metric, its unit, its samples and its output."""
    measured, found = db.invocation.c, db.invocation_metric.c
    invocations = blocks.join(db.invocation, measured.block_id == block_id).join(
        db.environment, db.environment.c.environment_id == measured.environment_id
    )
    for used in USAGE_METRICS:
        if used.name == metric:
            samples = case((measured[metric].is_not(None), 1), else_=0)
            # It is in no output.
            return invocations, (measured[metric], literal(used.unit), samples, null())
    numbers = select(db.metric.c.metric_pk).where(db.metric.c.name == metric)
    values = and_(found.invocation_pk == measured.invocation_pk, found.metric_pk.in_(numbers))
    joined = invocations.outerjoin(db.invocation_metric, values).outerjoin(
        db.metric, db.metric.c.metric_pk == found.metric_pk
    )
    return joined, (
        found.value,
        db.metric.c.unit,
        func.coalesce(found.sample_count, 0),
        measured.stdout_sha256,
    )


def reason_of(text: str | None) -> Reason | None:
    return Reason(text) if text else None
