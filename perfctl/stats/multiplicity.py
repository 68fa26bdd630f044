"""Many comparisons in one report: q values for readers, adjusted p for gates.

None stands for a comparison without a p: it stays None and is no test, so it does not count among them.
"""

from __future__ import annotations

from collections.abc import Sequence


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Return q in the order of `p_values`: calling all with q <= x different is wrong in a share x of calls.

    q_(i) = min over j >= i of m p_(j) / j, at most 1 (Benjamini & Hochberg 1995, JRSS B 57:289). It holds for
    independent and for positively dependent tests. Raises ValueError for a p outside [0, 1].
    """
    places = _ascending(p_values)
    found: list[float | None] = [None] * len(p_values)
    smallest = 1.0
    for rank in range(len(places), 0, -1):
        place, p = places[rank - 1]
        smallest = min(smallest, len(places) * p / rank)
        found[place] = smallest
    return found


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return adjusted p in the order of `p_values`: of those <= x not one is wrong, but for a chance of x.

    p~_(i) = max over j <= i of (m - j + 1) p_(j), at most 1 (Holm 1979, Scandinavian J. of Statistics 6:65).
    It holds whatever the dependence. Raises ValueError for a p outside [0, 1].
    """
    places = _ascending(p_values)
    found: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for done, (place, p) in enumerate(places):
        largest = max(largest, min(1.0, (len(places) - done) * p))
        found[place] = largest
    return found


def _ascending(p_values: Sequence[float | None]) -> list[tuple[int, float]]:
    places = [(place, p) for place, p in enumerate(p_values) if p is not None]
    if not all(0 <= p <= 1 for _, p in places):
        raise ValueError("p must be from 0 to 1")
    return sorted(places, key=lambda entry: entry[1])
