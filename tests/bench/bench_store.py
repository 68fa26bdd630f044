"""How fast samples go into the database, and how fast a comparison comes out of it: a file, and a server.

    python -m tests.bench.bench_store [SAMPLES]

Everything goes through `store.writer`, one commit per invocation, with raw output and counters of
realistic size; the clock stands still while they are made up. Prints; asserts nothing: the machine is noisy.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from perfctl.compare import compare
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
from perfctl.store import Store, check, database_info, named_query, open_store, query
from tests.postgresql_server import PostgresqlServer

SAMPLES = 1_000_000
HOSTS = 10
METRICS = tuple(
    Metric(f"metric_{number}", "ms", Direction.LOWER, headline=number == 0) for number in range(5)
)
ENVIRONMENTS = (Environment("native", "native"), Environment("container", "container", engine="docker"))
LEGS = (
    PlannedInvocation("native", 1, 0),
    PlannedInvocation("container", 1, 1),
    PlannedInvocation("native", 2, 2),
)
COUNTERS = b"".join(b"cpu%d 4705 150 1120 16250 520 0 30 0 0 0\n" % cpu for cpu in range(64))


@dataclass(frozen=True, slots=True)
class Shape:
    """How the samples are spread: `values` per metric and invocation, `blocks` per host and benchmark."""

    words: str
    values: int
    blocks: int
    benchmarks: int

    @property
    def invocations(self) -> int:
        """How many invocations there are in all."""
        return HOSTS * self.benchmarks * self.blocks * len(LEGS)

    @property
    def samples(self) -> int:
        """How many samples there are in all."""
        return self.invocations * len(METRICS) * self.values


def shapes(samples: int) -> tuple[Shape, ...]:
    """Return the shapes with about this many samples; a tenth of it where every invocation has few."""

    def shape(words: str, values: int, blocks: int, wanted: int) -> Shape:
        per_benchmark = HOSTS * blocks * len(LEGS) * len(METRICS) * values
        return Shape(words, values, blocks, max(1, round(wanted / per_benchmark)))

    return (
        shape("as rows", values=50, blocks=20, wanted=samples),
        shape("packed", values=1000, blocks=6, wanted=samples),
        shape("one value per metric", values=1, blocks=30, wanted=samples // 10),
    )


def plan_of(shape: Shape) -> Plan:
    """Return a plan: every benchmark on every host, `blocks` times."""
    benchmarks = tuple(
        Benchmark(f"b{number}", "sysbench", {"threads": number}, 10) for number in range(shape.benchmarks)
    )
    tracks = tuple(
        Track(
            tuple(
                Block(benchmark.name, Target(f"h{host}"), index, LEGS)
                for benchmark in benchmarks
                for index in range(shape.blocks)
            )
        )
        for host in range(HOSTS)
    )
    return Plan("bench", "1", "native", ENVIRONMENTS, benchmarks, (Round(tracks),))


def fill(store: Store, shape: Shape) -> tuple[str, float]:
    """Store a run of this shape and return its id and the seconds that storing took."""
    plan = plan_of(shape)
    run_id = new_id()
    hosts = [Host(f"h{number}", f"192.0.2.{number}") for number in range(HOSTS)]
    inputs = iter(_inputs(shape))
    taken_s = 0.0
    start = time.perf_counter()
    store.writer.begin_run(run_id, plan, "{}", hosts, command=("bench",), perfctl_version="0", inventory=())
    for block in plan.blocks():
        block_id = store.writer.begin_block(run_id, block, 1)
        for planned in block.invocations:
            taken_s += time.perf_counter() - start
            record, samples = next(inputs)
            start = time.perf_counter()
            record = replace(
                record,
                block_id=block_id,
                environment=planned.environment,
                replicate=planned.replicate,
                position=planned.position,
            )
            store.writer.record_invocation(record, METRICS, samples)
        store.writer.end_block(block_id, "complete")
    store.writer.end_run(run_id, "complete")
    return run_id, taken_s + time.perf_counter() - start


def _inputs(shape: Shape) -> Iterator[tuple[InvocationRecord, Sequence[Sample]]]:
    noise = random.Random(1)
    for number in range(shape.invocations):
        samples = [
            Sample(
                metric.name,
                noise.lognormvariate(0, 0.01),
                metric.unit,
                index,
                is_warmup=index < 1 < shape.values,
            )
            for metric in METRICS
            for index in range(shape.values)
        ]
        # What tools print: text that repeats itself, with numbers that do not.
        stdout = b"".join(b"events per second: %.6f\n" % sample.value for sample in samples[:40])
        record = InvocationRecord(
            id=new_id(),
            block_id="",
            environment="",
            replicate=1,
            position=0,
            status=Status.OK,
            reason=None,
            detail="",
            argv=("sysbench", "cpu", "run"),
            exit_code=0,
            started_at=time.time(),
            host_started_ns=number * 10**10,
            host_ended_ns=(number + 1) * 10**10,
            stdout=stdout,
            stderr=b"",
            counters_before=COUNTERS + b"processes %d\n" % number,
            counters_after=COUNTERS + b"processes %d.5\n" % number,
            fingerprint_id=None,
        )
        yield record, samples


def timed(words: str, call: object) -> None:
    """Print how long `call` took and what it gave."""
    if not callable(call):
        raise TypeError(call)
    start = time.perf_counter()
    answer = call()
    print(f"  {words:42} {time.perf_counter() - start:7.3f} s   {answer}")


def measure(shape: Shape, engine: str, url: str) -> None:
    """Print what one shape costs on an engine."""
    print(
        f"{engine}, {shape.words}: {shape.invocations:,} invocations x {len(METRICS)} metrics"
        f" x {shape.values} values = {shape.samples:,} samples"
    )
    with open_store(url, create=True) as store:
        run_id, taken_s = fill(store, shape)
        rate = shape.samples / taken_s
        per_invocation_ms = taken_s / shape.invocations * 1e3
        print(
            f"  ingest {taken_s:.2f} s: {rate:,.0f} samples/s, {per_invocation_ms:.2f} ms per invocation,"
            f" {database_info(url).size_bytes / 1e6:.0f} MB"
        )
    timed("open", lambda: open_store(url).close())
    with open_store(url, read_only=True) as store:
        timed("observations", lambda: f"{len(store.run(run_id).observations()):,} values")
        timed(
            "observations + compare",
            lambda: f"{len(compare(store.run(run_id).observations(), baseline='native')):,} comparisons",
        )
        timed(
            "query --named overhead", lambda: f"{len(query(store, named_query('overhead').sql).rows):,} rows"
        )
        timed("runs", lambda: f"{len(store.runs())} run")
        timed("db check", lambda: f"{sum(len(look.problems) for look in check(store))} problems")


def main() -> None:
    """Measure every shape in a database of its own, in a file and on a server that keeps what it commits."""
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES
    server = PostgresqlServer(is_durable=True)
    try:
        server.make()
        with tempfile.TemporaryDirectory() as folder:
            for number, shape in enumerate(shapes(samples)):
                measure(shape, "SQLite", str(Path(folder) / f"{number}.db"))
                measure(shape, "PostgreSQL", server.url(server.new_database()))
    finally:
        server.remove()


if __name__ == "__main__":
    main()
