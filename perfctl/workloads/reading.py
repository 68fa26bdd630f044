"""Read numbers that a benchmark printed; refuse what is missing, not a number or in another unit."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

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
