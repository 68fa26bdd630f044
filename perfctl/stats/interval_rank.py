"""Which Walsh averages bound the signed-rank interval, and how sure that is.

In plain Python for as many differences as a run has blocks: its estimate needs no more, and numpy takes a
tenth of a second to import.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, takewhile

from perfctl.stats.distributions import NORMAL

EXACT_UP_TO = 1000
"""The largest n with an exact distribution; beyond it, where 2**-n is no double, a normal approximation."""

_PLAIN_UP_TO = 50
"""Beyond so many differences numpy is faster, with its import."""


@dataclass(frozen=True, slots=True)
class IntervalRank:
    """Which Walsh averages bound the interval, counted from 1 from either end, and how sure that is."""

    rank: int
    confidence: float


@lru_cache(maxsize=256)
def interval_rank(n: int, confidence: float = 0.95) -> IntervalRank | None:
    """Return the bounds' rank and the achieved confidence (at least `confidence`).

    None when no interval of that confidence exists: below 6 differences for 0.95. Beyond EXACT_UP_TO
    differences the normal approximation stands in.
    """
    if n > EXACT_UP_TO:
        deviation = math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        score = NORMAL.inv_cdf((1 + confidence) / 2)
        return IntervalRank(math.floor(n * (n + 1) / 4 - score * deviation), confidence)
    tail = (1 - confidence) / 2
    below = list(takewhile(lambda probability: probability <= tail, null_cdf(n)))
    return IntervalRank(len(below), 1 - 2 * below[-1]) if below else None


def null_cdf(n: int) -> list[float]:
    """Return P(T+ <= t) for t = 0 .. n(n+1)/4, as `signed_rank.null_cdf` does, bit for bit."""
    if n > _PLAIN_UP_TO:
        from perfctl.stats import signed_rank

        return [float(probability) for probability in signed_rank.null_cdf(n)]
    largest = n * (n + 1) // 4
    probability = [1.0] + [0.0] * largest
    reach = 0
    for rank in range(1, n + 1):
        reach = min(reach + rank, largest)
        halves = [value / 2 for value in probability[: reach + 1]]
        # Each rank is that of a positive difference, or of a negative one, which pays nothing.
        paid = [0.0] * rank + halves
        probability[: reach + 1] = [a + b for a, b in zip(halves, paid, strict=False)]
    return list(accumulate(probability))
