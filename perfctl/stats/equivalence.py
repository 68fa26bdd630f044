"""Where an interval lies against a margin: two one-sided tests read off the interval.

A two-sided interval of confidence c wholly inside (-margin, margin) rejects both "at least margin" and "at
most -margin", each at (1 - c) / 2 (Schuirmann 1987, J. Pharmacokinetics and Biopharmaceutics 15:657; he
took the 90 % interval for a level of 5 %, perfctl takes the 95 % interval that it prints, which is
stricter).
"""

from __future__ import annotations

import math
from enum import Enum


class Position(Enum):
    """Where an interval lies. The four exclude each other."""

    INSIDE = "inside"
    """Wholly inside the margins: equivalent."""
    BEYOND = "beyond"
    """Wholly above the upper or below the lower margin."""
    CROSSING = "crossing"
    """Neither: it holds a margin, so the effect may be small or not."""
    UNKNOWN = "unknown"
    """There is no interval."""


def log_margin(share: float) -> float:
    """Return the margin on the scale of logarithms for a share: ln(1 + share), the same up and down.

    So 1.01x slower and 1.01x faster are equally far, and swapping the environments swaps the verdict.
    Raises ValueError for a negative, infinite or NaN share.
    """
    if not (math.isfinite(share) and share >= 0):
        raise ValueError("an equivalence margin is at least 0")
    return math.log1p(share)


def position(low: float | None, high: float | None, margin: float) -> Position:
    """Return where [low, high] lies against ±margin, all on one scale. A bound on a margin is not past it."""
    if low is None or high is None:
        return Position.UNKNOWN
    if -margin < low and high < margin:
        return Position.INSIDE
    if low > margin or high < -margin:
        return Position.BEYOND
    return Position.CROSSING
