"""Variance components: variance per level of a nested experiment (iteration, process or boot, block).

Kalibera & Jones 2013, Rigorous Benchmarking in Reasonable Time (ISMM), sections 6 and 9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from perfctl.stats.signed_rank import Floats


def variance_components(values: ArrayLike) -> list[float]:
    """Return T^2 of every level, from the innermost to the outermost; one below 0 means none to be seen.

    `values` is an array with one axis per level, the outermost (e.g. boots) first, all of one size per
    axis. T_1^2 = S_1^2, T_i^2 = S_i^2 - S_(i-1)^2 / n_(i-1), S_i^2 the mean variance (n - 1) of the means
    one level below. Raises ValueError for NaN, infinity, or a level with fewer than two values.
    """
    means: Floats = np.asarray(values, dtype=np.float64)
    if means.ndim == 0 or min(means.shape) < 2:
        raise ValueError("every level needs at least two values, the same number everywhere")
    if not np.isfinite(means).all():
        raise ValueError("values must be finite")
    found: list[float] = []
    below, size = 0.0, 1
    while means.ndim:
        variance = float(np.mean(means.var(axis=-1, ddof=1)))
        found.append(variance - below / size)
        below, size = variance, means.shape[-1]
        means = np.asarray(means.mean(axis=-1))
    return found


def best_repetitions(components: Sequence[float], costs: Sequence[float]) -> list[float]:
    """Return how often to repeat each level but the outermost, innermost first, for the least variance.

    `components` from `variance_components`; `costs` the time that one repetition of each level adds,
    innermost first: of an iteration, of a process with its warm-up, of a boot: n_i = sqrt(c_(i+1) / c_i *
    T_i^2 / T_(i+1)^2); infinite where the level above has no variance: repeating it again buys nothing.
    """
    if len(components) != len(costs) or min(costs, default=1) <= 0:
        raise ValueError("one cost above 0 is needed per level")
    found = []
    for level in range(len(components) - 1):
        inner, outer = max(components[level], 0.0), components[level + 1]
        found.append(math.sqrt(costs[level + 1] / costs[level] * inner / outer) if outer > 0 else math.inf)
    return found
