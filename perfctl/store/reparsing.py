"""Read raw outputs again: replace samples, status and reason, and judge again."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from perfctl.errors import DataError, OutputError
from perfctl.model import SERVER_COUNTERS, Reason, Status
from perfctl.store import artifact, recording, validity
from perfctl.store.records import Reparsed
from perfctl.store.series import Series, group
from perfctl.validity.assessment import Assessment, assess
from perfctl.validity.counters import InvocationCounters
from perfctl.validity.thresholds import RuleSet, Thresholds
from perfctl.workloads import WORKLOADS

_FROM_PARSING = (
    Reason.UNPARSABLE,
    Reason.MISSING_METRIC,
    Reason.UNIT_MISMATCH,
    Reason.CONTRADICTION,
    Reason.TOOL_ERROR,
)
"""Reasons that come from a parser; reading the output again changes no other failure."""

_INVOCATIONS = f"""
SELECT invocation_pk, block_id, block.run_id, workload, parameters_json, stdout_sha256, stderr_sha256
FROM invocation JOIN block USING (block_id) JOIN benchmark USING (benchmark_id)
WHERE stdout_sha256 IS NOT NULL
    AND (invocation.status = 'ok' OR reason IN ({", ".join(repr(reason.value) for reason in _FROM_PARSING)}))
    AND (run_id = ?1 OR ?1 IS NULL)
ORDER BY invocation_pk
"""


@dataclass(frozen=True, slots=True)
class _Parsed:
    status: Status
    reason: Reason | None
    detail: str
    series: list[Series]


def reparse(connection: sqlite3.Connection, run_id: str | None) -> Reparsed:
    """Replace the samples of one run, or of all. The caller holds the transaction."""
    changed = unknown = 0
    blocks = set()
    rows = connection.execute(_INVOCATIONS, (run_id,)).fetchall()
    thresholds: dict[str, Thresholds] = {}
    for invocation_pk, block_id, of_run, workload, parameters, *hashes in rows:
        if workload not in WORKLOADS:
            unknown += 1
            continue
        outputs = [b"" if sha256 is None else artifact.read(connection, sha256) for sha256 in hashes]
        parsed = _parse(workload, json.loads(parameters), *outputs)
        before = _state(connection, invocation_pk)
        _replace(connection, invocation_pk, workload, parsed)
        if of_run not in thresholds:
            thresholds[of_run] = Thresholds.from_json(validity.thresholds_json(connection, of_run))
        _judge_again(connection, invocation_pk, parsed, thresholds[of_run].validity)
        if _state(connection, invocation_pk) != before:
            changed += 1
            blocks.add(block_id)
    for block_id in sorted(blocks):
        _settle_block(connection, block_id)
    return Reparsed(len(rows) - unknown, changed, unknown)


def _parse(
    name: str, parameters: dict[str, str | int | float | bool], stdout: bytes, stderr: bytes
) -> _Parsed:
    workload = WORKLOADS[name]
    text, errors = (output.decode("utf-8", "backslashreplace") for output in (stdout, stderr))
    try:
        reading = workload.read_output(text, parameters, stderr=errors)
        series = group(workload.metrics(parameters), reading.samples)
    except OutputError as error:
        return _Parsed(Status.FAILED, Reason(error.reason), error.with_hint, [])
    except (DataError, ValueError, LookupError, TypeError, ArithmeticError) as error:
        return _Parsed(Status.FAILED, Reason.UNPARSABLE, f"{type(error).__name__}: {error}", [])
    return _Parsed(Status.OK, None, reading.remark, series)


def _replace(connection: sqlite3.Connection, invocation_pk: int, workload: str, parsed: _Parsed) -> None:
    for table in ("sample", "series", "invocation_metric"):
        connection.execute(f"DELETE FROM {table} WHERE invocation_pk = ?", (invocation_pk,))
    recording.insert_samples(
        connection, invocation_pk, workload, [(one, one.summary()) for one in parsed.series]
    )
    reason = None if parsed.reason is None else parsed.reason.value
    connection.execute(
        "UPDATE invocation SET status = ?, reason = ?, detail = ? WHERE invocation_pk = ?",
        (parsed.status.value, reason, parsed.detail, invocation_pk),
    )


def _judge_again(connection: sqlite3.Connection, invocation_pk: int, parsed: _Parsed, rules: RuleSet) -> None:
    """Judge by the counters and the context that were kept, and by the limits that the run was given."""
    text, started_ns, ended_ns, *hashes = connection.execute(
        "SELECT validity_json, host_started_ns, host_ended_ns, counters_before_sha256,"
        " counters_after_sha256 FROM invocation WHERE invocation_pk = ?",
        (invocation_pk,),
    ).fetchone()
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
    connection.execute(
        "UPDATE invocation SET validity = ?, validity_json = ? WHERE invocation_pk = ?",
        (again.validity.verdict.value, again.to_json(), invocation_pk),
    )


def _artifact(connection: sqlite3.Connection, invocation_pk: int, name: str) -> bytes:
    row = connection.execute(
        "SELECT sha256 FROM invocation_artifact WHERE invocation_pk = ? AND name = ?", (invocation_pk, name)
    ).fetchone()
    return b"" if row is None or row[0] is None else artifact.read(connection, row[0])


def _state(connection: sqlite3.Connection, invocation_pk: int) -> list[tuple[object, ...]]:
    """Return all that reading the output again may change."""
    return [
        row
        for sql in (
            "SELECT status, reason, validity, validity_json FROM invocation WHERE invocation_pk = ?",
            "SELECT * FROM sample WHERE invocation_pk = ?",
            "SELECT * FROM series WHERE invocation_pk = ?",
        )
        for row in connection.execute(sql, (invocation_pk,))
    ]


def _settle_block(connection: sqlite3.Connection, block_id: str) -> None:
    """A block is complete when all its invocations are there and none failed."""
    status, order = connection.execute(
        "SELECT status, order_json FROM block WHERE block_id = ?", (block_id,)
    ).fetchone()
    if status not in ("complete", "failed"):
        return
    (good,) = connection.execute(
        "SELECT count(*) FROM invocation WHERE block_id = ? AND status IN ('ok', 'skipped')", (block_id,)
    ).fetchone()
    settled = "complete" if good == len(json.loads(order)) else "failed"
    connection.execute("UPDATE block SET status = ? WHERE block_id = ?", (settled, block_id))
