"""Find the lines of a raw output that a value was read from.

A line holds the value when one of its numbers is the value, and reading the output without that line gives
something else. Where no number is the value (it was converted, or computed from several), the lines are those
without which the reading changes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from perfctl.errors import PerfctlError
from perfctl.workloads import Parameters, Workload

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_MOST_SHOWN = 5
_MOST_TRIED = 200
"""Lines that are left out one by one; a long series has more, and the first tell enough."""
_MOST_SEARCHED = 1 << 20
"""Characters of an output that is read again once for each line tried."""


@dataclass(frozen=True, slots=True)
class OutputLine:
    """One line of an output; `number` counts from 1."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class OutputLines:
    """The first few lines that a value was read from, and how many there are in all."""

    lines: tuple[OutputLine, ...]
    count: int
    how: str
    """'' where a line has the value itself; else what the lines are to it."""


def output_lines(
    text: str, values: Sequence[float], metric: str, workload: Workload | None, parameters: Parameters
) -> OutputLines:
    """Return the lines of `text` that the samples `values` of `metric` were read from.

    Without the workload, every line that has such a number.
    """
    if len(text) > _MOST_SEARCHED:
        return OutputLines((), 0, f"its output is too long to be searched: {len(text):,} characters")
    lines = text.splitlines(keepends=True)
    same = [place for place, line in enumerate(lines) if _holds(line, values)]
    if workload is None:
        return _found(lines, same, "the workload is gone: every line with such a number")
    read = partial(_read, metric, workload, parameters)
    whole = read(text)
    if whole is None:
        return _found(lines, same, "today's parser cannot read it: every line with such a number")
    confirmed = [place for place in same[:_MOST_TRIED] if _matters(lines, place, read, whole)]
    if confirmed:
        return _found(lines, confirmed, "")
    digits = [place for place, line in enumerate(lines) if _NUMBER.search(line)][:_MOST_TRIED]
    used = [place for place in digits if _matters(lines, place, read, whole)]
    return _found(lines, used, "converted or computed from these lines" if used else "no line found")


def _holds(line: str, values: Sequence[float]) -> bool:
    numbers = [float(text) for text in _NUMBER.findall(line)]
    return any(math.isclose(number, value, rel_tol=1e-9) for number in numbers for value in values)


def _matters(
    lines: Sequence[str], place: int, read: Callable[[str], list[float] | None], whole: list[float]
) -> bool:
    return read("".join([*lines[:place], *lines[place + 1 :]])) != whole


def _read(metric: str, workload: Workload, parameters: Parameters, text: str) -> list[float] | None:
    """Return the samples of the metric as today's parser reads them; None where it refuses the text."""
    try:
        samples = workload.parse(text, parameters)
    except (PerfctlError, ValueError, LookupError, TypeError, ArithmeticError):
        return None  # As `db reparse` does: a text with a line less may break a parser in any of these ways.
    return [sample.value for sample in samples if sample.metric == metric]


def _found(lines: Sequence[str], places: Sequence[int], how: str) -> OutputLines:
    shown = tuple(OutputLine(place + 1, lines[place].rstrip("\r\n")) for place in places[:_MOST_SHOWN])
    return OutputLines(shown, len(places), how)
