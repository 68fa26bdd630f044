"""Read every sample of a run with the invocation that it is of, whether it is kept as a row or packed."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from dataclasses import dataclass

from perfctl.model import Metric, Reason, Status, Target
from perfctl.store.reading import metrics_by_number
from perfctl.store.series import unpack


@dataclass(frozen=True, slots=True)
class SampleSeries:
    """The samples of one metric in one invocation, in the order of their `indexes`."""

    metric: Metric
    indexes: tuple[int, ...]
    is_warmup: tuple[bool, ...]
    values: tuple[float, ...]

    @property
    def counted(self) -> tuple[float, ...]:
        """The values that are no warm-up."""
        return tuple(v for v, is_warmup in zip(self.values, self.is_warmup, strict=True) if not is_warmup)


@dataclass(frozen=True, slots=True)
class MeasuredInvocation:
    """One invocation of a run, of any status, with all its samples; `started_at` is in Unix seconds."""

    invocation_id: str
    benchmark: str
    workload: str
    target: Target
    environment: str
    replicate: int
    block: int
    attempt: int
    counts: bool
    """Whether it belongs to the attempt that comparisons use."""
    position: int
    accelerator: str | None
    status: Status
    reason: Reason | None
    validity: str | None
    detail: str
    started_at: float
    duration_s: float | None
    series: tuple[SampleSeries, ...]

    @property
    def is_used(self) -> bool:
        """Whether comparisons use its values: ok, not invalid, of the attempt that counts."""
        return self.counts and self.status is Status.OK and self.validity != "invalid"


_INVOCATIONS = """
SELECT
    invocation_pk, invocation_id, block.benchmark, workload, host.name, peer.name,
    environment.name, replicate, block_index, block.attempt, attempt_counts, invocation.position, accelerator,
    invocation.status, reason, validity, detail, invocation.started_at,
    (host_ended_ns - host_started_ns) / 1e9
FROM block
JOIN v_block USING (block_id)
JOIN invocation USING (block_id)
JOIN environment USING (environment_id)
JOIN host ON host.host_id = block.host_id
LEFT JOIN host AS peer ON peer.host_id = block.peer_id
JOIN run_benchmark ON run_benchmark.run_id = block.run_id AND run_benchmark.name = block.benchmark
JOIN benchmark ON benchmark.benchmark_id = block.benchmark_id
WHERE block.run_id = ?
ORDER BY run_benchmark.position, block.target, block_index, block.attempt, invocation.position, replicate
"""

_ROWS = """
SELECT invocation_pk, metric_pk, sample_index, is_warmup, sample.value
FROM block JOIN invocation USING (block_id) JOIN sample USING (invocation_pk)
WHERE run_id = ? ORDER BY invocation_pk, metric_pk, sample_index
"""

_PACKED = """
SELECT invocation_pk, metric_pk, warmup_count, packed
FROM block JOIN invocation USING (block_id) JOIN series USING (invocation_pk) WHERE run_id = ?
"""


def measured_invocations(connection: sqlite3.Connection, run_id: str) -> list[MeasuredInvocation]:
    """Return every invocation of a run in the order of its plan; metrics with the headline first."""
    metrics = metrics_by_number(connection)
    ranks = {number: rank for rank, number in enumerate(metrics)}
    series: dict[int, dict[int, SampleSeries]] = defaultdict(dict)
    rows: dict[tuple[int, int], tuple[list[int], list[bool], list[float]]] = {}
    for invocation, metric, index, is_warmup, value in connection.execute(_ROWS, (run_id,)):
        found = rows.setdefault((invocation, metric), ([], [], []))
        found[0].append(index)
        found[1].append(bool(is_warmup))
        found[2].append(value)
    for (invocation, metric), (indexes, warmups, values) in rows.items():
        series[invocation][metric] = SampleSeries(
            metrics[metric], tuple(indexes), tuple(warmups), tuple(values)
        )
    for invocation, metric, warmup_count, packed in connection.execute(_PACKED, (run_id,)):
        unpacked = unpack(packed)
        count = len(unpacked)
        series[invocation][metric] = SampleSeries(
            metrics[metric],
            tuple(range(count)),
            tuple(place < warmup_count for place in range(count)),
            tuple(unpacked),
        )
    invocations = []
    for number, key, benchmark, workload, host, peer, *rest in connection.execute(_INVOCATIONS, (run_id,)):
        environment, replicate, block, attempt, counts, position, accelerator, status, reason, *last = rest
        validity, detail, started_at, duration_s = last
        of_metrics = series.get(number, {})
        invocations.append(
            MeasuredInvocation(
                *(key, benchmark, workload, Target(host, peer), environment, replicate, block, attempt),
                *(bool(counts), position, accelerator, Status(status), Reason(reason) if reason else None),
                *(validity, detail, started_at, duration_s),
                tuple(of_metrics[metric] for metric in sorted(of_metrics, key=ranks.__getitem__)),
            )
        )
    return invocations
