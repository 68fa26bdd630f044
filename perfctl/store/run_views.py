"""The views of runs and of attempts at blocks: `perfctl.store.views` has all."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, MetaData, Select, Table, and_, case, exists, func, or_, select, tuple_
from sqlalchemy.schema import CreateView

from perfctl.store import tables as db
from perfctl.store.dialect import utc_text
from perfctl.store.schema import INVOCATION_STATUSES

VIEWS: list[CreateView] = []
"""All views, each after those that it reads."""


def view_of(name: str, statement: Select[*tuple[Any, ...]]) -> Table[Any]:
    """Return a view as a table to select from; it is in VIEWS from now on."""
    view = CreateView(statement, name, metadata=MetaData())
    VIEWS.append(view)
    return view.table


def columns_of(table: Table[Any], names: str) -> list[ColumnElement[Any]]:
    """Return the columns of these names."""
    return [table.c[name] for name in names.split()]


_tally = (
    select(
        db.block.c.run_id,
        func.count().label("invocations"),
        *(
            func.count().filter(db.invocation.c.status == status).label(status)
            for status in INVOCATION_STATUSES
        ),
    )
    .join_from(db.block, db.invocation)
    .group_by(db.block.c.run_id)
    .subquery("tally")
)

_shard = db.shard.c
_of_shards = _shard.run_id == db.run.c.run_id


def _with_shard(status: str) -> ColumnElement[bool]:
    return exists().where(_of_shards, _shard.status == status)


_begun = select(func.count()).where(_of_shards).scalar_subquery()
_all = select(func.coalesce(func.max(_shard.shard_count), 1)).where(_of_shards).scalar_subquery()
status_of_run = case(
    (exists().where(db.tombstone.c.run_id == db.run.c.run_id, db.tombstone.c.what == "run"), "pruned"),
    (db.run.c.status != "planned", db.run.c.status),
    (_with_shard("running"), "running"),
    (_begun < _all, "planned"),
    (_with_shard("interrupted"), "interrupted"),
    (_with_shard("partial"), "partial"),
    else_="complete",
)
"""What became of a run: of one that is measured in shards its shards say so, once all were begun."""
ended_at_of_run = case(
    (db.run.c.status != "planned", db.run.c.ended_at),
    (or_(_with_shard("running"), _begun < _all), None),
    else_=select(func.max(_shard.ended_at)).where(_of_shards).scalar_subquery(),
)
"""When its last shard ended, once all have."""

v_run = view_of(
    "v_run",
    select(
        *columns_of(db.run, "run_id suite"),
        status_of_run.label("status"),
        *columns_of(db.run, "baseline seed"),
        utc_text(db.run.c.started_at).label("started"),
        utc_text(ended_at_of_run).label("ended"),
        (ended_at_of_run - db.run.c.started_at).label("duration_s"),
        select(func.count()).where(db.run_host.c.run_id == db.run.c.run_id).scalar_subquery().label("hosts"),
        db.run.c.planned_invocations,
        *(func.coalesce(_tally.c[name], 0).label(name) for name in ("invocations", *INVOCATION_STATUSES)),
        db.run.c.perfctl_version,
    ).join_from(db.run, _tally, _tally.c.run_id == db.run.c.run_id, isouter=True),
)

_other = db.block.alias("other")
v_block = view_of(
    "v_block",
    select(
        *columns_of(db.block, "block_id run_id benchmark target"),
        db.block.c.block_index.label("block"),
        db.block.c.attempt,
        db.block.c.status,
        # The one place that says which attempt at a block counts.
        and_(
            db.block.c.status != "running",
            ~exists().where(
                *(
                    _other.c[name] == db.block.c[name]
                    for name in ("run_id", "benchmark", "target", "block_index")
                ),
                _other.c.status != "running",
                tuple_(_other.c.status == "complete", _other.c.attempt)
                > tuple_(db.block.c.status == "complete", db.block.c.attempt),
            ),
        ).label("attempt_counts"),
        utc_text(db.block.c.started_at).label("started"),
        utc_text(db.block.c.ended_at).label("ended"),
    ),
)
