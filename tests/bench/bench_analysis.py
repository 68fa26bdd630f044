"""How long a large report takes: 50 hosts x 30 benchmarks x 10 environments x 10 blocks, all judged.

    python -m tests.bench.bench_analysis [HOSTS BENCHMARKS ENVIRONMENTS BLOCKS]

Asked for: 20 s and 500 MB on two cores. Prints; asserts nothing: machines differ.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np

from perfctl.compare import AnalysisContext, analyse, format_comparison, format_fleet, format_suite
from perfctl.model import Direction, Metric, Observation, Target

SIZE = (50, 30, 10, 10)


def observations(hosts: int, benchmarks: int, environments: int, blocks: int) -> list[Observation]:
    """Return one value per invocation: the baseline twice, 1 % noise, every third environment 3 % slower."""
    generator = np.random.default_rng(0)
    noise = 0.01 * generator.normal(size=(benchmarks, hosts, environments + 1, blocks))
    noise += 0.5 * (generator.random(noise.shape) < 0.002)
    legs = [("native", 1), ("native", 2), *((f"env-{number}", 1) for number in range(environments - 1))]
    noise += np.array([0.03 * (place % 3 == 2) for place in range(len(legs))])[:, None]
    metric = Metric("time", "ms", Direction.LOWER, headline=True)
    return [
        Observation(f"b{benchmark}", metric, Target(f"h{host}"), block, name, replicate, value)
        for benchmark, of_hosts in enumerate((100 * np.exp(noise)).tolist())
        for host, rows in enumerate(of_hosts)
        for (name, replicate), row in zip(legs, rows, strict=True)
        for block, value in enumerate(row)
    ]


def main(size: tuple[int, ...]) -> None:
    """Print what the analysis and its sentences take."""
    hosts, benchmarks, environments, blocks = size
    seen = observations(hosts, benchmarks, environments, blocks)
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start, cpu = time.perf_counter(), time.process_time()
    kinds = {item.environment: "native" if item.environment == "native" else "container" for item in seen}
    found = analyse(seen, AnalysisContext("native", kinds=kinds))
    text = [format_comparison(item) for item in found.comparisons]
    text += [format_fleet(item) for item in found.fleets]
    text += [format_suite(item) for item in found.suites]
    wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{hosts} hosts x {benchmarks} benchmarks x {environments} environments x {blocks} blocks:"
        f" {len(seen):,} values, {len(found.comparisons):,} comparisons, {len(found.fleets)} over fleets,"
        f" {len(found.suites)} over suites in {wall_s:.1f} s ({cpu_s:.1f} s of CPU; asked: 20 s),"
        f" the process at most {peak_mb:.0f} MB, {before_mb:.0f} MB of it the values (asked: 500 MB)"
    )
    for line in (text[0], text[-1], format_fleet(found.fleets[0])):
        print(f"  {line}")


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:5])) if len(sys.argv) > 4 else SIZE)
