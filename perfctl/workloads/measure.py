"""Read the reports of perfctl-measure, a program of perfctl's own (roles/perf_image/files/perfctl-measure.c).

    perfctl-measure syscalls: getpid      the test, and what of it
    batches: 3                            settings
    batch 1: 321000 ns                    a time for each batch or repetition
    elapsed: 964000 ns                    the time of all, which ends a report

What the program was asked for must be what its report says, and its times must fit into the time of all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from perfctl.errors import OutputError
from perfctl.model import Direction, Metric, Reason, Sample
from perfctl.model.quantity import quantity
from perfctl.workloads.reading import missing, named_values, require_unit, to_sample, unparsable
from perfctl.workloads.relations import ERROR_LINE

PROGRAM = "perfctl-measure"
NS_PER_S = 1e9

ELAPSED = Metric("elapsed_time", "s", Direction.NEUTRAL, "how long all of it took", step=1e-9)

_NUMBER = re.compile(r"(\d{1,18})(?: (\S{1,10}))?", re.ASCII)
_ERROR = re.compile(rf"^{PROGRAM}: error: (?P<what>[^\n]{{1,300}})", re.MULTILINE)
_REFUSED = {"1": "Operation not permitted", "38": "Function not implemented"}

ERROR_LINES = re.compile(rf"^{PROGRAM}: error: [^\n]{{0,300}}|{ERROR_LINE.pattern}", ERROR_LINE.flags)


def lines_of(stdout: str, test: str, of: str) -> Mapping[str, str]:
    """Return the lines of a whole report of a test, by their names. Raises OutputError (unparsable)."""
    what = f"a report of {PROGRAM} {test}"
    lines = named_values(stdout, ": ", what)
    head = f"{PROGRAM} {test}"
    if head not in lines:
        raise unparsable(what, stdout)
    if lines[head] != of:
        raise OutputError(f"the report is of {lines[head]:.80}, not of {of}", reason=Reason.UNPARSABLE)
    if "elapsed" not in lines:
        raise missing(ELAPSED.name, "the report has no end")
    return lines


def number(lines: Mapping[str, str], name: str, unit: str = "") -> int:
    """Return the whole number of a line. Raises OutputError: missing_metric, unparsable, unit_mismatch."""
    if name not in lines:
        raise missing(name, f"no line {name}:")
    found = _NUMBER.fullmatch(lines[name])
    if not found:
        raise OutputError(f"{name} is {lines[name]!r:.80}, no whole number", reason=Reason.UNPARSABLE)
    require_unit(name, found[2] or "", unit)
    return int(found[1])


def require_number(lines: Mapping[str, str], name: str, expected: int, unit: str = "") -> None:
    """Raise OutputError unless the program says that it ran with this number."""
    ran = number(lines, name, unit)
    if ran != expected:
        raise OutputError(f"it ran with {name} = {ran}, not {expected}", reason=Reason.UNPARSABLE)


def series_ns(lines: Mapping[str, str], name: str, count: int) -> list[int]:
    """Return the times in ns of the lines `name 1` to `name COUNT`. Raises OutputError: also for one more."""
    if f"{name} {count + 1}" in lines:
        raise OutputError(f"there are more than {count} of {name}", reason=Reason.UNPARSABLE)
    return [number(lines, f"{name} {place}", "ns") for place in range(1, count + 1)]


def elapsed(lines: Mapping[str, str], times_ns: Sequence[int]) -> Sample:
    """Return the time of all. Raises OutputError (contradiction) when the times do not fit into it."""
    took_ns, total_ns = number(lines, "elapsed", "ns"), sum(times_ns)
    if total_ns > took_ns:
        raise OutputError(
            f"the report contradicts itself: its times make {quantity(total_ns / NS_PER_S, 's')}, and all of"
            f" it took {quantity(took_ns / NS_PER_S, 's')}",
            reason=Reason.CONTRADICTION,
            hint="run it again; the raw output is kept",
        )
    return to_sample(ELAPSED, took_ns / NS_PER_S)


def series(metric: Metric, values: Sequence[float]) -> list[Sample]:
    """Return one sample for each value. Raises OutputError for one that is not above 0."""
    for place, value in enumerate(values, start=1):
        if value <= 0:
            raise missing(metric.name, f"number {place} is {value:g} {metric.unit}: too short to be measured")
    return [
        Sample(metric.name, to_sample(metric, value).value, metric.unit, at)
        for at, value in enumerate(values)
    ]


def refusal(output: str) -> str:
    """Return what the kernel refuses to the program; '' where it failed for another reason."""
    found = _ERROR.search(output)
    what, _, errno = found["what"].rpartition(", errno ") if found else ("", "", "")
    return f"{what} is refused ({_REFUSED[errno]})" if errno in _REFUSED else ""
