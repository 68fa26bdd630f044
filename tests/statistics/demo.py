"""How many blocks of round trips `make demo` needs: the power of its report on the network, by simulation.

    python -m tests.statistics.demo     print the share of demos that find the cost, by blocks and spread

The report has round trips and bulk transfer. Round trips cost 1.1x in a container and bulk transfer costs
nothing, so that no other difference helps against the correction for many lines.
"""

from __future__ import annotations

import math

import numpy as np

from perfctl.model import Verdict
from perfctl.suites import load_suite
from tests.statistics.world import LEGS, Floats, reported

COST = 1.1
LEAST_FOUND = 0.80
BENCHMARK = "tcp-rr"
SPREAD = 0.095
"""The standard deviation of a block difference of round trips: pooled over five runs on a machine with two
cores and no other work, whose own deviations were 5.6 to 12.7 %."""
OTHERS = {"tcp-stream": 0.15}
"""The same of the line without an effect; its p-values do not depend on it."""
DEMOS = 1000


def share_found(blocks: int, *, spread: float = SPREAD, demos: int = DEMOS) -> float:
    """Return the share of demos whose report calls round trips different, with so many blocks of them."""
    spreads = OTHERS | {BENCHMARK: spread}
    suite = load_suite("demo", benchmarks=list(spreads))
    generator = np.random.default_rng(113)
    counts = [blocks if item.name == BENCHMARK else item.blocks or suite.blocks for item in suite.benchmarks]
    place = [item.name for item in suite.benchmarks].index(BENCHMARK)
    found = 0
    for _ in range(demos):
        values = np.full((len(counts), 1, len(LEGS), max(filter(None, counts))), np.nan)
        for row, benchmark, count in zip(values, suite.benchmarks, counts, strict=True):
            row[0, :, :count] = _legs(generator, spreads[benchmark.name], count)
        values[place, 0, -1] += math.log(COST)
        found += _is_different(values, place)
    return found / demos


def _legs(generator: np.random.Generator, spread: float, blocks: int | None) -> Floats:
    """Return values of all legs without an effect; those of two legs differ by `spread`."""
    return spread / math.sqrt(2) * generator.normal(size=(len(LEGS), blocks or 0))


def _is_different(values: Floats, place: int) -> bool:
    lines = [item for item in reported(values).comparisons if not item.is_aa]
    judgement = lines[place].judgement
    return judgement is not None and judgement.verdict in (Verdict.DIFFERENT, Verdict.DIFFERENT_SMALL)


if __name__ == "__main__":
    columns = (0.06, SPREAD, 0.12)
    print("blocks", *(f"spread {spread:.1%}" for spread in columns))
    for number in (6, 8, 10, 12, 13, 14, 16, 20, 24):
        shares = (share_found(number, spread=spread) for spread in columns)
        print(f"{number:6}", *(f"{share:9.0%}" for share in shares), flush=True)
