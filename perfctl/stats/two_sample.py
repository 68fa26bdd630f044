"""Two samples that were not paired: the Hodges-Lehmann shift and the exact rank-sum test, ties included.

For two runs: their blocks have nothing in common, so nothing can be subtracted block by block. Under the null
hypothesis every choice of m of the m + n values is as likely to be the second sample; the distribution of
its rank sum given the ranks comes by dynamic programming over how many were chosen and what they sum to
(Lehmann 1975, Nonparametrics, 1.2 and 1.4). Ties have midranks, doubled so that they are whole. (scipy's
exact method ignores ties.) The shift is the median of all differences y_j - x_i, its interval their k-th
smallest and largest, k from the distribution without ties (Bauer 1972, JASA 67:687).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from perfctl.stats.estimate import Estimate, finite
from perfctl.stats.laws import NORMAL
from perfctl.stats.signed_rank import Floats

EXACT_UP_TO_BOTH = 120
"""The most values in both samples together with an exact distribution; beyond it the normal law serves."""


def two_sample(first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """Return the shift from `first` to `second` with its interval and two-sided p; `n` counts both.

    Exchanging the samples negates it bit for bit. No interval where none of that confidence exists (e.g. 3
    and 4 values for 95 %), no p where a sample has no value. Raises ValueError for NaN or infinity.
    """
    x, y = finite(first), finite(second)
    count = len(x) + len(y)
    if not len(x) or not len(y):
        return Estimate(count, None, None, None, None, None, "a sample has no value")
    differences = np.sort((y[None, :] - x[:, None]).reshape(-1))
    middle = float(differences[(len(differences) - 1) // 2] + differences[len(differences) // 2]) / 2
    p = rank_sum_p(x, y)
    found = _interval_rank(len(x), len(y), confidence)
    if found is None:
        reason = f"{len(x)} and {len(y)} values have no {confidence:.0%} interval"
        return Estimate(count, middle, None, None, None, p, reason)
    rank, achieved = found
    low, high = float(differences[rank - 1]), float(differences[-rank])
    return Estimate(count, middle, low, high, achieved, p)


def rank_sum_p(first: ArrayLike, second: ArrayLike) -> float:
    """Return the two-sided p of "both samples are of one kind", exact given the ranks.

    Twice the smaller tail, at most 1. Raises ValueError for an empty sample, NaN or infinity.
    """
    x, y = finite(first), finite(second)
    if not len(x) or not len(y):
        raise ValueError("both samples need a value")
    pooled = np.concatenate((x, y))
    ordered = np.sort(pooled)
    ranks = np.searchsorted(ordered, pooled, "left") + np.searchsorted(ordered, pooled, "right") + 1
    total, chosen = int(ranks.sum()), int(ranks[len(x) :].sum())
    if len(pooled) > EXACT_UP_TO_BOTH:
        return _normal_p(ranks, len(y), chosen)
    if len(y) > len(x) or (len(y) == len(x) and 2 * chosen > total):
        chosen = total - chosen  # The other sample's sum: whichever comes first, the same sums are added up.
    law = _distribution(tuple(sorted(int(rank) for rank in ranks)), min(len(x), len(y)))
    return min(1.0, 2 * min(float(law[: chosen + 1].sum()), float(law[chosen:].sum())))


@lru_cache(maxsize=256)
def _distribution(ranks: tuple[int, ...], size: int) -> Floats:
    """Return P(the sum of `size` ranks drawn without replacement is s), s = 0 .. the largest possible sum."""
    largest = sum(ranks[len(ranks) - size :])
    table = np.zeros((size + 1, largest + 1))
    table[0, 0] = 1.0
    for done, rank in enumerate(ranks):
        for chosen in range(min(size, done + 1), 0, -1):
            table[chosen, rank:] += table[chosen - 1, : largest + 1 - rank]
    return np.asarray(table[size] / math.comb(len(ranks), size))


def _normal_p(ranks: np.ndarray, size: int, chosen: int) -> float:
    """Return the p of the normal law with the variance given the ties and a continuity correction."""
    count = len(ranks)
    mean = size * float(ranks.mean())
    variance = size * (count - size) / (count - 1) * float(ranks.var())
    if variance == 0:
        return 1.0
    score = max(0.0, abs(chosen - mean) - 1) / math.sqrt(variance)
    return min(1.0, 2 * NORMAL.cdf(-score))


@lru_cache(maxsize=1024)
def _interval_rank(m: int, n: int, confidence: float) -> tuple[int, float] | None:
    """Return the largest k with P(U <= k - 1) <= (1 - confidence) / 2, and the achieved confidence."""
    side = (1 - confidence) / 2
    if m + n > EXACT_UP_TO_BOTH:
        deviation = math.sqrt(m * n * (m + n + 1) / 12)
        rank = math.floor(m * n / 2 - NORMAL.inv_cdf(1 - side) * deviation)
        return (rank, confidence) if rank >= 1 else None
    size = min(m, n)
    law = _distribution(tuple(range(1, m + n + 1)), size)
    cumulative = np.cumsum(law[size * (size + 1) // 2 :])
    rank = int(np.searchsorted(cumulative, side, "right"))
    return (rank, 1 - 2 * float(cumulative[rank - 1])) if rank else None
