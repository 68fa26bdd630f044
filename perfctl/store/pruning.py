"""Remove what runs have measured, or what the programs printed alone, and leave a tombstone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    delete,
    func,
    insert,
    select,
    union,
    update,
)

from perfctl.errors import UsageError
from perfctl.store import tables as db
from perfctl.store.run_views import status_of_run
from perfctl.store.schema import OUTPUTS
from perfctl.store.store import Store

_KEYS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Pruned:
    """What is removed of one run. Raw outputs are those that no other run has; bytes are as stored."""

    run_id: str
    suite: str
    started_at: float
    invocations: int
    raw_outputs: int
    raw_bytes: int


def prune_runs(
    store: Store, runs: Sequence[str], *, older_than_days: float | None, raw_only: bool, dry_run: bool
) -> list[Pruned]:
    """Remove what runs have measured and return how much that was: the named ones, and those that old.

    By their end, and by their begin where they have none. With `raw_only` only what the programs printed is
    removed, and comparisons stay. Raises UsageError for a named run that is not over, or when none is named.
    """
    if not runs and older_than_days is None:
        raise UsageError("no run is named", hint="name some, or give --older-than DAYS")
    wanted = [store.run(run).id for run in runs]
    if older_than_days is not None:
        limit = time.time() - older_than_days * 86_400
        ended = {
            run.run_id: run.ended_at or run.started_at for run in store.runs() if run.status != "running"
        }
        wanted += [run_id for run_id, moment in ended.items() if moment < limit]

    def change(connection: Connection) -> list[Pruned]:
        with connection.begin_nested() as changes:
            found = prune(connection, tuple(dict.fromkeys(wanted)), raw_only=raw_only)
            if dry_run:
                changes.rollback()
        return found

    return store.writer.change(change)


def prune(connection: Connection, run_ids: Sequence[str], *, raw_only: bool) -> list[Pruned]:
    """Remove what the runs have measured and return how much that was. The caller holds the transaction.

    With `raw_only` their samples stay. A run of which nothing was left to remove is not among them. Raises
    UsageError for one that is not over.
    """
    found = []
    for run_id in run_ids:
        found_run = select(db.run, status_of_run.label("now")).where(db.run.c.run_id == run_id)
        run = connection.execute(found_run).one()
        if run.now == "running":
            hint = f"end it first: perfctl resume {run_id}"
            raise UsageError("the run is not over", where=f"run {run_id}", hint=hint)
        # One run after the other: what two of them share goes with the last.
        hashes, raw_bytes = _own_outputs(connection, run_id)
        counted = select(func.count()).select_from(db.invocation.join(db.block))
        invocations = connection.execute(counted.where(db.block.c.run_id == run_id)).scalar_one()
        done = Pruned(run_id, run.suite, run.started_at, invocations, len(hashes), raw_bytes)
        for start in range(0, len(hashes), _KEYS_AT_ONCE):
            # The row stays: to delete it the engine would look for the hash in all invocations.
            which = db.artifact.c.sha256.in_(hashes[start : start + _KEYS_AT_ONCE])
            connection.execute(update(db.artifact).where(which).values(content=b""))
        if not raw_only:
            _delete_measurements(connection, run_id)
        if _leave_tombstone(connection, done, "raw outputs" if raw_only else "run"):
            found.append(done)
    return found


def _delete_measurements(connection: Connection, run_id: str) -> None:
    blocks = select(db.block.c.block_id).where(db.block.c.run_id == run_id)
    invocations = select(db.invocation.c.invocation_pk).where(db.invocation.c.block_id.in_(blocks))
    for table in (db.sample, db.series, db.invocation_metric, db.invocation_artifact):
        connection.execute(delete(table).where(table.c.invocation_pk.in_(invocations)))
    connection.execute(delete(db.invocation).where(db.invocation.c.block_id.in_(blocks)))
    of_run: tuple[Table[Any], ...] = (db.block, db.host_snapshot, db.environment_snapshot, db.event)
    for table in of_run:
        connection.execute(delete(table).where(table.c.run_id == run_id))


def _own_outputs(connection: Connection, run_id: str) -> tuple[list[str], int]:
    """Return the raw outputs that are there and that no other run has, and how many bytes they take."""
    without = select(db.tombstone.c.run_id).where(db.tombstone.c.what == "raw outputs")
    others = and_(db.block.c.run_id != run_id, db.block.c.run_id.not_in(without))
    mine, of_others = _outputs(db.block.c.run_id == run_id), _outputs(others)
    size = func.length(db.artifact.c.content)
    which = (db.artifact.c.sha256.in_(mine), db.artifact.c.sha256.not_in(of_others), size > 0)
    rows = connection.execute(select(db.artifact.c.sha256, size).where(*which)).all()
    return [row[0] for row in rows], sum(row[1] for row in rows)


def _outputs(which: ColumnElement[bool]) -> Any:
    """Return what selects the hashes of the raw outputs of invocations, by their blocks."""
    kept = db.invocation_artifact
    selects: list[Select[Any]] = [
        select(sha256).join_from(db.invocation, db.block)
        for sha256 in (db.invocation.c[f"{name}_sha256"] for name in OUTPUTS)
    ]
    selects.append(select(kept.c.sha256).join_from(kept, db.invocation).join(db.block))
    return union(*(one.where(which, one.selected_columns[0].is_not(None)) for one in selects))


def _leave_tombstone(connection: Connection, done: Pruned, what: str) -> bool:
    """Say what was removed, also before, and return whether there was anything to remove."""
    of_this = (db.tombstone.c.run_id == done.run_id, db.tombstone.c.what == what)
    before = connection.execute(select(db.tombstone).where(*of_this)).one_or_none()
    if not (done.raw_outputs or (done.invocations and before is None)):
        return False
    row = {
        "run_id": done.run_id,
        "what": what,
        "pruned_at": time.time(),
        "invocations": done.invocations,
        "raw_outputs": done.raw_outputs + (before.raw_outputs if before else 0),
        "raw_bytes": done.raw_bytes + (before.raw_bytes if before else 0),
    }
    connection.execute(delete(db.tombstone).where(*of_this))
    connection.execute(insert(db.tombstone).values(row))
    return True
