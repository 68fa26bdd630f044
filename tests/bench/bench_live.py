"""What the statistics are worth on this machine: A/A tests and known extras of real processes.

    python -m tests.bench.bench_live [EXPERIMENTS BLOCKS]

40 experiments of 10 blocks are asked for A/A (half as many, with twice the blocks, for the extras). Exits
with 1 when a figure is missed.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import chain
from pathlib import Path

from tests.bench.bench_stats import show
from tests.statistics.live import m15, m16


def main(experiments: int = 40, blocks: int = 10) -> int:
    """Print both figures; return how many were missed. What is allowed shrinks with the experiments."""
    extras = experiments // 2
    with tempfile.TemporaryDirectory() as folder:
        return show(
            chain(
                m15(Path(folder), experiments=experiments, blocks=blocks, most=experiments // 8),
                m16(experiments=extras, blocks=2 * blocks, least=extras * 9 // 10),
            )
        )


if __name__ == "__main__":
    sys.exit(1 if main(*map(int, sys.argv[1:3])) else 0)
