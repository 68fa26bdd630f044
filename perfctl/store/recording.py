"""How an invocation is stored: raw bytes, samples as rows or packed, and rows derived from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain, repeat
from typing import Any

from sqlalchemy import BindParameter, Connection, Table, and_, bindparam, select, update

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
from perfctl.store.dialect import Prepared, insert_artifact, insert_many, insert_once, prepared_insert
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
    # In one order, so that two controllers that store the same ones do not wait for each other.
    rows = sorted({(kept.sha256, kept.size_bytes, kept.content) for kept in raw})
    _INSERT_ARTIFACT.many(connection, rows)
    invocation_pk = _insert_numbered(connection, db.invocation, row)
    links = [(invocation_pk, name, _key(kept)) for name, kept in prepared.artifacts.items()]
    insert_many(connection, db.invocation_artifact, links)
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


def _metric_numbers(connection: Connection, workload: str, metrics: Sequence[Metric]) -> list[int]:
    """Return the numbers of metrics in this database; the first description seen is kept."""
    keys = [_metric_id(workload, metric) for metric in metrics]
    known = _known_metrics(connection, keys)
    if missing := [place for place, key in enumerate(keys) if key not in known]:
        for place in missing:
            # Another controller may store it just now.
            connection.execute(
                insert_once(connection, db.metric), _metric_row(keys[place], workload, metrics[place])
            )
        known = _known_metrics(connection, keys)
    for key, metric in zip(keys, metrics, strict=True):
        number, shown = known[key]
        if shown != metric.show_difference:
            # A newer perfctl tells it otherwise, and that goes for what was measured before, too.
            changed = update(db.metric).where(db.metric.c.metric_pk == number)
            connection.execute(changed.values(show_difference=metric.show_difference))
    return [known[key][0] for key in keys]


def _known_metrics(connection: Connection, keys: Sequence[str]) -> dict[str, tuple[int, bool]]:
    found = _find_metrics(len(keys)).run(connection, {f"id_{place}": key for place, key in enumerate(keys)})
    return {key: (number, shown) for key, number, shown in found.fetchall()}


@cache
def _find_metrics(count: int) -> Prepared:
    wanted: list[BindParameter[str]] = [bindparam(f"id_{place}") for place in range(count)]
    found = db.metric.c
    return Prepared(
        lambda _: select(found.metric_id, found.metric_pk, found.show_difference).where(
            found.metric_id.in_(wanted)
        )
    )


def _metric_row(key: str, workload: str, metric: Metric) -> dict[str, object]:
    return {
        "metric_id": key,
        "workload": workload,
        "name": metric.name,
        "unit": metric.unit,
        "direction": metric.direction.value,
        "is_headline": metric.headline,
        "description": metric.description,
        "show_difference": metric.show_difference,
    }


def insert_samples(
    connection: Connection, invocation_pk: int, workload: str, found: Sequence[tuple[Series, Summary]]
) -> None:
    """Store samples as rows or packed, and their derived rows. One statement for each table is fastest."""
    if not found:
        return
    numbers = _metric_numbers(connection, workload, [series.metric for series, _ in found])
    rows = [
        ((invocation_pk, number), series, summary)
        for number, (series, summary) in zip(numbers, found, strict=True)
    ]
    insert_many(
        connection,
        db.sample,
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
    insert_many(connection, db.series, packed)
    insert_summaries(connection, [(key, summary) for key, _, summary in rows])


def insert_summaries(connection: Connection, rows: Iterable[tuple[Key, Summary]]) -> None:
    """Store derived rows."""
    values = (
        (*key, row.value, row.sample_count, row.warmup_count, row.value_sum, row.minimum, row.maximum)
        for key, row in rows
    )
    insert_many(connection, db.invocation_metric, values)
