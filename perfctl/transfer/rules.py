"""What merging has to know of each table: its key, what may change in a row, and which rows a run has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, select, union

from perfctl.store import tables as db

Row = Mapping[str, Any]
Keys = Select[Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """How rows of a table are told apart, compared and chosen."""

    table: Table[Any]
    key: tuple[str, ...]
    of_run: Callable[[str], ColumnElement[bool]]
    """Which rows a run, by its id, has or refers to."""
    ignored: frozenset[str] = frozenset()
    """Columns that are no part of what the row says: the first one that was seen is kept."""
    changing: tuple[str, ...] = ()
    """Columns that may change after a row was written."""
    progress: Callable[[Row], Any] = lambda _: 0
    """How far a row with `changing` columns has come: those of the row that is further are taken."""
    also_read: tuple[ColumnElement[Any], ...] = ()
    """What `progress` has to know besides the columns."""
    also_unique: tuple[str, ...] = ()
    """Columns that no two rows of different keys have in common."""

    @property
    def name(self) -> str:
        """The name of the table."""
        return str(self.table.name)

    @property
    def compared(self) -> tuple[str, ...]:
        """The columns that are the same in every copy of a row."""
        numbers = {"rowid", "invocation_pk", "metric_pk"}
        return tuple(
            column.name
            for column in self.table.columns
            if column.name not in {*numbers, *self.ignored, *self.changing}
        )

    def key_of(self, row: Row) -> tuple[Any, ...]:
        """Return the values of a row's key."""
        return tuple(row[name] for name in self.key)


def _keys_of_run(column: ColumnElement[Any], *keys: Callable[[str], Keys]) -> Any:
    """Return what tells whether a row has one of the keys that other rows of a run refer to."""

    def of_run(run_id: str) -> ColumnElement[bool]:
        selects = [of(run_id) for of in keys]
        return column.in_(selects[0] if len(selects) == 1 else union(*selects))

    return of_run


def _referred(table: Table[Any], column: str) -> Callable[[str], Keys]:
    """Return what selects a column of a run's rows."""
    return lambda run_id: select(table.c[column]).where(
        table.c.run_id == run_id, table.c[column].is_not(None)
    )


def of_invocations(column: ColumnElement[Any]) -> Callable[[str], Keys]:
    """Return what selects a column of a run's invocations."""
    return lambda run_id: (
        select(column)
        .join_from(db.invocation, db.block)
        .where(db.block.c.run_id == run_id, column.is_not(None))
    )


def _with_run_id(table: Table[Any]) -> Callable[[str], ColumnElement[bool]]:
    return lambda run_id: table.c.run_id == run_id


_RUN_PROGRESS = {"running": 0, "interrupted": 1, "partial": 2, "complete": 3}
_FINGERPRINTS = (
    _referred(db.host_snapshot, "fingerprint_id"),
    _referred(db.environment_snapshot, "fingerprint_id"),
    of_invocations(db.invocation.c.fingerprint_id),
)


def _run_progress(row: Row) -> tuple[Any, ...]:
    return row["planned_invocations"], _RUN_PROGRESS[row["status"]], row["ended_at"] or 0.0


def _block_progress(row: Row) -> int:
    return 0 if row["status"] == "running" else 1


RULES: tuple[Rule, ...] = (
    Rule(
        db.run,
        ("run_id",),
        _with_run_id(db.run),
        changing=("plan_json", "planned_invocations", "status", "ended_at"),
        progress=_run_progress,
    ),
    Rule(
        db.host,
        ("host_id",),
        _keys_of_run(
            db.host.c.host_id,
            _referred(db.run_host, "host_id"),
            _referred(db.host_snapshot, "host_id"),
            _referred(db.environment_snapshot, "host_id"),
            _referred(db.block, "host_id"),
            _referred(db.block, "peer_id"),
        ),
    ),
    Rule(
        db.environment,
        ("environment_id",),
        _keys_of_run(
            db.environment.c.environment_id,
            _referred(db.run_environment, "environment_id"),
            _referred(db.environment_snapshot, "environment_id"),
            of_invocations(db.invocation.c.environment_id),
        ),
        ignored=frozenset({"description"}),
    ),
    Rule(
        db.benchmark,
        ("benchmark_id",),
        _keys_of_run(
            db.benchmark.c.benchmark_id,
            _referred(db.run_benchmark, "benchmark_id"),
            _referred(db.block, "benchmark_id"),
        ),
        ignored=frozenset({"scope", "expected_s"}),
    ),
    Rule(
        db.fingerprint,
        ("fingerprint_id",),
        _keys_of_run(db.fingerprint.c.fingerprint_id, *_FINGERPRINTS),
    ),
    Rule(
        db.workload_version,
        ("fingerprint_id", "program"),
        _keys_of_run(db.workload_version.c.fingerprint_id, *_FINGERPRINTS),
    ),
    Rule(
        db.metric,
        ("metric_id",),
        _keys_of_run(
            db.metric.c.metric_pk,
            lambda run_id: (
                select(db.invocation_metric.c.metric_pk)
                .join_from(db.invocation_metric, db.invocation)
                .join(db.block)
                .where(db.block.c.run_id == run_id)
            ),
        ),
        ignored=frozenset({"description", "show_difference"}),
    ),
    # A host is another row once its machine is known.
    Rule(
        db.run_host,
        ("run_id", "name"),
        _with_run_id(db.run_host),
        changing=("host_id",),
        progress=lambda row: row["machine"] is not None,
        also_read=(
            select(db.host.c.machine)
            .where(db.host.c.host_id == db.run_host.c.host_id)
            .scalar_subquery()
            .label("machine"),
        ),
    ),
    Rule(db.run_environment, ("run_id", "name"), _with_run_id(db.run_environment)),
    Rule(db.run_benchmark, ("run_id", "name"), _with_run_id(db.run_benchmark)),
    Rule(db.host_snapshot, ("host_snapshot_id",), _with_run_id(db.host_snapshot)),
    Rule(db.environment_snapshot, ("environment_snapshot_id",), _with_run_id(db.environment_snapshot)),
    Rule(db.event, ("event_id",), _with_run_id(db.event)),
    Rule(
        db.block,
        ("block_id",),
        _with_run_id(db.block),
        changing=("status", "ended_at"),
        progress=_block_progress,
        also_unique=("run_id", "benchmark", "target", "block_index", "attempt"),
    ),
)
"""Tables that have few rows for each run, each after those that it refers to."""

INVOCATIONS = Rule(
    db.invocation,
    ("invocation_id",),
    lambda run_id: db.invocation.c.block_id.in_(_referred(db.block, "block_id")(run_id)),
)
OF_INVOCATION: tuple[Table[Any], ...] = (
    db.invocation_artifact,
    db.sample,
    db.series,
    db.invocation_metric,
)
"""What an invocation has, by its number in the database."""
OUTPUT_COLUMNS = tuple(column.name for column in db.invocation.columns if column.name.endswith("_sha256"))


ARTIFACTS = Rule(db.artifact, ("sha256",), _with_run_id(db.run), ignored=frozenset({"content"}))
