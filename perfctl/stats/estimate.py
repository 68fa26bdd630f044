"""An estimate with its interval, whatever method made it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from perfctl.stats.signed_rank import Floats


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, the interval around it and the p of "no effect", all in the unit of what went in.

    What cannot be had is None, never 0, and `reason` says why; `reason` is '' when nothing is missing.
    """

    n: int
    """How many independent units it rests on (blocks, hosts, values: the function says which)."""
    estimate: float | None
    low: float | None
    high: float | None
    confidence: float | None
    """What the interval achieves; above what was asked for where the distribution is discrete."""
    p: float | None
    """Two-sided; None where the method has no test or nothing to test with."""
    reason: str = ""


def finite(values: ArrayLike) -> Floats:
    """Return `values` as one row of doubles. Raises ValueError for NaN or infinity."""
    row = np.asarray(values, dtype=np.float64).reshape(-1)
    if not np.isfinite(row).all():
        raise ValueError("values must be finite")
    return row


def median_of_sorted(row: Floats) -> float:
    """Return the median of a row in ascending order; negating and reversing the row negates it exactly."""
    return float(row[(len(row) - 1) // 2] + row[len(row) // 2]) / 2
