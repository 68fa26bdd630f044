"""How an invocation is stored: raw bytes, samples as rows or packed, and rows derived from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, repeat
from typing import Any

from sqlalchemy import Connection, Table, and_, bindparam, select, update

from perfctl.errors import DataError, UnknownName
from perfctl.model import (
    USAGE_METRICS,
    InvocationRecord,
    Metric,
    ResourceUsage,
    Status,
    canonical_json,
    content_hash,
)
from perfctl.redaction import redact
from perfctl.store import artifact, schema
from perfctl.store import tables as db
from perfctl.store.dialect import Prepared, insert_artifact, prepared_insert
from perfctl.store.series import Series, Summary, pack

Key = tuple[int, int]
"""The invocation's and the metric's number in this database."""


@dataclass(frozen=True, slots=True)
class PreparedInvocation:
    """An invocation ready to be written: hashed, compressed and summed up outside the writer thread.

    `outputs` has its own output and counters, `artifacts` what else is kept; None is what has no bytes.
    """

    record: InvocationRecord
    outputs: Mapping[str, artifact.Artifact | None]
    artifacts: Mapping[str, artifact.Artifact | None]
    series: list[tuple[Series, Summary]]


def prepare(record: InvocationRecord, series: Sequence[Series]) -> PreparedInvocation:
    """Do all the work on an invocation that needs no database.

    Raises DataError when it is not ok and has no reason, or the other way round.
    """
    if (record.status is Status.OK) != (record.reason is None):
        raise DataError(f"an invocation with the status {record.status} and the reason {record.reason}")
    return PreparedInvocation(
        record,
        {name: artifact.pack(getattr(record, name)) for name in schema.OUTPUTS},
        {name: artifact.pack(data) for name, data in record.artifacts.items()},
        [(one, one.summary()) for one in series],
    )


def _usage_row(usage: ResourceUsage | None) -> dict[str, object]:
    if usage is None:
        return {}
    values = {metric.name: getattr(usage, metric.name) for metric in USAGE_METRICS}
    return {**values, "usage_source": usage.source, "usage_missing": usage.missing or None}


_FIND_BLOCK = Prepared(
    lambda _: (
        select(db.block.c.run_id, db.benchmark.c.workload, db.run_environment.c.environment_id)
        .join_from(db.block, db.benchmark)
        .outerjoin(
            db.run_environment,
            and_(
                db.run_environment.c.run_id == db.block.c.run_id,
                db.run_environment.c.name == bindparam("environment"),
            ),
        )
        .where(db.block.c.block_id == bindparam("block"))
    )
)
_FIND_METRIC = Prepared(
    lambda _: select(db.metric.c.metric_pk, db.metric.c.show_difference).where(
        db.metric.c.metric_id == bindparam("id")
    )
)
_INSERT_ARTIFACT = Prepared(lambda connection: insert_artifact(connection, db.artifact), db.artifact.c.keys())


def insert_invocation(connection: Connection, prepared: PreparedInvocation) -> None:
    """Store an invocation: raw bytes first, then samples and derived rows, in the same transaction."""
    record = prepared.record
    found = _FIND_BLOCK.run(
        connection, {"block": record.block_id, "environment": record.environment}
    ).fetchone()
    if found is None:
        raise UnknownName(f"there is no block {record.block_id}")
    run_id, workload, environment_id = found
    if environment_id is None:
        raise UnknownName(f"the run {run_id} has no environment {record.environment!r}")
    row = {name: getattr(record, name) for name in _OF_RECORD} | {
        "invocation_id": record.id,
        "environment_id": environment_id,
        "status": record.status.value,
        "reason": None if record.reason is None else record.reason.value,
        "detail": redact(record.detail),
        "argv_json": canonical_json(record.argv),
        **_usage_row(record.usage),
    }
    row |= {f"{name}_sha256": _key(output) for name, output in prepared.outputs.items()}
    raw = [kept for kept in (*prepared.outputs.values(), *prepared.artifacts.values()) if kept is not None]
    _INSERT_ARTIFACT.many(connection, [(kept.sha256, kept.size_bytes, kept.content) for kept in raw])
    invocation_pk = _insert_numbered(connection, db.invocation, row)
    links = [(invocation_pk, name, _key(kept)) for name, kept in prepared.artifacts.items()]
    prepared_insert(db.invocation_artifact).many(connection, links)
    insert_samples(connection, invocation_pk, workload, prepared.series)


_OF_RECORD = frozenset(db.invocation.c.keys()) & frozenset(InvocationRecord.__dataclass_fields__)
"""What is stored as it is. The rest has a name or a form of its own."""


def _key(kept: artifact.Artifact | None) -> str | None:
    return None if kept is None else kept.sha256


def _insert_numbered(connection: Connection, table: Table[Any], row: Mapping[str, object]) -> int:
    """Store a row and return the number that it was given."""
    return int(prepared_insert(table).run(connection, row).fetchone()[0])


@lru_cache(maxsize=1024)
def _metric_id(workload: str, metric: Metric) -> str:
    return content_hash([workload, metric.name, metric.unit, metric.direction, metric.headline])


def _insert_metric(connection: Connection, workload: str, metric: Metric) -> int:
    """Return the metric's number in this database; the first description seen is kept."""
    metric_id = _metric_id(workload, metric)
    found = _FIND_METRIC.run(connection, {"id": metric_id}).fetchone()
    if found is None:
        row = {
            "metric_id": metric_id,
            "workload": workload,
            "name": metric.name,
            "unit": metric.unit,
            "direction": metric.direction.value,
            "is_headline": metric.headline,
            "description": metric.description,
            "show_difference": metric.show_difference,
        }
        return _insert_numbered(connection, db.metric, row)
    number, shown = found
    if shown != metric.show_difference:
        # A newer perfctl tells it otherwise, and that goes for what was measured before, too.
        changed = update(db.metric).where(db.metric.c.metric_pk == number)
        connection.execute(changed.values(show_difference=metric.show_difference))
    return int(number)


def insert_samples(
    connection: Connection, invocation_pk: int, workload: str, found: Sequence[tuple[Series, Summary]]
) -> None:
    """Store samples as rows or packed, and their derived rows. One statement for each table is fastest."""
    rows = [
        ((invocation_pk, _insert_metric(connection, workload, series.metric)), series, summary)
        for series, summary in found
    ]
    prepared_insert(db.sample).many(
        connection,
        chain.from_iterable(
            zip(*map(repeat, key), series.indexes, series.warmups, series.values, strict=False)
            for key, series, _ in rows
            if not series.is_packed
        ),
    )
    packed = [
        (*key, summary.sample_count, summary.warmup_count, summary.value_sum, pack(series.values))
        for key, series, summary in rows
        if series.is_packed
    ]
    prepared_insert(db.series).many(connection, packed)
    insert_summaries(connection, [(key, summary) for key, _, summary in rows])


def insert_summaries(connection: Connection, rows: Iterable[tuple[Key, Summary]]) -> None:
    """Store derived rows."""
    values = (
        (*key, row.value, row.sample_count, row.warmup_count, row.value_sum, row.minimum, row.maximum)
        for key, row in rows
    )
    prepared_insert(db.invocation_metric).many(connection, values)
