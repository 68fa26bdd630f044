"""What merging has to know of each table: its key, what may change in a row, and which rows a run has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, select, union

from perfctl.store import tables as db

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """How the rows of a table are told apart, compared and chosen."""

    table: Table[Any]
    ignored: tuple[str, ...] = ()
    """Columns that are no part of what a row says: those of the row that was there first are kept."""
    changing: tuple[str, ...] = ()
    """Columns that may change after a row was written."""
    progress: Callable[[Row], Any] = lambda _: 0
    """How far a row with `changing` columns has come: those of the row that is further are taken."""
    also_read: tuple[ColumnElement[Any], ...] = ()
    """What `progress` has to know besides the columns."""
    also_unique: tuple[str, ...] = ()
    """Columns that no two rows of different keys have in common."""

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that name a row in every database."""
        if f"{self.table.name}_pk" in self.table.c:
            return (f"{self.table.name}_id",)
        return tuple(column.name for column in self.table.primary_key.columns)

    @property
    def compared(self) -> tuple[str, ...]:
        """The columns that are the same in every copy of a row."""
        others = {"rowid", f"{self.table.name}_pk", *self.ignored, *self.changing}
        return tuple(column.name for column in self.table.columns if column.name not in others)


OF_INVOCATION = (db.invocation_artifact, db.sample, db.series, db.invocation_metric)
"""What an invocation has, by its number in the database."""
OUTPUTS = tuple(column.name for column in db.invocation.columns if column.name.endswith("_sha256"))
_STATUSES = ("planned", "running", "interrupted", "partial", "complete")


def _progress(row: Row) -> tuple[Any, ...]:
    return row.get("planned_invocations"), _STATUSES.index(row["status"]), row["ended_at"] or 0.0


_MACHINE = select(db.host.c.machine).where(db.host.c.host_id == db.run_host.c.host_id).scalar_subquery()
_SPECIAL: dict[Table[Any], Rule] = {
    rule.table: rule
    for rule in (
        Rule(db.run, changing=("plan_json", "planned_invocations", "status", "ended_at"), progress=_progress),
        Rule(
            db.block,
            changing=("status", "ended_at"),
            progress=lambda row: row["status"] != "running",
            also_unique=("run_id", "benchmark", "target", "block_index", "attempt"),
        ),
        Rule(db.shard, changing=("status", "ended_at"), progress=_progress),
        # A host of a run is another row once its machine is known.
        Rule(
            db.run_host,
            changing=("host_id",),
            progress=lambda row: row["machine"] is not None,
            also_read=(_MACHINE.label("machine"),),
        ),
        Rule(db.environment, ignored=("description",)),
        Rule(db.benchmark, ignored=("scope", "expected_s")),
        Rule(db.metric, ignored=("description", "show_difference")),
    )
}
INVOCATIONS = Rule(db.invocation)
RULES = tuple(
    _SPECIAL.get(table, Rule(table))
    for table in db.METADATA.sorted_tables
    if table not in (*OF_INVOCATION, db.invocation, db.artifact, db.tombstone)
)
"""Tables that have few rows for each run, each after those that it refers to."""

_OWNERS: dict[Table[Any], Table[Any]] = {
    db.invocation: db.block,
    db.workload_version: db.fingerprint,
    **dict.fromkeys(OF_INVOCATION, db.invocation),
}
_LONG = (db.sample, db.series)
"""Every metric that they have is in `invocation_metric`, too."""


def of_run(table: Table[Any], run_id: str) -> ColumnElement[bool]:
    """Return which rows of a table a run has, or which rows those refer to."""
    if "run_id" in table.c:
        return and_(table.c.run_id == run_id)
    if table in _OWNERS:
        (key,) = _OWNERS[table].primary_key.columns
        return and_(table.c[key.name].in_(select(key).where(of_run(_OWNERS[table], run_id))))
    (key,) = table.primary_key.columns
    columns = [
        foreign.parent
        for other in db.METADATA.tables.values()
        for foreign in other.foreign_keys
        if foreign.column is key and _OWNERS.get(other) is not table and other not in _LONG
    ]
    return key.in_(
        union(*(select(one).where(one.is_not(None), of_run(one.table, run_id)) for one in columns))
    )
