"""A small run to put into a database: two hosts, two environments, a benchmark for hosts, one for pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from perfctl.model import (
    Benchmark,
    Block,
    Direction,
    Environment,
    Host,
    InvocationRecord,
    Metric,
    Plan,
    PlannedInvocation,
    Round,
    Sample,
    Status,
    Target,
    Track,
    new_id,
)
from perfctl.store import Store

HOSTS = (Host("h1", "192.0.2.1", test_address="198.51.100.1"), Host("h2", "192.0.2.2", user="root"))
NATIVE = Environment("native", "native")
CONTAINER = Environment("container", "container", engine="docker", image="perf-tools", network="bridge")
CPU = Benchmark("cpu-1", "sysbench", {"test": "cpu", "threads": 1}, expected_s=10)
STREAM = Benchmark("stream", "netperf", {"test": "TCP_STREAM"}, expected_s=2.5, scope="pair")

SPEED = Metric("events_per_s", "1/s", Direction.HIGHER, "Events per second.", headline=True)
LATENCY = Metric("latency", "ms", Direction.LOWER, "Time per event.")
METRICS = (SPEED, LATENCY)

ORDER = (
    PlannedInvocation("container", 1, 0),
    PlannedInvocation("native", 1, 1),
    PlannedInvocation("native", 2, 2),
)


H1 = Target("h1")
PAIR = Target("h1", "h2")


def block(target: Target = H1, index: int = 0, benchmark: str = "cpu-1") -> Block:
    return Block(benchmark, target, index, ORDER)


BLOCKS = (block(), block(index=1), block(Target("h2")), block(PAIR, benchmark="stream"))
PLAN = Plan("demo", "42", "native", (NATIVE, CONTAINER), (CPU, STREAM), (Round((Track(BLOCKS),)),))


def begin_run(
    store: Store,
    plan: Plan = PLAN,
    run_id: str | None = None,
    *,
    hosts: Sequence[Host] = HOSTS,
    plan_json: str = '{"plan": "as text"}',
    command: Sequence[str] = ("perfctl", "run", "--suite", "demo"),
) -> str:
    run_id = run_id or new_id()
    store.writer.begin_run(
        run_id,
        plan,
        plan_json,
        hosts,
        command=command,
        perfctl_version="0.1.0",
        inventory=("inventory/lab.yml",),
    )
    return run_id


def record(block_id: str, environment: str = "native", replicate: int = 1, **changes) -> InvocationRecord:
    plain = InvocationRecord(
        id=new_id(),
        block_id=block_id,
        environment=environment,
        replicate=replicate,
        position=0,
        status=Status.OK,
        reason=None,
        detail="",
        argv=("sysbench", "cpu", "run"),
        exit_code=0,
        started_at=1_700_000_000.25,
        host_started_ns=10_000_000_000,
        host_ended_ns=12_500_000_000,
        stdout=b"events per second: 100.0\n",
        stderr=b"",
        counters_before=b"cpu  1 2 3\n",
        counters_after=b"cpu  2 3 4\n",
        fingerprint_id=None,
    )
    return replace(plain, **changes)


def samples(*values: float, metric: Metric = SPEED, warmups: int = 0) -> list[Sample]:
    return [
        Sample(metric.name, value, metric.unit, index, index < warmups) for index, value in enumerate(values)
    ]


def measure_block(store: Store, run_id: str, of: Block, values: dict[tuple[str, int], float]) -> str:
    """Store one complete block with one value of SPEED per (environment, replicate)."""
    block_id = store.writer.begin_block(run_id, of, attempt=1)
    for planned in of.invocations:
        value = values[planned.environment, planned.replicate]
        done = record(block_id, planned.environment, planned.replicate, position=planned.position)
        store.writer.record_invocation(done, METRICS, samples(value))
    store.writer.end_block(block_id, "complete")
    return block_id
