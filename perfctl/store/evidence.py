"""The invocations behind a metric of a run: their order, status, validity and samples."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from perfctl.model import USAGE_METRICS, Metric, Reason, Status, Target
from perfctl.store.series import unpack


@dataclass(frozen=True, slots=True)
class Evidence:
    """One invocation and its value of one metric.

    `started_at` is in Unix seconds, `position` the place in the block's order, from 0.
    """

    invocation_id: str
    benchmark: str
    target: Target
    block: int
    attempt: int
    counts: bool
    """Whether it belongs to the attempt that comparisons use."""
    environment: str
    replicate: int
    position: int
    accelerator: str | None
    status: Status
    reason: Reason | None
    validity: str | None
    """'valid', 'flagged' or 'invalid'; None where it was not judged."""
    detail: str
    started_at: float
    duration_s: float | None
    """By the host's clock."""
    value: float | None
    """Median of the samples that are no warm-up; None when it has none of this metric."""
    unit: str | None
    samples: int
    stdout_sha256: str | None


_EVIDENCE = """
SELECT
    invocation_id, block.benchmark, host.name, peer.name, block_index, block.attempt, attempt_counts,
    environment.name, replicate, invocation.position, accelerator,
    invocation.status, reason, validity, detail,
    invocation.started_at, (host_ended_ns - host_started_ns) / 1e9,
    {value}
FROM block
JOIN v_block USING (block_id)
JOIN invocation USING (block_id)
JOIN environment USING (environment_id)
JOIN host ON host.host_id = block.host_id
LEFT JOIN host AS peer ON peer.host_id = block.peer_id
JOIN run_benchmark ON run_benchmark.run_id = block.run_id AND run_benchmark.name = block.benchmark
{joined}
WHERE block.run_id = ?1 AND ?2 <> ''
ORDER BY run_benchmark.position, block.target, block_index, block.attempt, invocation.position, replicate
"""


_OF_SAMPLES = {
    "value": "value, unit, coalesce(sample_count, 0), stdout_sha256",
    "joined": "LEFT JOIN invocation_metric AS found ON found.invocation_pk = invocation.invocation_pk"
    " AND found.metric_pk IN (SELECT metric_pk FROM metric WHERE metric.name = ?2)"
    " LEFT JOIN metric USING (metric_pk)",
}


def _of_usage(metric: Metric) -> dict[str, str]:
    # It is in no output.
    value = f"invocation.{metric.name}, '{metric.unit}', invocation.{metric.name} IS NOT NULL, NULL"
    return {"value": value, "joined": ""}


def evidence(connection: sqlite3.Connection, run_id: str, metric: str) -> list[Evidence]:
    """Return every invocation of a run in the order of its plan, with its value of `metric` if it has one."""
    used = next((item for item in USAGE_METRICS if item.name == metric), None)
    sql = _EVIDENCE.format(**(_of_usage(used) if used else _OF_SAMPLES))
    found = []
    for row in connection.execute(sql, (run_id, metric)):
        key, benchmark, host, peer, block, attempt, counts, *leg = row
        environment, replicate, position, accelerator, status, reason, *rest = leg
        found.append(
            Evidence(
                *(key, benchmark, Target(host, peer), block, attempt, bool(counts)),
                *(environment, replicate, position, accelerator),
                *(Status(status), Reason(reason) if reason else None, *rest),
            )
        )
    return found


def values_of(connection: sqlite3.Connection, invocation_id: str, metric: str) -> tuple[float, ...]:
    """Return the samples of one metric of one invocation, in order, whether kept as rows or packed."""
    key = (invocation_id, metric)
    rows = connection.execute(
        "SELECT sample.value FROM sample JOIN invocation USING (invocation_pk) JOIN metric USING (metric_pk)"
        " WHERE invocation_id = ? AND metric.name = ? ORDER BY sample_index",
        key,
    ).fetchall()
    packed = connection.execute(
        "SELECT packed FROM series JOIN invocation USING (invocation_pk) JOIN metric USING (metric_pk)"
        " WHERE invocation_id = ? AND metric.name = ?",
        key,
    ).fetchall()
    return (*(value for (value,) in rows), *(value for (blob,) in packed for value in unpack(blob)))
