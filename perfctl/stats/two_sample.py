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
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from perfctl.stats.distributions import NORMAL
from perfctl.stats.estimate import Estimate, finite, median_of_sorted
from perfctl.stats.signed_rank import Floats

EXACT_UP_TO_BOTH = 120
"""The most values in both samples together with an exact distribution, which is approximated beyond it."""


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
    middle = median_of_sorted(differences)
    p = rank_sum_p(x, y)
    found = shift_rank(len(x), len(y), confidence)
    if found is None:
        reason = f"{len(x)} and {len(y)} values have no {confidence:.0%} interval"
        return Estimate(count, middle, None, None, None, p, reason)
    rank, achieved = found
    low, high = float(differences[rank - 1]), float(differences[-rank])
    return Estimate(count, middle, low, high, achieved, p)


def stratified_two_sample(
    hosts: Sequence[tuple[ArrayLike, ArrayLike]], *, confidence: float = 0.95
) -> Estimate:
    """Return the one shift that a few hosts have in common, each a stratum with two samples of its own.

    The rank sums are those within each host, and the null distribution is the convolution over the hosts,
    exact given the ties. As U of one host counts its differences y_j - x_i above 0, the sum counts those of
    all hosts: the shift is the median of all these differences, the interval their k-th smallest and largest,
    k from the distributions without ties. Values of two hosts are never subtracted. `n` counts all values; a
    host that lacks a sample is left out. More than EXACT_UP_TO_BOTH values on a host: no figure, with the
    reason. Exchanging the samples negates it bit for bit. Raises ValueError for NaN or infinity.
    """
    pairs = [(finite(first), finite(second)) for first, second in hosts]
    pairs = [(x, y) for x, y in pairs if len(x) and len(y)]
    total = sum(len(x) + len(y) for x, y in pairs)
    if not pairs:
        return Estimate(0, None, None, None, None, None, "no host has values in both samples")
    if any(len(x) + len(y) > EXACT_UP_TO_BOTH for x, y in pairs):
        reason = f"more than {EXACT_UP_TO_BOTH} values on a host are too many for the exact test"
        return Estimate(total, None, None, None, None, None, reason)
    differences = np.sort(np.concatenate([(y[None, :] - x[:, None]).reshape(-1) for x, y in pairs]))
    middle, p = median_of_sorted(differences), _stratified_p(pairs)
    found = _stratified_rank(tuple(sorted(tuple(sorted((len(x), len(y)))) for x, y in pairs)), confidence)
    if found is None:
        reason = f"{total} values in all have no {confidence:.0%} interval"
        return Estimate(total, middle, None, None, None, p, reason)
    rank, achieved = found
    return Estimate(total, middle, float(differences[rank - 1]), float(differences[-rank]), achieved, p)


def _stratified_p(pairs: Sequence[tuple[Floats, Floats]]) -> float:
    """Return twice the smaller tail of the summed rank sums, at most 1."""
    ranks = [_doubled_ranks(x, y) for x, y in pairs]
    # How far the second samples' sums are from their mean, times the count of values: a whole number.
    scale = math.lcm(*map(len, ranks))
    excess = sum(
        scale * int(row[len(x) :].sum()) - scale // len(row) * len(y) * int(row.sum())
        for row, (x, y) in zip(ranks, pairs, strict=True)
    )
    if excess == 0:
        return 1.0
    # The sums of the side that is low: whichever sample comes first, the same numbers are added up.
    parts = [
        (tuple(sorted(row.tolist())), row[len(x) :] if excess < 0 else row[: len(x)])
        for row, (x, _) in zip(ranks, pairs, strict=True)
    ]
    distribution = np.ones(1)
    for known, size in sorted((known, len(chosen)) for known, chosen in parts):
        distribution = np.convolve(distribution, _distribution(known, size))
    place = sum(int(chosen.sum()) for _, chosen in parts)
    return min(1.0, 2 * min(float(distribution[: place + 1].sum()), float(distribution[place:].sum())))


@lru_cache(maxsize=1024)
def _stratified_rank(sizes: tuple[tuple[int, ...], ...], confidence: float) -> tuple[int, float] | None:
    """Return k as `shift_rank` does, from the sum of the hosts' U."""
    distribution = np.ones(1)
    for small, large in sizes:
        alone = _distribution(tuple(range(1, small + large + 1)), small)
        distribution = np.convolve(distribution, alone[small * (small + 1) // 2 :])
    return _rank_of(distribution, (1 - confidence) / 2)


def rank_sum_p(first: ArrayLike, second: ArrayLike) -> float:
    """Return the two-sided p of "both samples are of one kind", exact given the ranks.

    Twice the smaller tail, at most 1. Raises ValueError for an empty sample, NaN or infinity.
    """
    x, y = finite(first), finite(second)
    if not len(x) or not len(y):
        raise ValueError("both samples need a value")
    ranks = _doubled_ranks(x, y)
    total, chosen = int(ranks.sum()), int(ranks[len(x) :].sum())
    if len(ranks) > EXACT_UP_TO_BOTH:
        return _normal_p(ranks, len(y), chosen)
    if len(y) > len(x) or (len(y) == len(x) and 2 * chosen > total):
        chosen = total - chosen  # The other sample's sum: whichever comes first, the same sums are added up.
    distribution = _distribution(tuple(sorted(int(rank) for rank in ranks)), min(len(x), len(y)))
    return min(1.0, 2 * min(float(distribution[: chosen + 1].sum()), float(distribution[chosen:].sum())))


def _doubled_ranks(x: Floats, y: Floats) -> np.ndarray:
    """Return twice the midranks of the values of x, then of y, among all of them."""
    pooled = np.concatenate((x, y))
    ordered = np.sort(pooled)
    return np.searchsorted(ordered, pooled, "left") + np.searchsorted(ordered, pooled, "right") + 1


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
    """Return the p of the normal approximation with its tie and continuity corrections."""
    count = len(ranks)
    mean = size * float(ranks.mean())
    variance = size * (count - size) / (count - 1) * float(ranks.var())
    if variance == 0:
        return 1.0
    score = max(0.0, abs(chosen - mean) - 1) / math.sqrt(variance)
    return min(1.0, 2 * NORMAL.cdf(-score))


@lru_cache(maxsize=1024)
def shift_rank(m: int, n: int, confidence: float) -> tuple[int, float] | None:
    """Return the largest k with P(U <= k - 1) <= (1 - confidence) / 2, and the achieved confidence."""
    side = (1 - confidence) / 2
    if m + n > EXACT_UP_TO_BOTH:
        deviation = math.sqrt(m * n * (m + n + 1) / 12)
        rank = math.floor(m * n / 2 - NORMAL.inv_cdf(1 - side) * deviation)
        return (rank, confidence) if rank >= 1 else None
    size = min(m, n)
    distribution = _distribution(tuple(range(1, m + n + 1)), size)
    return _rank_of(distribution[size * (size + 1) // 2 :], side)


def _rank_of(distribution: Floats, side: float) -> tuple[int, float] | None:
    """Return the largest k with P(U <= k - 1) <= side, and the confidence of the k-th from both ends."""
    cumulative = np.cumsum(distribution)
    rank = int(np.searchsorted(cumulative, side, "right"))
    return (rank, 1 - 2 * float(cumulative[rank - 1])) if rank else None
