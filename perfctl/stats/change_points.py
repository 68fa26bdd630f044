"""Where a history changed: E-divisive, then the rules for an alarm.

E-divisive (Matteson & James 2014, JASA 109:334) splits a series where the energy distance between what is
left and right of it is largest, and asks a permutation test whether chance would split as well. Here each
segment is split on its own, with alpha = 1 and permutations seeded by its place, so that the same history
gives the same answer. Cost: O(n^2) memory and time per permutation; a few hundred points are a matter of a
second.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike

from perfctl.stats.distributions import t_two_sided_p
from perfctl.stats.estimate import finite
from perfctl.stats.multiplicity import holm
from perfctl.stats.seeded import uniforms
from perfctl.stats.signed_rank import Floats

FEWEST_POINTS = 3
"""Points that a segment needs on each side of a change."""

SMALLEST_SHIFT = 0.02
_ALPHA = 0.01
_PERMUTATIONS = 199
_NO_VARIANCE = 1e-28
"""What equal logarithms may come to by rounding in their mean is below it."""


class ChangeState(Enum):
    """How sure a change is."""

    SUSPECTED = "suspected"
    """The points say so, their blocks do not (or are not known)."""
    CONFIRMED = "confirmed"
    """The blocks behind the points say so too."""


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """A change between points `index` - 1 and `index`. Medians and shift are logarithms."""

    index: int
    before: float
    after: float
    p: float
    """Of the permutation test that found it."""
    block_p: float | None
    """Of the re-test on blocks, Holm-adjusted over the changes of this history; None without blocks."""
    state: ChangeState
    reason: str = ""
    """Why it is not confirmed."""

    @property
    def shift(self) -> float:
        """Return after - before: ln of the factor by which the level changed."""
        return self.after - self.before


def change_points(
    points: ArrayLike,
    *,
    seed: str,
    blocks: Sequence[ArrayLike] | None = None,
    margin: float = 0.0,
    alpha: float = _ALPHA,
) -> list[ChangePoint]:
    """Return the changes of a history that are large enough to report, in order.

    `points` are logarithms, one per run, oldest first: of the ratio to the in-run baseline, or of the raw
    baseline. `blocks` has for each point the block values (logarithms too) that it came from; `margin` is
    the equivalence margin as a share. A change has at least 3 points on each side up to the next change,
    and medians there that differ by more than max(2 %, margin); it is confirmed when the re-test on the
    blocks has p <= alpha. Fewer than 6 points have none. Raises ValueError for NaN or infinity, a negative
    margin, or lengths that differ.
    """
    series = finite(points)
    if margin < 0:
        raise ValueError("an equivalence margin is at least 0")
    if blocks is not None and len(blocks) != len(series):
        raise ValueError("one row of blocks is needed per point")
    found = _large_enough(series, e_divisive(series, seed=seed, alpha=alpha), max(SMALLEST_SHIFT, margin))
    ends = [0, *(index for index, _ in found), len(series)]
    tests = _re_tests(blocks, ends) if blocks is not None else [None] * len(found)
    return [
        _judged(series, ends[place : place + 3], p, block_p, alpha, blocks is None)
        for place, ((_, p), block_p) in enumerate(zip(found, holm(tests), strict=True))
    ]


def e_divisive(
    series: ArrayLike, *, seed: str, alpha: float = _ALPHA, permutations: int = _PERMUTATIONS
) -> list[tuple[int, float]]:
    """Return (index, p) of every split with p <= alpha, in order; each segment has at least 3 points.

    p = (1 + number of permutations that split as well) / (1 + permutations). Raises ValueError for NaN or
    infinity.
    """
    row = finite(series)
    found: list[tuple[int, float]] = []
    waiting = [(0, len(row))]
    while waiting:
        start, end = waiting.pop()
        split = _split(row[start:end], f"{seed}/{start}-{end}", alpha, permutations)
        if split is not None:
            index = start + split[0]
            found.append((index, split[1]))
            waiting += [(start, index), (index, end)]
    return sorted(found)


def _split(segment: Floats, seed: str, alpha: float, permutations: int) -> tuple[int, float] | None:
    """Return the best split of one segment and its p, or None when p > alpha."""
    count = len(segment)
    if count < 2 * FEWEST_POINTS or segment.min() == segment.max():
        return None
    distances = np.abs(segment[:, None] - segment[None, :])
    place, best = _largest_energy(distances)
    shuffled = uniforms(seed, permutations * count).reshape(permutations, count).argsort(axis=1)
    allowed = math.floor(alpha * (permutations + 1) + 1e-9) - 1
    as_good = 0
    for order in shuffled:
        # Rounding must not make a permutation of equal worth look worse than the series itself.
        as_good += _largest_energy(distances[np.ix_(order, order)])[1] >= best * (1 - 1e-12)
        if as_good > allowed:
            return None
    return place, (1 + as_good) / (1 + permutations)


def _largest_energy(distances: Floats) -> tuple[int, float]:
    """Return t and Q of the best split [0, t) | [t, k) over all t and k, from the matrix of |x_i - x_j|.

    Q = t m / (t + m) (2 mean between - mean within left - mean within right), m = k - t; the means within
    are over pairs, i < j. All of them come from one two-dimensional running sum.
    """
    count = len(distances)
    running = np.zeros((count + 1, count + 1))
    np.cumsum(np.cumsum(distances, axis=0), axis=1, out=running[1:, 1:])
    ends = np.arange(2 * FEWEST_POINTS, count + 1)
    splits = np.arange(FEWEST_POINTS, count - FEWEST_POINTS + 1)
    left = np.diagonal(running)[splits][:, None]
    whole = np.diagonal(running)[ends][None, :]
    reach = running[np.ix_(splits, ends)]
    t = splits[:, None].astype(np.float64)
    m = np.maximum(ends[None, :] - t, FEWEST_POINTS)
    right = whole - 2 * reach + left
    energy = 2 * (reach - left) / (t * m) - left / (t * (t - 1)) - right / (m * (m - 1))
    q = np.where(ends[None, :] - t >= FEWEST_POINTS, t * m / (t + m) * energy, -np.inf)
    best = int(q.argmax())
    return int(splits[best // len(ends)]), float(q.reshape(-1)[best])


def _large_enough(series: Floats, found: list[tuple[int, float]], smallest: float) -> list[tuple[int, float]]:
    """Take away the smallest change, and join what it parted, until all shifts are above `smallest`."""
    kept = list(found)
    while kept:
        ends = [0, *(index for index, _ in kept), len(series)]
        shifts = [
            abs(float(np.median(series[b:c]) - np.median(series[a:b])))
            for a, b, c in zip(ends, ends[1:], ends[2:], strict=False)
        ]
        least = min(range(len(kept)), key=shifts.__getitem__)
        if shifts[least] > math.log1p(smallest):
            break
        del kept[least]
    return kept


def _re_tests(blocks: Sequence[ArrayLike], ends: Sequence[int]) -> list[float | None]:
    rows = [finite(row) for row in blocks]
    triples = zip(ends, ends[1:], ends[2:], strict=False)
    return [block_shift_p(rows[a:b], rows[b:c]) for a, b, c in triples]


def block_shift_p(before: Sequence[ArrayLike], after: Sequence[ArrayLike]) -> float | None:
    """Return the two-sided p of "the same level", from the blocks of the runs before and after.

    Welch's t over the means of runs, as blocks of one run share what that run had: the run is the unit.
    Three means may agree by luck, so the variance of a side's level is never taken below what its blocks
    themselves give, sum s_r^2 / n_r / k^2 (then with the blocks' degrees of freedom, sum (n_r - 1)). None
    with fewer than two runs on a side or with zero variance. Raises ValueError for NaN or infinity.
    """
    sides = [[row for row in map(finite, side) if len(row)] for side in (before, after)]
    if min(map(len, sides)) < 2:
        return None
    levels = [_level(side) for side in sides]
    total = levels[0][1] + levels[1][1]
    if total < _NO_VARIANCE:
        return None
    degrees = total**2 / sum(variance**2 / freedom for _, variance, freedom in levels)
    return t_two_sided_p((levels[1][0] - levels[0][0]) / math.sqrt(total), degrees)


def _level(rows: Sequence[Floats]) -> tuple[float, float, int]:
    """Return the mean of run means, its variance, and the degrees of freedom of that variance."""
    means = [float(row.mean()) for row in rows]
    between = statistics.variance(means) / len(rows)
    inside = sum(float(row.var(ddof=1)) / len(row) for row in rows if len(row) > 1) / len(rows) ** 2
    if inside > between:
        return statistics.fmean(means), inside, sum(len(row) - 1 for row in rows)
    return statistics.fmean(means), between, len(rows) - 1


def _judged(
    series: Floats, ends: Sequence[int], p: float, block_p: float | None, alpha: float, no_blocks: bool
) -> ChangePoint:
    start, index, end = ends
    before, after = float(np.median(series[start:index])), float(np.median(series[index:end]))
    if block_p is not None and block_p <= alpha:
        return ChangePoint(index, before, after, p, block_p, ChangeState.CONFIRMED)
    if no_blocks:
        reason = "its blocks are not known"
    elif block_p is None:
        reason = "its blocks have zero variance, or one side has a single run with blocks"
    else:
        reason = f"its blocks do not show it (p={block_p:.3g})"
    return ChangePoint(index, before, after, p, block_p, ChangeState.SUSPECTED, reason)
