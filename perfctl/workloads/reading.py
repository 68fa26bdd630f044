"""Read numbers that a benchmark printed; refuse what is missing, not a number or in another unit."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NoReturn

from perfctl.errors import OutputError
from perfctl.model import Metric, Reason, Sample

_NUMBER = re.compile(r"\d+(?:\.\d*)?(?:[eE][-+]?\d+)?", re.ASCII)
"""What tools print; `float` also takes '1_000' and the digits of every script."""

LONGEST_LINE = 1000
"""Characters of the longest line of a report: a longer one has no figures."""

_MOST_NAMES = 1000
"""A report has fewer than a hundred; more of them are no report."""


def require_output(stdout: str) -> None:
    """Raise OutputError (no_output) when there is nothing to read."""
    if not stdout or stdout.isspace():
        raise OutputError(
            "the benchmark printed no output",
            reason=Reason.NO_OUTPUT,
            hint="its stderr and exit code say why; the raw output is kept",
        )


def unparsable(what: str, stdout: str) -> OutputError:
    """Return the error for output that is not `what`; it quotes the first line."""
    first = re.search(r"\S[^\r\n]{0,119}", stdout)
    begins = first[0].rstrip() if first else ""
    return OutputError(f"this is not {what}; it begins with {begins!r}", reason=Reason.UNPARSABLE)


def lines_with(stdout: str, text: str) -> Iterator[str]:
    """Yield the lines that have `text` near their beginning, each with its end if it has one.

    Of a line that is too long for a report the beginning comes, without an end. Takes time in proportion to
    the output, whatever that is, and little memory.
    """
    found = stdout.find(text)
    while found >= 0:
        earliest = max(0, found - LONGEST_LINE)
        start = stdout.rfind("\n", earliest, found) + 1
        end = stdout.find("\n", found) + 1 or len(stdout)
        if start or not earliest:
            yield stdout[start : min(end, start + LONGEST_LINE)]
        found = stdout.find(text, end)


def named_values(stdout: str, separator: str, what: str) -> Mapping[str, str]:
    """Return the lines of the form NAME SEPARATOR VALUE as a mapping; a truncated last line is left out.

    Raises OutputError (unparsable) for a name that is there twice, and when there are too many for a report,
    which is called `what`.
    """
    values: dict[str, str] = {}
    for line in lines_with(stdout, separator):
        if not line.endswith("\n"):
            continue
        name, _, value = line.partition(separator)
        if name in values:
            raise OutputError(f"{name:.80} is printed twice", reason=Reason.UNPARSABLE)
        if len(values) == _MOST_NAMES:
            raise unparsable(what, stdout)
        values[name] = value.strip()
    return values


_BEGIN = re.compile(r"^\{\r?$", re.MULTILINE)
_END = re.compile(r"^\}\r?$", re.MULTILINE)


def json_report(stdout: str, what: str) -> Mapping[str, Any]:
    """Return the one JSON object of an output whose first and last lines are its braces alone.

    What stands before and after it is passed over: notes of the tool, a report in another format. Whole
    numbers become floats, however many digits they have. Raises OutputError (unparsable): none, two, cut off,
    a key that is there twice with two values.
    """
    # An object that was cut off is the usual case: it has no end, which is soon found.
    ends = list(islice(_END.finditer(stdout), 2)) if "\n}" in stdout else []
    begins = list(islice(_BEGIN.finditer(stdout), 2)) if ends else []
    if max(len(begins), len(ends)) > 1:
        raise OutputError(f"the output has more than one of {what}", reason=Reason.UNPARSABLE)
    if not begins or not ends or ends[0].end() < begins[0].start():
        raise unparsable(what, stdout)
    try:
        found = json.loads(
            stdout[begins[0].start() : ends[0].end()],
            parse_int=float,
            parse_constant=_refuse_constant,
            object_pairs_hook=_once,
        )
    except RecursionError:
        raise OutputError(f"{what} is nested too deeply", reason=Reason.UNPARSABLE) from None
    except ValueError as error:
        raise OutputError(f"{what} cannot be read: {error}"[:300], reason=Reason.UNPARSABLE) from error
    return dict(found)


def _refuse_constant(text: str) -> NoReturn:
    # Python would read NaN and Infinity, which JSON does not have.
    raise ValueError(f"{text} is no number")


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        for name, value in pairs:
            if value != found[name]:
                raise ValueError(f"{name:.80} is there twice")
    return found


def at(report: Any, *path: str | int) -> Any:
    """Return what a JSON report has at a path of keys and places; None where it has nothing there."""
    for step in path:
        is_there = step in report if isinstance(report, dict) else _is_place(step, report)
        if not is_there:
            return None
        report = report[step]
    return report


def _is_place(step: str | int, report: Any) -> bool:
    return isinstance(report, list) and isinstance(step, int) and step < len(report)


def number_at(report: Any, metric: Metric, *path: str | int, divisor: float = 1.0) -> Sample:
    """Return a metric's sample: the number at a path of a JSON report, in its unit by a divisor.

    Raises OutputError: missing_metric, unparsable.
    """
    value = at(report, *path)
    if value is None:
        raise missing(metric.name, f"nothing at {'.'.join(map(str, path))}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OutputError(f"{metric.name} is {value!r:.80}, no number", reason=Reason.UNPARSABLE)
    return to_sample(metric, value if divisor == 1 else value / divisor)


def missing(metric: str, detail: str, *, hint: str | None = None) -> OutputError:
    """Return the error for a metric that the output lacks."""
    return OutputError(f"the output has no {metric}: {detail}", reason=Reason.MISSING_METRIC, hint=hint)


def require_unit(metric: str, unit: str, expected: str) -> None:
    """Raise OutputError (unit_mismatch) unless the tool printed the unit that is expected of it."""
    if unit != expected:
        raise OutputError(
            f"{metric} is in {unit!r:.80}, not in {expected!r}",
            reason=Reason.UNIT_MISMATCH,
            hint="another version of the tool? its version is in the fingerprint",
        )


def to_sample(metric: Metric, text: str | float) -> Sample:
    """Return one sample. Raises OutputError (unparsable) when `text` is no finite number from 0 up."""
    is_number = not isinstance(text, str) or _NUMBER.fullmatch(text)
    value = float(text) if is_number else math.nan
    if not math.isfinite(value) or value < 0:
        raise OutputError(f"{metric.name} is {text!r:.80}, no number from 0 up", reason=Reason.UNPARSABLE)
    return Sample(metric.name, value, metric.unit)
