"""What the statistics are worth: every figure asked of them beside the figure found, by simulation.

    python -m tests.bench.bench_stats [SCALE]

SCALE multiplies the repetitions of the test suite (default 5: 10,000 comparisons each). Exits with 1 when a
figure is missed. What a large fleet takes is in bench_analysis.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from tests.statistics.figures import FIGURES, Figure

SCALE = 5


def show(figures: Iterable[Figure]) -> int:
    """Print a table line by line as it is found; return how many figures were missed."""
    missed = 0
    print(f"{'id':5}  {'asked':>14}  {'found':>8}  {'ok':3}  what", flush=True)
    for figure in figures:
        missed += not figure.ok
        mark = "yes" if figure.ok else "NO"
        print(f"{figure.name:5}  {figure.asked:>14}  {figure.found:>8}  {mark:3}  {figure.what}", flush=True)
    return missed


if __name__ == "__main__":
    scale = int(sys.argv[1]) if len(sys.argv) > 1 else SCALE
    sys.exit(1 if show(figure for simulate in FIGURES for figure in simulate(scale)) else 0)
