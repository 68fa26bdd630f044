"""The exact signed-rank test over a few hosts, each a stratum of its own: it speaks about these hosts only.

T+ is summed over the hosts, ranks are made within each host. Signs are independent given the sizes, so the
null distribution is the convolution over all hosts, exact with ties (Hollander, Wolfe & Chicken, 2014, 3.1
for one stratum). As T+ of one host counts its positive Walsh averages, the sum counts those of all hosts
together: the estimate is the median of the union of the hosts' Walsh averages, the interval its k-th
smallest and largest. Averages of differences from two hosts are never made.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from perfctl.stats.estimate import Estimate, finite, median_of_sorted
from perfctl.stats.interval_rank import EXACT_UP_TO
from perfctl.stats.signed_rank import Floats, doubled_ranks, tail_probability

_MOST = EXACT_UP_TO


def stratified(hosts: Sequence[ArrayLike], *, confidence: float = 0.95) -> Estimate:
    """Return the common shift of the hosts' block differences, its exact interval and two-sided p.

    One sequence of differences per host; their lengths may differ, a host without any is left out. `n` is the
    number of blocks in all. The interval's distribution is that without ties, so with ties it covers at least
    what it says. It assumes one shift for all: with hosts that disagree (I^2) read the range instead.
    More than EXACT_UP_TO blocks in all: no figure, with the reason. Raises ValueError for NaN or infinity.
    """
    rows = [row for row in map(finite, hosts) if len(row)]
    total = sum(map(len, rows))
    if not rows:
        return Estimate(0, None, None, None, None, None, "no host has a block")
    if total > _MOST:
        reason = f"{total} blocks in all are too many for the exact test"
        return Estimate(total, None, None, None, None, None, reason)
    walsh = np.sort(np.concatenate([_walsh(row) for row in rows]))
    middle = median_of_sorted(walsh)
    p = _p_value(rows) if total > 1 else None
    found = _interval_rank(tuple(sorted(map(len, rows))), confidence)
    if found is None:
        reason = f"{total} blocks in all have no {confidence:.0%} interval"
        return Estimate(total, middle, None, None, None, p, reason)
    rank, achieved = found
    return Estimate(total, middle, float(walsh[rank - 1]), float(walsh[-rank]), achieved, p)


def _walsh(row: Floats) -> Floats:
    first, second = np.triu_indices(len(row))
    return np.asarray((row[first] + row[second]) / 2)


def _p_value(rows: Sequence[Floats]) -> float:
    live: list[int] = []
    positive = negative = 0
    for row in rows:
        ranks = doubled_ranks(row.reshape(1, -1))[0]
        positive += int(ranks[row > 0].sum())
        negative += int(ranks[row < 0].sum())
        live += ranks[row != 0].tolist()
    return min(1.0, 2.0 * tail_probability(tuple(sorted(live)), min(positive, negative)))


@lru_cache(maxsize=1024)
def _interval_rank(sizes: tuple[int, ...], confidence: float) -> tuple[int, float] | None:
    """Return the largest k with P(T+ <= k - 1) <= (1 - confidence) / 2 and the achieved confidence."""
    ranks = tuple(sorted(2 * rank for size in sizes for rank in range(1, size + 1)))
    side = (1 - confidence) / 2
    low, high = 0, sum(ranks) // 4 + 1
    while high - low > 1:
        middle = (low + high) // 2
        if tail_probability(ranks, 2 * (middle - 1)) <= side:
            low = middle
        else:
            high = middle
    return (low, 1 - 2 * tail_probability(ranks, 2 * (low - 1))) if low else None
