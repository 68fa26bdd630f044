"""The Hodges-Lehmann estimate and its signed-rank interval, both from Walsh averages.

The Walsh averages of d_1 .. d_n are the M = n(n+1)/2 means (d_i + d_j) / 2, i <= j. Their median is the
estimate; the k-th smallest and the k-th largest bound it, where k is the largest number with
P(T+ <= k - 1) <= (1 - confidence) / 2 (Hollander, Wolfe & Chicken, 2014, 3.2 and 3.3). The distribution is
that without ties, so with ties the interval covers at least what it says.
"""

from __future__ import annotations

import numpy as np

from perfctl.stats.interval_rank import interval_rank
from perfctl.stats.signed_rank import Floats

_WALSH_UP_TO = 2000
"""The largest n whose Walsh averages are all made (2 million doubles); beyond it they are only counted."""


def estimates(rows: Floats) -> Floats:
    """Return the Hodges-Lehmann estimate of every row. Negated rows give negated estimates, bit for bit."""
    n = rows.shape[1]
    total = n * (n + 1) // 2
    middle = _order_statistics(rows, ((total + 1) // 2, total // 2 + 1))
    return np.asarray(middle[:, 0] + middle[:, 1]) / 2


def intervals(rows: Floats, confidence: float = 0.95) -> tuple[Floats, Floats, float] | None:
    """Return lower bounds, upper bounds and the achieved confidence, or None when n is too small for one."""
    n = rows.shape[1]
    found = interval_rank(n, confidence)
    if found is None:
        return None
    bounds = _order_statistics(rows, (found.rank, n * (n + 1) // 2 + 1 - found.rank))
    return bounds[:, 0], bounds[:, 1], found.confidence


def _order_statistics(rows: Floats, ranks: tuple[int, ...]) -> Floats:
    """Return the Walsh averages of these ranks (from 1) of every row, one column for each rank."""
    n = rows.shape[1]
    if n > _WALSH_UP_TO:
        return np.array([[_walsh_by_counting(np.sort(row), rank) for rank in ranks] for row in rows])
    first, second = np.triu_indices(n)
    step = max(1, 4_000_000 // len(first))
    columns = [rank - 1 for rank in ranks]
    parts = []
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        walsh = (part[:, first] + part[:, second]) / 2
        walsh.partition(sorted(set(columns)), axis=1)
        parts.append(walsh[:, columns])
    return np.concatenate(parts) if parts else np.empty((0, len(ranks)))


def _walsh_by_counting(ordered: Floats, rank: int) -> float:
    """Return the Walsh average of this rank by bisection, without making all of them: O(n log n) a step."""
    low, high = float(ordered[0]), float(ordered[-1])
    while True:
        middle = low + (high - low) / 2
        if middle in (low, high):
            break
        pairs = np.searchsorted(ordered, 2 * middle - ordered, "right").sum()
        singles = np.searchsorted(ordered, middle, "right")
        if (int(pairs) + int(singles)) // 2 >= rank:
            high = middle
        else:
            low = middle
    return high
