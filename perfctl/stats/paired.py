"""All statistics of paired differences in one call."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from perfctl.stats.hodges_lehmann import estimates, intervals
from perfctl.stats.signed_rank import Floats, p_values


@dataclass(frozen=True, slots=True)
class PairedResult:
    """Hodges-Lehmann estimate, exact signed-rank interval and p of n paired differences.

    `low`, `high` and `confidence` are None when n has no such interval (n < 6 for 95 %), `p` when n is 1.
    """

    n: int
    estimate: float
    low: float | None
    high: float | None
    confidence: float | None
    p: float | None

    @property
    def reason(self) -> str:
        """Return why these figures support no claim; '' when they may. The figures themselves are exact."""
        if self.n == 1:
            return "one block has no p and no interval"
        if self.low is None:
            return f"{self.n} blocks have no interval, and no p that could be small"
        if self.low == self.high:
            return "zero variance: every block gave the same difference"
        return ""


def paired(differences: ArrayLike, *, confidence: float = 0.95) -> PairedResult:
    """Return the result for one sample. Raises ValueError for no differences, NaN or infinity."""
    row = np.asarray(differences, dtype=np.float64).reshape(1, -1)
    return paired_rows(row, confidence=confidence)[0]


def paired_rows(rows: Floats, *, confidence: float = 0.95) -> list[PairedResult]:
    """Return the result for every row; see `paired`. Negating a row negates its result, bit for bit."""
    p = p_values(rows)
    n = rows.shape[1]
    middle = estimates(rows).tolist()
    bounds = intervals(rows, confidence)
    if bounds is None:
        shown = p.tolist() if n > 1 else [None] * len(rows)
        return [PairedResult(n, m, None, None, None, value) for m, value in zip(middle, shown, strict=True)]
    low, high, achieved = bounds
    return [
        PairedResult(n, *values[:3], achieved, values[3])
        for values in zip(middle, low.tolist(), high.tolist(), p.tolist(), strict=True)
    ]
