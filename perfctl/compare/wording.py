"""The words for a comparison. They say what was seen and how sure it is; they never call it significant."""

from __future__ import annotations

import math
from collections.abc import Sequence

from perfctl.model import Comparison, Direction, Judgement, Verdict
from perfctl.model.quantity import counted, number

EMULATED = "emulated: not an overhead figure"
"""What every figure of a guest under tcg is headed with: it says what works, not what a guest costs."""

_TIME_UNITS = frozenset({"ns", "us", "µs", "μs", "ms", "s"})
_MOST_DECIMALS = 5


def words(comparison: Comparison) -> str:
    """Return e.g. 'different: 1.34x faster (-25%) [1.31-1.37x] p=0.002 q=0.01 n=10 blocks'.

    The verdict stands in front where there is one; an inconclusive line ends with what it could have found
    and what it would need. A time also has its absolute cost: '1.34x slower (+34%, +3.40 ms) ...', a metric
    that asks for its difference that with its interval: '(+34%, +340 ms [+310 to +370 ms])'. The interval
    after the brackets is that of the factor in front; below 1x it reaches into the other direction. What
    does not exist is left out; without a ratio the note stands in. Emulated figures are headed as such.
    """
    text = comparison.note if comparison.ratio is None else _figures(comparison, comparison.ratio)
    return headed(text, comparison.judgement, is_emulated=comparison.is_emulated, units="blocks")


def headed(text: str, judgement: Judgement | None, *, is_emulated: bool, units: str) -> str:
    """Return the text with the verdict in front and, if inconclusive, what it would need behind.

    `units` is what more of would help, e.g. 'blocks'.
    """
    if judgement is not None:
        text = f"{judgement.verdict}: {text}" if text else str(judgement.verdict)
        needs = needs_text(judgement, units)
        text = f"{text}; {needs}" if needs else text
    return f"{EMULATED}; {text}" if is_emulated else text


def needs_text(judgement: Judgement, units: str) -> str:
    """Return e.g. 'would find 3.1% or more, needs about 74 blocks to decide', or ''.

    The number is for an effect that stays as it was estimated; the smaller it is, the more it takes.
    """
    if judgement.verdict is not Verdict.INCONCLUSIVE:
        return ""
    parts = [] if judgement.mde is None else [f"would find {share_text(judgement.mde)} or more"]
    if judgement.needed is not None:
        parts.append(f"needs about {judgement.needed:,} {units} to decide")
    return ", ".join(parts)


def share_text(share: float) -> str:
    """Return e.g. '3.1%' or '140%'."""
    return f"{100 * share:.2g}%" if 100 * share < 99.5 else f"{100 * share:,.0f}%"


def _figures(comparison: Comparison, ratio: float) -> str:
    absolute = _difference(comparison) or _share_of_baseline(comparison, ratio)
    q = comparison.judgement.q if comparison.judgement else None
    parts = [
        describe(ratio, comparison.metric.direction, absolute=absolute),
        factor_interval(ratio, comparison.low, comparison.high),
        p_text(comparison.p),
        p_text(q, "q"),
        f"n={blocks_text([comparison.blocks])}",
    ]
    return " ".join(filter(None, parts))


def blocks_text(blocks: Sequence[int]) -> str:
    """Return e.g. '10 blocks', and of two runs '10 and 12 blocks'."""
    *earlier, last = blocks
    return " and ".join([*map(str, earlier), counted(last, "block")])


def describe(ratio: float, direction: Direction, *, absolute: str = "") -> str:
    """Return the words for environment / baseline, e.g. '1.20x slower (+20%)'.

    Percent is the change in the metric's own unit, so '1.25x slower (-20%)' is a rate that fell. `absolute`
    is put beside it. A neutral metric is higher or lower, never faster or slower.
    """
    if ratio == 1:
        return f"no change ({absolute})" if absolute else "no change"
    factor = max(ratio, 1 / ratio)
    word = _word(ratio, direction)
    change = ", ".join(filter(None, (_percent(ratio), absolute)))
    text = _factor(factor, 2)
    if text == "1.00":
        return f"{word} by less than 0.5% ({change})"
    return f"{text}x {word} ({change})"


def interval_text(low: float | None, high: float | None, unit: str = "", *, signed: bool = False) -> str:
    """Return ' [1.20 to 3.40 ms]', or nothing where there is no interval."""
    if low is None or high is None:
        return ""
    ends = [_signed(end) if signed else number(end) for end in (low, high)]
    return f" [{ends[0]} to {ends[1]}{' ' if unit else ''}{unit}]"


def p_text(p: float | None, name: str = "p") -> str:
    """Return 'p=0.002', 'p<0.001', one more digit where rounding would hide the side of 0.05, '' of None."""
    if p is None:
        return ""
    if p < 0.0005:
        return f"{name}<0.001"
    text = f"{p:.3f}"
    return f"{name}={p:.4f}" if text == "0.050" else f"{name}={text}"


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


def factor_interval(ratio: float, low: float | None, high: float | None) -> str:
    """Return '[1.31-1.37x]' in the sense of the factor, '' where there is no interval.

    It has as many decimals as tell the ends apart, and as show on which side of 1 they are.
    """
    if low is None or high is None:
        return ""
    if ratio < 1:
        low, high = 1 / high, 1 / low
    gaps = [gap for gap in (high - low, 2 * abs(low - 1), 2 * abs(high - 1)) if gap > 0]
    decimals = min(_MOST_DECIMALS, max([2, *(math.ceil(-math.log10(gap)) for gap in gaps)]))
    return f"[{_factor(low, decimals)}-{_factor(high, decimals)}x]"


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{number(value, 3)}"


def _difference(comparison: Comparison) -> str:
    """Return e.g. '+340 ms [+310 to +370 ms]' for a metric that shows it; seconds are told in ms."""
    if not comparison.metric.show_difference or comparison.difference is None:
        return ""
    unit, scale = comparison.metric.unit, 1.0
    if unit == "s":
        unit, scale = "ms", 1000.0
    low, high = (
        None if end is None else end * scale
        for end in (comparison.difference_low, comparison.difference_high)
    )
    return f"{_signed(comparison.difference * scale)} {unit}{interval_text(low, high, unit, signed=True)}"


def _share_of_baseline(comparison: Comparison, ratio: float) -> str:
    """Return e.g. '+3.40 ms' for a time that is better when lower; '' for anything else.

    It is the ratio's share of the baseline's median: the difference of the two medians is unpaired, and may
    even have the other sign.
    """
    metric = comparison.metric
    if metric.unit not in _TIME_UNITS or metric.direction is not Direction.LOWER or ratio == 1:
        return ""
    if comparison.baseline_value is None:
        return ""
    return f"{_signed((ratio - 1) * comparison.baseline_value)} {metric.unit}"
