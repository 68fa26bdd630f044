"""Scales, their ticks, and the frame that charts of values have in common."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from perfctl.model.quantity import number
from perfctl.render.svg.elements import coarse_path, element, text

_PADDING = 0.06
"""Of a scale's range, free at both ends, so that no mark lies on the frame."""
_LOG_FROM = 20.0
"""How many times the smallest value the largest is before a scale is logarithmic."""
_PREFIXES = ((1e12, 1e12, "T"), (1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"))


@dataclass(frozen=True, slots=True)
class Scale:
    """A mapping of values to pixels, linear or logarithmic; `start` may be larger than `end`."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Return where a value is, in px."""
        low, high, at = self.low, self.high, value
        if self.is_log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """Return round values within the scale, at most about `most`."""
        if self.is_log:
            return _log_ticks(self.low, self.high, most)
        step = _round_step((self.high - self.low) / max(most, 1))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [place * step for place in range(first, last + 1)]


def scale_of(values: Iterable[float], start: float, end: float, *, may_be_log: bool = False) -> Scale:
    """Return a scale that holds all values, with room at both ends. No values: 0 to 1."""
    found = list(values) or [0.0, 1.0]
    low, high = min(found), max(found)
    if may_be_log and low > 0 and high / low >= _LOG_FROM:
        room = (high / low) ** _PADDING
        return Scale(low / room, high * room, start, end, is_log=True)
    room = (high - low) * _PADDING or abs(high) * _PADDING or 1.0
    return Scale(low - room, high + room, start, end)


def tick_text(value: float) -> str:
    """Return a round value in few characters, e.g. '35.5k' for 35,500."""
    if value == 0:
        return "0"
    for least, size, prefix in _PREFIXES:
        if abs(value) >= least:
            return f"{value / size:.6g}{prefix}"
    return f"{value:.4g}" if abs(value) >= 1e-4 else number(value, 2)


@dataclass(frozen=True, slots=True)
class Frame:
    """The rectangle of a chart's marks, in px, and its two scales."""

    x: Scale
    y: Scale
    top: float
    bottom: float

    def grid(
        self, *, x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[tuple[float, str]]
    ) -> list[str]:
        """Return the grid lines and the texts of both axes; ticks are (value, text)."""
        left, right = self.x.start, self.x.end
        lines = "".join(coarse_path([(left, self.y(value)), (right, self.y(value))]) for value, _ in y_ticks)
        found = [element("path", d=lines, class_="grid")] if lines else []
        base = coarse_path([(left, self.bottom), (right, self.bottom)])
        base += "".join(
            coarse_path([(self.x(value), self.bottom), (self.x(value), self.bottom + 4)])
            for value, _ in x_ticks
        )
        found.append(element("path", d=base, class_="axis"))
        y_texts = [text(label, left - 6, round(self.y(value) + 3.5)) for value, label in y_ticks]
        x_texts = [text(label, round(self.x(value)), self.bottom + 16) for value, label in x_ticks]
        return [
            *found,
            element("g", "".join(y_texts), class_="ys"),
            element("g", "".join(x_texts), class_="xs"),
        ]


def labelled(values: Iterable[float]) -> list[tuple[float, str]]:
    """Return ticks with their texts; where short ones would be equal they have all their digits."""
    ticks = list(values)
    found = [(value, tick_text(value)) for value in ticks]
    if len({label for _, label in found}) < len(found):
        return [(value, f"{value:.12g}") for value in ticks]
    return found


def _round_step(size: float) -> float:
    power = 10.0 ** math.floor(math.log10(size))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= size * (1 - 1e-9))


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
        inside = [value for value in found if low <= value <= high]
        if len(inside) <= most:
            return inside
    return inside[:: math.ceil(len(inside) / most)]
