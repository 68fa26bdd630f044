"""What a report and an export take: of a database like the demo's, of a large fleet, of a million samples.

    python -m tests.bench.bench_report

Asked for: a report of the demo in 3 s and 1 MB; one of 50 hosts x 30 benchmarks x 5 environments x 10 blocks
in 20 s, 600 MB of memory and 6 MB; their first paint in 1 s; a million samples as Parquet in 5 s. Each is a
process of its own, as a user starts it. Prints; asserts nothing: machines differ.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from perfctl.store import open_store
from tests.bench.bench_store import SAMPLES, fill, shapes
from tests.chromium import Browser
from tests.unit.report_cases import Fleet, add_fleet

DEMO = Fleet(
    hosts=("lab-1", "lab-2"),
    benchmarks=("cpu-1-thread", "tcp-rr", "tcp-stream"),
    environments=("native", "container", "vm"),
    blocks=14,
)
LARGE = Fleet(
    hosts=tuple(f"host-{number:02}" for number in range(50)),
    benchmarks=tuple(f"benchmark-{number:02}" for number in range(30)),
    environments=("native", *(f"environment-{number}" for number in range(4))),
    blocks=10,
    has_latencies=False,
)

FIRST_PAINT_MS = """new Promise((found) => new PerformanceObserver(
  (list) => found(list.getEntries()[0].startTime)).observe({type: 'paint', buffered: true}))"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process took: on the clock, of CPU, of memory at most."""

    wall_s: float
    cpu_s: float
    peak_mb: float

    def __str__(self) -> str:
        return f"{self.wall_s:.1f} s ({self.cpu_s:.1f} s of CPU), {self.peak_mb:.0f} MB of memory"


def cost_of(*arguments: str) -> Cost:
    """Run perfctl and return what it took; it must succeed."""
    start = time.perf_counter()
    process = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "perfctl", *arguments],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, usage = os.wait4(process, 0)
    assert status == 0, arguments
    return Cost(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def main() -> None:
    """Print what reports and exports cost."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for words, fleet in (
            ("a run like the demo's", DEMO),
            ("50 hosts x 30 benchmarks x 5 environments", LARGE),
        ):
            database, page = folder / "results.db", folder / "report.html"
            with open_store(database, create=True) as store:
                add_fleet(store, fleet)
            cost = cost_of("--db", str(database), "report", "latest", "-o", str(page), "--force")
            print(f"report of {words}: {page.stat().st_size / 1e6:.2f} MB in {cost}")
            with Browser(folder / "chromium") as browser:
                browser.open(page)
                paint_ms = browser.run(FIRST_PAINT_MS)
            shutil.rmtree(folder / "chromium")
            print(f"  its first paint in Chromium after {paint_ms:.0f} ms (asked: 1 s)")
            for path in folder.iterdir():
                path.unlink()
        rows, packed, _ = shapes(SAMPLES)
        for shape in (rows, packed):
            with open_store(folder / "results.db", create=True) as store:
                fill(store, shape)
            for fmt in ("parquet", "csv"):
                output = folder / f"samples.{fmt}"
                export = ("export", "latest", "--format", fmt, "-o", str(output))
                cost = cost_of("--db", str(folder / "results.db"), *export)
                size = output.stat().st_size / 1e6
                print(f"{shape.samples:,} samples {shape.words} as {fmt}: {size:.0f} MB in {cost}")
            for path in folder.iterdir():
                path.unlink()


if __name__ == "__main__":
    main()
