"""What a host more costs the controller: runs on 10, 100 and 1,000 hosts that are not there.

Each host answers from memory (tests/fake_fleet.py), so all processor time is perfctl's: planning, connecting,
leases, facts, jobs, judging, storing. Prints; asserts nothing, because the machine is noisy.
"""

from __future__ import annotations

import io
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from perfctl.execute import execute_run
from perfctl.model import Benchmark, Environment, Suite, new_id
from perfctl.output.progress import progress
from perfctl.plan import make_plan
from perfctl.plan.request import PlannedRun
from perfctl.workloads import resolve_parameters, workload
from tests.fake_fleet import FakeFleet

NATIVE = Environment("native", "native")
QUICK = Benchmark(
    "quick",
    "sysbench",
    resolve_parameters(workload("sysbench"), {"test": "cpu", "time_s": 1, "threads": 1}),
    expected_s=1,
)
FEW, MANY = 1, 10
"""Blocks of two runs, whose difference is what the invocations cost."""
JOB_S = 0.2


@dataclass
class Usage:
    """What this process has at most, looked at ten times a second."""

    threads: int = 0
    files: int = 0


@contextmanager
def watched() -> Iterator[Usage]:
    """Look at this process while the block runs."""
    found, is_over = Usage(), threading.Event()

    def look() -> None:
        while not is_over.wait(0.1):
            found.threads = max(found.threads, threading.active_count())
            found.files = max(found.files, len(list(Path("/proc/self/fd").iterdir())))

    thread = threading.Thread(target=look)
    thread.start()
    yield found
    is_over.set()
    thread.join()


def run(fleet: FakeFleet, count: int, blocks: int, database: Path) -> tuple[float, float, Usage]:
    """Run on so many hosts; return processor and wall time in seconds, and what was used."""
    begin, wall = time.process_time(), time.perf_counter()
    hosts = fleet.hosts(count)
    plan = make_plan(Suite("quick", "", "native", (NATIVE,), (QUICK,), blocks), hosts, seed="1")
    planned = PlannedRun(new_id(), plan, hosts, force=True)
    with watched() as usage, progress(io.StringIO(), live=False) as listener:
        outcome = execute_run(
            planned, database_url=str(database), command=(), listener=listener, connect=fleet.connect
        )
    assert outcome.ok == plan.invocation_count, outcome
    return time.process_time() - begin, time.perf_counter() - wall, usage


def bench(fleet: FakeFleet, count: int, folder: Path) -> None:
    """Print what runs on so many hosts cost."""
    few_s, _, _ = run(fleet, count, FEW, folder / f"{count}-few.db")
    many_s, wall_s, usage = run(fleet, count, MANY, folder / f"{count}-many.db")
    invocations = 2 * count * MANY
    each_ms = (many_s - few_s) / (2 * count * (MANY - FEW)) * 1e3
    host_ms = few_s / count * 1e3 - 2 * FEW * each_ms
    size_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{count} hosts, {invocations} invocations: {each_ms:.2f} ms of one processor per invocation "
        f"(target 2) and {host_ms:.0f} ms per host, in all {many_s / invocations * 1e3:.2f} ms; "
        f"{wall_s:.0f} s, {usage.threads} threads, {usage.files} descriptors, {size_mib:.0f} MiB",
        flush=True,
    )


def main() -> None:
    """Print the figures for each number of hosts."""
    counts = [int(word) for word in sys.argv[1:]] or [10, 100, 1000]
    with tempfile.TemporaryDirectory(prefix="perfctl-bench-") as name:
        folder = Path(name)
        fleet = FakeFleet(folder / "spool", job_s=JOB_S)
        try:
            run(fleet, 1, 1, folder / "first.db")
            for count in counts:
                bench(fleet, count, folder)
        finally:
            fleet.close()


if __name__ == "__main__":
    main()
