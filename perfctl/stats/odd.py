"""Which of several values does not belong to the others: a robust z, and a p from its own distribution."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perfctl.stats.estimate import finite
from perfctl.stats.seeded import uniforms

FEWEST = 5
"""Values below which none is called odd: of four, two may be odd, or the other two."""

_SIMULATED = 1_000_000
"""Values that the distribution of z is made of."""


def robust_z(rows: ArrayLike) -> NDArray[np.float64]:
    """Return z of every value of every row: its distance from the row's median over the row's scale.

    The scale is the root mean square of the distances of all but the quarter that is farthest: up to a
    quarter of odd values hides neither itself nor the others. A row whose scale is 0 has z = 0: nothing can
    be said. Unlike z of a normal distribution it needs its own table, which `odd_p` has.
    """
    values = np.atleast_2d(np.asarray(rows, dtype=np.float64))
    away = values - np.median(values, axis=1, keepdims=True)
    count = values.shape[1]
    kept = count - count // 4
    nearest = np.partition(np.abs(away), kept - 1, axis=1)[:, :kept]
    scale = np.sqrt(np.mean(nearest**2, axis=1, keepdims=True))
    return np.divide(away, scale, out=np.zeros_like(away), where=scale > 0)


def odd_p(values: ArrayLike) -> NDArray[np.float64]:
    """Return the two-sided p of every value: how often one of so many normal values has as large a |z|.

    The distribution is simulated with a fixed seed, the same for every row of a length. Below `FEWEST` values
    every p is 1. Raises ValueError for NaN or infinity.
    """
    row = finite(values)
    if len(row) < FEWEST:
        return np.ones(len(row))
    simulated = _simulated_z(len(row))
    above = len(simulated) - np.searchsorted(simulated, np.abs(robust_z(row)[0]), side="left")
    return np.asarray((above + 1) / (len(simulated) + 1))


@lru_cache(maxsize=8)
def _simulated_z(count: int) -> NDArray[np.float64]:
    rows = max(1000, _SIMULATED // count)
    # Box and Muller 1958: two uniforms make two normal values.
    one, two = uniforms(f"odd values among {count}", rows * (count + count % 2)).reshape(2, -1)
    radius = np.sqrt(-2 * np.log1p(-one))
    normal = np.concatenate([radius * np.cos(2 * np.pi * two), radius * np.sin(2 * np.pi * two)])
    return np.sort(np.abs(robust_z(normal[: rows * count].reshape(rows, count))), axis=None)
