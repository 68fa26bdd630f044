"""The Wilcoxon signed-rank test with its exact distribution, ties and zeros included.

Under the null hypothesis the differences are symmetric about zero, so that, given their absolute values,
every difference is as likely to be positive as negative. The statistic T+ is the sum of the ranks of the
positive ones; its distribution given the ranks is the convolution of n fair coins that pay r_i or 0, which
dynamic programming gives exactly (Hollander, Wolfe & Chicken, Nonparametric Statistical Methods, 2014, 3.1).

Ties have midranks. Zeros are ranked with the others and then pay nothing (Pratt 1959, JASA 54:655):
dropping them first, as Wilcoxon did, can make a sample less convincing by making its differences larger, and
would part the test from the Walsh averages of the interval. Midranks are doubled, so that they are whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perfctl.stats.interval_rank import EXACT_UP_TO

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_CHUNK_CELLS = 4_000_000


def p_value(differences: ArrayLike) -> float:
    """Return the two-sided p of one sample of differences.

    1.0 when all are zero. It cannot be below 2 / 2**n, so fewer than 6 differences never reach 0.05.
    Raises ValueError for no differences, NaN or infinity.
    """
    row = np.asarray(differences, dtype=np.float64).reshape(1, -1)
    return float(p_values(row)[0])


def p_values(rows: Floats) -> Floats:
    """Return the two-sided p of every row; see `p_value`."""
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ValueError("rows of at least one difference are needed")
    if not np.isfinite(rows).all():
        raise ValueError("differences must be finite")
    count, n = rows.shape
    step = max(1, _CHUNK_CELLS // (n * n)) if n <= EXACT_UP_TO else 1
    found = [_p_values_of(rows[start : start + step]) for start in range(0, count, step)]
    return np.concatenate(found) if found else np.empty(0)


def _p_values_of(rows: Floats) -> Floats:
    n = rows.shape[1]
    ranks = doubled_ranks(rows)
    positive = np.where(rows > 0, ranks, 0).sum(axis=1)
    negative = np.where(rows < 0, ranks, 0).sum(axis=1)
    smaller = np.minimum(positive, negative)
    if n > EXACT_UP_TO:
        tail = _normal_tails(np.where(rows == 0, 0, ranks), smaller)
    else:
        tail = np.empty(len(rows))
        plain = (np.sort(ranks, axis=1) == 2 * np.arange(1, n + 1)).all(axis=1) & (rows != 0).all(axis=1)
        tail[plain] = null_cdf(n)[smaller[plain] // 2]
        for i in np.flatnonzero(~plain):
            tail[i] = tail_probability(tuple(sorted(ranks[i][rows[i] != 0].tolist())), int(smaller[i]))
    return np.minimum(1.0, 2.0 * tail)


def doubled_ranks(rows: Floats) -> Integers:
    """Return twice the midranks of the absolute values within every row."""
    size = np.abs(rows)
    if rows.shape[1] > 64:
        return np.array([_doubled_ranks_sorted(row) for row in size])
    below: Integers = (size[:, None, :] < size[:, :, None]).sum(axis=2)
    equal: Integers = (size[:, None, :] == size[:, :, None]).sum(axis=2)
    return 2 * below + equal + 1


def _doubled_ranks_sorted(size: Floats) -> Integers:
    ordered = np.sort(size)
    return np.searchsorted(ordered, size, "left") + np.searchsorted(ordered, size, "right") + 1


@lru_cache(maxsize=256)
def null_cdf(n: int) -> Floats:
    """Return P(T+ <= t) for t = 0 .. n(n+1)/4, n differences without ties or zeros. 1 <= n <= EXACT_UP_TO."""
    cdf = np.cumsum(_distribution(range(1, n + 1), n * (n + 1) // 4))
    cdf.flags.writeable = False
    return cdf


@lru_cache(maxsize=4096)
def tail_probability(ranks: tuple[int, ...], smaller: int) -> float:
    """Return P(T+ <= smaller) given the ranks of the differences that are not zero, all doubled."""
    if not ranks:
        return 1.0
    divisor = math.gcd(*ranks)
    distribution = _distribution([rank // divisor for rank in ranks], smaller // divisor)
    return float(distribution.sum())


def _distribution(ranks: Sequence[int], largest: int) -> Floats:
    """Return P(T+ = t) for t = 0 .. largest. Halving is exact in binary, so errors stay at rounding level."""
    probability = np.zeros(largest + 1)
    probability[0] = 1.0
    reach = 0
    for rank in ranks:
        reach = min(reach + rank, largest)
        part = probability[: reach + 1]
        part *= 0.5
        if rank <= reach:
            # The right side is a new array: part must not be read while it is written.
            part[rank:] += part[:-rank].copy()
    return probability


def _normal_tails(doubled: Integers, smaller: Integers) -> Floats:
    """Return P(T+ <= smaller), a normal approximation with continuity correction."""
    ranks = doubled / 2.0
    mean = ranks.sum(axis=1) / 2.0
    deviation = np.sqrt((ranks**2).sum(axis=1) / 4.0)
    scores = np.divide(smaller / 2.0 + 0.5 - mean, deviation, out=np.zeros(len(mean)), where=deviation > 0)
    tails = [0.5 * math.erfc(-score / math.sqrt(2.0)) for score in np.minimum(scores, 0.0)]
    return np.where(deviation > 0, tails, 1.0)
