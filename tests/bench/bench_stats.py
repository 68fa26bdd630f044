"""What the statistics are worth: every figure asked of them beside the figure found, by simulation.

    python -m tests.bench.bench_stats [SCALE]

SCALE multiplies the repetitions of the test suite (default 5: 10,000 comparisons each). First a large fleet
is analysed and timed (printed only: machines differ). Exits with 1 when a figure is missed.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable

import numpy as np

from perfctl.compare import compare
from perfctl.model import Direction, Metric, Observation, Target
from perfctl.stats import benjamini_hochberg, fleet, paired_rows
from tests.statistics.figures import FIGURES, Figure

SCALE = 5
HOSTS, BENCHMARKS, ENVIRONMENTS, BLOCKS = 50, 30, 10, 10


def show(figures: Iterable[Figure]) -> int:
    """Print a table line by line as it is found; return how many figures were missed."""
    missed = 0
    print(f"{'id':5}  {'asked':>14}  {'found':>8}  {'ok':3}  what", flush=True)
    for figure in figures:
        missed += not figure.ok
        mark = "yes" if figure.ok else "NO"
        print(f"{figure.name:5}  {figure.asked:>14}  {figure.found:>8}  {mark:3}  {figure.what}", flush=True)
    return missed


def large_fleet() -> None:
    """Analyse a fleet, from one value per invocation to q values over hosts, and print what it took."""
    values = 100 * np.exp(
        0.01 * np.random.default_rng(0).normal(size=(BENCHMARKS, HOSTS, ENVIRONMENTS + 1, BLOCKS))
    )
    metric = Metric("time", "ms", Direction.LOWER)
    legs = [("native", 1), ("native", 2), *((f"env-{number}", 1) for number in range(ENVIRONMENTS - 1))]
    observations = [
        Observation(f"b{benchmark}", metric, Target(f"h{host}"), block, name, replicate, value)
        for benchmark, hosts in enumerate(values.tolist())
        for host, rows in enumerate(hosts)
        for (name, replicate), row in zip(legs, rows, strict=True)
        for block, value in enumerate(row)
    ]
    start, cpu = time.perf_counter(), time.process_time()
    comparisons = compare(observations, baseline="native")
    differences = np.log(values[:, :, 1:]) - np.log(values[:, :, :1])
    results = np.array(paired_rows(differences.reshape(-1, BLOCKS)), dtype=object).reshape(
        differences.shape[:3]
    )
    claims = [
        fleet(tuple(results[benchmark, :, leg]), tuple(differences[benchmark, :, leg])).claim
        for benchmark in range(BENCHMARKS)
        for leg in range(ENVIRONMENTS)
    ]
    benjamini_hochberg([item.p for item in comparisons])
    benjamini_hochberg([claim.p for claim in claims])
    wall, used = time.perf_counter() - start, time.process_time() - cpu
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"\n{HOSTS} hosts x {BENCHMARKS} benchmarks x {ENVIRONMENTS} environments x {BLOCKS} blocks:"
        f" {len(comparisons):,} comparisons and {len(claims)} claims in {wall:.1f} s"
        f" ({used:.1f} s of CPU; asked: 20 s), the process at most {peak_mb:.0f} MB (asked: 500 MB)"
    )


if __name__ == "__main__":
    large_fleet()
    scale = int(sys.argv[1]) if len(sys.argv) > 1 else SCALE
    sys.exit(1 if show(figure for simulate in FIGURES for figure in simulate(scale)) else 0)
