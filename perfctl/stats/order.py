"""The median's interval, outliers, and the equivalence margin from A/A history: from order alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perfctl.stats.distributions import NORMAL, beta_quantile
from perfctl.stats.estimate import Estimate, finite

OUTLIER_LIMIT = 14.8
"""|x - median| / MAD beyond which a value is flagged; 10 standard deviations if the noise were normal."""

FEWEST_FOR_PERCENTILE = 20
"""A/A results below which their 99th percentile is not asked for."""


def median_interval(values: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """Return the median with the interval between two order statistics; it assumes nothing but independence.

    [x_(k), x_(n+1-k)] with the largest k for which P(B < k) <= (1 - confidence) / 2, B binomial(n, 1/2)
    (Conover 1999, Practical Nonparametric Statistics, 3.2). Always symmetric in rank: turning the values
    round turns the interval round. None below 6 values for 95 %. Raises ValueError for NaN or infinity.
    """
    row = np.sort(finite(values))
    count = len(row)
    if count == 0:
        return Estimate(0, None, None, None, None, None, "no value")
    middle = float(row[(count - 1) // 2] + row[count // 2]) / 2
    rank, achieved = median_rank(count, confidence)
    if rank == 0:
        reason = f"{count} value{'s' * (count > 1)} have no {confidence:.0%} interval of the median"
        return Estimate(count, middle, None, None, None, None, reason)
    return Estimate(count, middle, float(row[rank - 1]), float(row[count - rank]), achieved, None)


@lru_cache(maxsize=1024)
def median_rank(count: int, confidence: float = 0.95) -> tuple[int, float]:
    """Return k, counted from 1 from either end, and the achieved confidence; (0, 0.0) when there is none."""
    side = (1 - confidence) / 2
    if count > 1000:  # 2**-n is no double any more: the normal approximation, with its continuity correction.
        rank = math.floor((count + 1) / 2 + NORMAL.inv_cdf(side) * math.sqrt(count) / 2)
        return rank, confidence
    rank, below = 0, 0.0
    while below + math.comb(count, rank) / 2**count <= side:
        below += math.comb(count, rank) / 2**count
        rank += 1
    return (rank, 1 - 2 * below) if rank else (0, 0.0)


def outliers(
    values: ArrayLike, *, limit: float = OUTLIER_LIMIT, resolution: float = 0.0
) -> NDArray[np.bool_]:
    """Return for each value whether |x - median| / MAD > limit. It is a flag: nothing is ever dropped.

    MAD is the median of |x - median|. When more than half of the values are equal it is 0 and every other
    value is flagged, but for those within limit * `resolution` (the step of the tool, in the values' unit).
    Raises ValueError for NaN or infinity.
    """
    row = finite(values)
    if len(row) == 0:
        return np.zeros(0, dtype=np.bool_)
    away = np.abs(row - np.median(row))
    return np.asarray(away > limit * max(float(np.median(away)), resolution))


@dataclass(frozen=True, slots=True)
class EquivalenceMargin:
    """The effect up to which two things count as equal: a `share` (0.01 is 1 %), and where it comes from."""

    share: float
    source: str


def equivalence_margin(
    aa_history: ArrayLike = (), *, resolution: float = 0.0, smallest: float = 0.01
) -> EquivalenceMargin:
    """Return the margin: max(1 %, 99th percentile of A/A history, the tool's resolution).

    `aa_history` are the logarithms of A2/A1 ratios of earlier comparisons; their sign does not matter. The
    percentile is the smallest recorded value that at least 99 % do not exceed; below 20 results it is not
    asked for, as it would be the largest of a few. `resolution` is a share too. Raises ValueError for NaN
    or infinity or a negative resolution.
    """
    if not (resolution >= 0 and math.isfinite(resolution)):
        raise ValueError("a resolution is at least 0")
    sizes = np.sort(np.abs(finite(aa_history)))
    candidates = [
        EquivalenceMargin(smallest, f"the least, {smallest:.3g}"),
        EquivalenceMargin(resolution, "the tool's resolution"),
    ]
    if len(sizes) >= FEWEST_FOR_PERCENTILE:
        size = float(sizes[math.ceil(0.99 * len(sizes)) - 1])
        words = f"99th percentile of {len(sizes)} A/A results"
        candidates.append(EquivalenceMargin(math.expm1(size), words))
    return max(candidates, key=lambda candidate: candidate.share)


def clopper_pearson(events: int, trials: int, *, confidence: float = 0.95) -> Estimate:
    """Return the rate events / trials with its exact interval, e.g. of A/A tests with p <= 0.05.

    The ends are quantiles of Beta(x, n-x+1) and Beta(x+1, n-x) (Clopper & Pearson 1934, Biometrika 26:404):
    it covers at least `confidence` for every true rate. No trial has no rate. Raises ValueError for counts
    that cannot be.
    """
    if not 0 <= events <= trials:
        raise ValueError(f"{events} events of {trials} trials cannot be")
    if trials == 0:
        return Estimate(0, None, None, None, None, None, "no trial yet")
    side = (1 - confidence) / 2
    low = beta_quantile(side, events, trials - events + 1) if events else 0.0
    high = beta_quantile(1 - side, events + 1, trials - events) if events < trials else 1.0
    return Estimate(trials, events / trials, low, high, confidence, None)
