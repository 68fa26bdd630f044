"""The words for a comparison. They say what was seen and how sure it is; they never call it significant."""

from __future__ import annotations

import math

from perfctl.model import Comparison, Direction
from perfctl.model.quantity import number

_TIME_UNITS = frozenset({"ns", "us", "µs", "μs", "ms", "s"})
_MOST_DECIMALS = 5


def words(comparison: Comparison) -> str:
    """Return e.g. '1.34x faster (-25%) [1.31-1.37x] p=0.002 n=10 blocks'.

    A time also has its absolute cost: '1.34x slower (+34%, +3.40 ms) ...'. The interval is that of the factor
    in front; below 1x it reaches into the other direction. What does not exist is left out; without a ratio
    the note stands in.
    """
    if comparison.ratio is None:
        return comparison.note
    parts = [describe(comparison.ratio, comparison.metric.direction, absolute=_absolute_cost(comparison))]
    if comparison.low is not None and comparison.high is not None:
        parts.append(_interval(comparison.ratio, comparison.low, comparison.high))
    if comparison.p is not None:
        parts.append(p_text(comparison.p))
    # The place of what comes later: q=... after p, "x H hosts" after the blocks, the verdict in front of all.
    parts.append(f"n={comparison.blocks} block" + ("" if comparison.blocks == 1 else "s"))
    return " ".join(parts)


def describe(ratio: float, direction: Direction, *, absolute: str = "") -> str:
    """Return the words for environment / baseline, e.g. '1.20x slower (+20%)'.

    Percent is the change in the metric's own unit, so '1.25x slower (-20%)' is a rate that fell. `absolute`
    is put beside it. A neutral metric is higher or lower, never faster or slower.
    """
    if ratio == 1:
        return "no change"
    factor = max(ratio, 1 / ratio)
    word = _word(ratio, direction)
    change = ", ".join(filter(None, (_percent(ratio), absolute)))
    text = _factor(factor, 2)
    if text == "1.00":
        return f"{word} by less than 0.5% ({change})"
    return f"{text}x {word} ({change})"


def p_text(p: float) -> str:
    """Return 'p=0.002', 'p<0.001', or one more digit where rounding would hide the side of 0.05."""
    if p < 0.0005:
        return "p<0.001"
    text = f"{p:.3f}"
    return f"p={p:.4f}" if text == "0.050" else f"p={text}"


def _word(ratio: float, direction: Direction) -> str:
    if direction is Direction.NEUTRAL:
        return "higher" if ratio > 1 else "lower"
    return "faster" if (ratio > 1) == (direction is Direction.HIGHER) else "slower"


def _percent(ratio: float) -> str:
    change = 100 * (ratio - 1)
    if abs(change) >= 9.95:
        return f"{change:+,.0f}%"
    text = f"{change:+.1f}%"
    return f"{change:+.2g}%" if text in ("+0.0%", "-0.0%") else text


def _factor(factor: float, decimals: int) -> str:
    if factor >= 100:
        return f"{factor:,.0f}"
    if factor >= 10:
        decimals = min(decimals, 1)
    return f"{factor:.{decimals}f}"


def _interval(ratio: float, low: float, high: float) -> str:
    """Return '[1.31-1.37x]' in the sense of the factor.

    It has as many decimals as tell the ends apart, and as show on which side of 1 they are.
    """
    if ratio < 1:
        low, high = 1 / high, 1 / low
    gaps = [gap for gap in (high - low, 2 * abs(low - 1), 2 * abs(high - 1)) if gap > 0]
    decimals = min(_MOST_DECIMALS, max([2, *(math.ceil(-math.log10(gap)) for gap in gaps)]))
    return f"[{_factor(low, decimals)}-{_factor(high, decimals)}x]"


def _absolute_cost(comparison: Comparison) -> str:
    """Return e.g. '+3.40 ms' for a time that is better when lower; '' for anything else.

    It is the ratio's share of the baseline's median: the difference of the two medians is unpaired, and may
    even have the other sign.
    """
    metric = comparison.metric
    if metric.unit not in _TIME_UNITS or metric.direction is not Direction.LOWER:
        return ""
    if comparison.ratio is None or comparison.baseline_value is None:
        return ""
    cost = (comparison.ratio - 1) * comparison.baseline_value
    return f"{'+' if cost > 0 else ''}{number(cost, 3)} {metric.unit}"
