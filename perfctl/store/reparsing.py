"""Read raw outputs again: replace samples, status and reason, and judge again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, or_, select, update

from perfctl.errors import DataError, OutputError
from perfctl.model import SERVER_COUNTERS, USAGE_METRICS, Reason, ResourceUsage, Status
from perfctl.store import artifact, recording
from perfctl.store import tables as db
from perfctl.store.records import Reparsed
from perfctl.store.run_records import stored_usage
from perfctl.store.schema import OUTPUTS
from perfctl.store.series import Series, group
from perfctl.validity.assessment import Assessment, assess
from perfctl.validity.counters import InvocationCounters
from perfctl.validity.thresholds import RuleSet, Thresholds
from perfctl.workloads import Parameters, Workload, known_workload

_FROM_PARSING = (
    Reason.UNPARSABLE,
    Reason.MISSING_METRIC,
    Reason.UNIT_MISMATCH,
    Reason.CONTRADICTION,
    Reason.TOOL_ERROR,
)
"""Reasons that come from a parser; reading the output again changes no other failure."""


@dataclass(frozen=True, slots=True)
class _Named:
    """A workload by what is stored of it."""

    workload: str
    definition: str


@dataclass(frozen=True, slots=True)
class _Parsed:
    status: Status
    reason: Reason | None
    detail: str
    series: list[Series]


def reparse(connection: Connection, run_id: str | None) -> Reparsed:
    """Replace the samples of one run, or of all. The caller holds the transaction."""
    changed = unknown = 0
    blocks = set()
    rows = connection.execute(_invocations(run_id)).all()
    thresholds: dict[str, Thresholds] = {}
    for invocation_pk, block_id, of_run, name, definition, parameters, *kept in rows:
        workload = known_workload(_Named(name, definition or ""))
        if workload is None:
            unknown += 1
            continue
        stdout, stderr, source, why_missing, *numbers = kept
        usage = stored_usage(source, why_missing, numbers)
        parsed = _parse(
            workload,
            json.loads(parameters),
            stdout=_artifact_text(connection, stdout),
            stderr=_artifact_text(connection, stderr),
            usage=usage,
        )
        before = _state(connection, invocation_pk)
        _replace(connection, invocation_pk, name, parsed)
        if of_run not in thresholds:
            limits = select(db.run.c.thresholds_json).where(db.run.c.run_id == of_run)
            thresholds[of_run] = Thresholds.from_json(connection.execute(limits).scalar_one())
        _judge_again(connection, invocation_pk, parsed, thresholds[of_run].validity)
        if _state(connection, invocation_pk) != before:
            changed += 1
            blocks.add(block_id)
    for block_id in sorted(blocks):
        _settle_block(connection, block_id)
    return Reparsed(len(rows) - unknown, changed, unknown)


def _invocations(run_id: str | None) -> Select[*tuple[Any, ...]]:
    """Select the invocations, of one run or of all, of which an output is kept and can be read again."""
    kept = db.invocation.c
    also_kept = db.invocation_artifact.c
    pruned = select(db.artifact.c.sha256).where(func.length(db.artifact.c.content) == 0)
    outputs = [kept[f"{name}_sha256"] for name in OUTPUTS]
    statement = (
        select(
            *(kept.invocation_pk, kept.block_id, db.block.c.run_id, db.benchmark.c.workload),
            *(db.benchmark.c.definition, db.benchmark.c.parameters_json),
            *(kept.stdout_sha256, kept.stderr_sha256, kept.usage_source, kept.usage_missing),
            *(kept[metric.name] for metric in USAGE_METRICS),
        )
        .select_from(db.invocation.join(db.block).join(db.benchmark))
        .where(
            kept.stdout_sha256.is_not(None),
            or_(kept.status == "ok", kept.reason.in_([reason.value for reason in _FROM_PARSING])),
            *(or_(sha256.is_(None), sha256.not_in(pruned)) for sha256 in outputs),
            kept.invocation_pk.not_in(select(also_kept.invocation_pk).where(also_kept.sha256.in_(pruned))),
        )
        .order_by(kept.invocation_pk)
    )
    return statement if run_id is None else statement.where(db.block.c.run_id == run_id)


def _parse(
    workload: Workload, parameters: Parameters, *, stdout: str, stderr: str, usage: ResourceUsage
) -> _Parsed:
    try:
        reading = workload.read_output(stdout, parameters, stderr=stderr, usage=usage)
        series = group(workload.metrics(parameters), reading.samples)
    except OutputError as error:
        return _Parsed(Status.FAILED, Reason(error.reason), error.with_hint, [])
    except (DataError, ValueError, LookupError, TypeError, ArithmeticError) as error:
        return _Parsed(Status.FAILED, Reason.UNPARSABLE, f"{type(error).__name__}: {error}", [])
    return _Parsed(Status.OK, None, reading.remark, series)


def _artifact_text(connection: Connection, sha256: str | None) -> str:
    return "" if sha256 is None else artifact.read(connection, sha256).decode("utf-8", "backslashreplace")


def _replace(connection: Connection, invocation_pk: int, workload: str, parsed: _Parsed) -> None:
    for table in (db.sample, db.series, db.invocation_metric):
        connection.execute(delete(table).where(table.c.invocation_pk == invocation_pk))
    found = [(one, one.summary()) for one in parsed.series]
    recording.insert_samples(connection, invocation_pk, workload, found)
    reason = None if parsed.reason is None else parsed.reason.value
    _update(connection, invocation_pk, status=parsed.status.value, reason=reason, detail=parsed.detail)


def _update(connection: Connection, invocation_pk: int, **values: object) -> None:
    which = db.invocation.c.invocation_pk == invocation_pk
    connection.execute(update(db.invocation).where(which).values(values))


def _judge_again(connection: Connection, invocation_pk: int, parsed: _Parsed, rules: RuleSet) -> None:
    """Judge by the counters and the context that were kept, and by the limits that the run was given."""
    kept = db.invocation.c
    text, started_ns, ended_ns, *hashes = connection.execute(
        select(
            *(kept.validity_json, kept.host_started_ns, kept.host_ended_ns),
            *(kept.counters_before_sha256, kept.counters_after_sha256),
        ).where(kept.invocation_pk == invocation_pk)
    ).one()
    if text is None:
        return
    before, after = (b"" if sha256 is None else artifact.read(connection, sha256) for sha256 in hashes)
    values = {}
    for one in parsed.series:
        value = one.summary().value
        if value is not None:
            values[one.metric.name] = (value, one.metric.unit)
    server_before, server_after = (_artifact(connection, invocation_pk, name) for name in SERVER_COUNTERS)
    counters = InvocationCounters.parse(
        before,
        after,
        started_ns=started_ns,
        ended_ns=ended_ns,
        server_before=server_before,
        server_after=server_after,
    )
    again = assess(counters, Assessment.from_json(text).context, values, rules)
    _update(connection, invocation_pk, validity=again.validity.verdict.value, validity_json=again.to_json())


def _artifact(connection: Connection, invocation_pk: int, name: str) -> bytes:
    kept = db.invocation_artifact.c
    which = select(kept.sha256).where(kept.invocation_pk == invocation_pk, kept.name == name)
    sha256 = connection.execute(which).scalar()
    return b"" if sha256 is None else artifact.read(connection, sha256)


def _state(connection: Connection, invocation_pk: int) -> list[Row[*tuple[Any, ...]]]:
    """Return all that reading the output again may change."""
    judged = db.invocation.c
    return [
        row
        for table, columns in (
            (db.invocation, (judged.status, judged.reason, judged.validity, judged.validity_json)),
            (db.sample, db.sample.c),
            (db.series, db.series.c),
        )
        for row in connection.execute(select(*columns).where(table.c.invocation_pk == invocation_pk))
    ]


def _settle_block(connection: Connection, block_id: str) -> None:
    """A block is complete when all its invocations are there and none failed."""
    block, done = db.block.c, db.invocation.c
    status, order = connection.execute(
        select(block.status, block.order_json).where(block.block_id == block_id)
    ).one()
    if status not in ("complete", "failed"):
        return
    good = connection.execute(
        select(func.count()).where(done.block_id == block_id, done.status.in_(("ok", "skipped")))
    ).scalar_one()
    settled = "complete" if good == len(json.loads(order)) else "failed"
    connection.execute(update(db.block).where(block.block_id == block_id).values(status=settled))
