"""Figures of a comparison as text, one function per figure: tables and sentences share them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from perfctl.model import Comparison, Direction, FleetComparison, RunComparison
from perfctl.model.quantity import counted, number

EMULATED = "emulated: not an overhead figure"
"""What every figure of a guest under tcg is headed with: it shows what works, not what a guest costs."""

_TIME_UNITS = frozenset({"ns", "us", "µs", "μs", "ms", "s"})
_MOST_DECIMALS = 5


def format_ratio(ratio: float, direction: Direction) -> str:
    """Return environment / baseline in words, e.g. '1.20x slower', '1.002x higher' or 'no change'.

    A rate that falls and a time that grows are both slower. A neutral metric is higher or lower.
    """
    if ratio == 1:
        return "no change"
    factor = max(ratio, 1 / ratio)
    texts = [_factor(factor, decimals) for decimals in range(2, _MOST_DECIMALS + 1)]
    text = next((text for text in texts if float(text.replace(",", "")) != 1), texts[-1])
    return f"{text}x {_word(ratio, direction)}"


def format_interval(ratio: float, low: float | None, high: float | None) -> str:
    """Return the interval of the factor that `format_ratio` gives, e.g. '1.31 to 1.37', or ''.

    An end below 1 lies in the other direction. It has as many decimals as tell the ends apart, and as show on
    which side of 1 they are.
    """
    if low is None or high is None:
        return ""
    if ratio < 1:
        low, high = 1 / high, 1 / low
    gaps = [gap for gap in (high - low, 2 * abs(low - 1), 2 * abs(high - 1)) if gap > 0]
    decimals = min(_MOST_DECIMALS, max([2, *(math.ceil(-math.log10(gap)) for gap in gaps)]))
    return f"{_factor(low, decimals)} to {_factor(high, decimals)}"


def format_p(p: float | None) -> str:
    """Return '0.002', '<0.001', one more digit where rounding would hide the side of 0.05, '' of None."""
    if p is None:
        return ""
    if p < 0.0005:
        return "<0.001"
    text = f"{p:.3f}"
    return f"{p:.4f}" if text == "0.050" else text


def format_labelled_p(p: float | None, name: str = "p") -> str:
    """Return 'p=0.002', 'p<0.001', or '' of None."""
    text = format_p(p)
    return f"{name}{text}" if text.startswith("<") else text and f"{name}={text}"


def format_range(low: float | None, high: float | None, unit: str = "", *, signed: bool = False) -> str:
    """Return '1.20 to 3.40 ms', or '' where there is no interval."""
    if low is None or high is None:
        return ""
    ends = [_signed(end) if signed else number(end) for end in (low, high)]
    return f"{ends[0]} to {ends[1]} {unit}".rstrip()


def format_difference(item: Comparison) -> str:
    """Return the absolute cost, e.g. '+340 ms', where the comparison has one; seconds are given in ms."""
    if item.difference is None:
        return ""
    unit, scale = _difference_unit(item)
    return f"{_signed(item.difference * scale)} {unit}"


def format_difference_interval(item: Comparison) -> str:
    """Return the interval of the absolute cost, e.g. '+310 to +370 ms', or ''."""
    if item.difference_low is None or item.difference_high is None:
        return ""
    unit, scale = _difference_unit(item)
    return format_range(item.difference_low * scale, item.difference_high * scale, unit, signed=True)


def format_share_of_baseline(item: Comparison) -> str:
    """Return e.g. '+3.40 ms' for a time that is better when lower; '' for anything else.

    It is the ratio's share of the baseline's median: the difference of the two medians is unpaired, and may
    even have the other sign.
    """
    metric = item.metric
    if metric.unit not in _TIME_UNITS or metric.direction is not Direction.LOWER or item.ratio in (1, None):
        return ""
    if item.baseline_value is None or item.ratio is None:
        return ""
    return f"{_signed((item.ratio - 1) * item.baseline_value)} {metric.unit}"


def format_n(item: Comparison | RunComparison | FleetComparison) -> str:
    """Return the blocks that figures rest on: '10', of two runs '10, 12', of three hosts '10 x 3'."""
    if isinstance(item, Comparison):
        return str(item.blocks)
    if isinstance(item, RunComparison):
        return ", ".join(map(str, item.blocks))
    counts = zip(*(host.blocks for host in item.hosts), strict=True)
    runs = [str(min(run)) if min(run) == max(run) else f"{min(run)}-{max(run)}" for run in counts]
    return f"{', '.join(runs)} x {len(item.hosts)}"


def format_blocks(blocks: Sequence[int]) -> str:
    """Return e.g. '10 blocks', and of two runs '10 and 12 blocks'."""
    *earlier, last = blocks
    return " and ".join([*map(str, earlier), counted(last, "block")])


def _word(ratio: float, direction: Direction) -> str:
    if direction is Direction.NEUTRAL:
        return "higher" if ratio > 1 else "lower"
    return "faster" if (ratio > 1) == (direction is Direction.HIGHER) else "slower"


def _factor(factor: float, decimals: int) -> str:
    if factor >= 100:
        return f"{factor:,.0f}"
    if factor >= 10:
        decimals = min(decimals, 1)
    return f"{factor:.{decimals}f}"


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{number(value, 3)}"


def _difference_unit(item: Comparison) -> tuple[str, float]:
    return ("ms", 1000.0) if item.metric.unit == "s" else (item.metric.unit, 1.0)
