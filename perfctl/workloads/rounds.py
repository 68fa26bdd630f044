"""Read the reports of perfctl's own programs: settings, a time for each round, and the time of all.

    round 1: 25123456 ns
    round 2: 25098765 ns
    elapsed: 50223344 ns

A round gives one sample. What was asked for must be what the program repeats, and the rounds must fit into
the time of all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from perfctl.errors import OutputError
from perfctl.model import Metric, Reason, Sample
from perfctl.model.quantity import quantity
from perfctl.workloads.base import Parameters
from perfctl.workloads.reading import missing, named_values, require_unit, to_sample, unparsable

ELAPSED = "elapsed"
NS_PER_S = 1e9
_BETWEEN_S = 5.0
"""What may pass between the rounds, beside a tenth of all: printing, and other programs' turns."""


def read_report(stdout: str, head: str, what: str) -> Mapping[str, str]:
    """Return the lines of a report with the line `head`; `what` names it in the error. Raises OutputError."""
    lines = named_values(stdout, ":", what)
    if head not in lines:
        raise unparsable(what, stdout)
    return lines


def require_settings(lines: Mapping[str, str], parameters: Parameters, names: Sequence[str]) -> None:
    """Raise OutputError unless the report was made with these parameters."""
    for name in names:
        if name not in lines:
            raise missing(name, "no line of it")
        if lines[name] != str(parameters[name]):
            raise OutputError(
                f"the report is of {name} = {lines[name]:.80}, and not of {parameters[name]}",
                reason=Reason.CONTRADICTION,
                hint="run it again; the raw output is kept",
            )


def times_ns(lines: Mapping[str, str], name: str, rounds: int) -> list[float]:
    """Return the time of each round of `name`, in ns. Raises OutputError for one that is missing or more."""
    found = [_time_ns(lines, f"{name} {number}") for number in range(1, rounds + 1)]
    if f"{name} {rounds + 1}" in lines:
        raise OutputError(f"there are more than {rounds} rounds of {name}", reason=Reason.CONTRADICTION)
    return found


def elapsed_ns(lines: Mapping[str, str], rounds_ns: Sequence[float]) -> float:
    """Return the time of all rounds. Raises OutputError (contradiction) where they do not fit into it."""
    elapsed = _time_ns(lines, ELAPSED)
    total = sum(rounds_ns)
    if not total <= elapsed <= total * 1.1 + _BETWEEN_S * NS_PER_S:
        raise OutputError(
            f"the report contradicts itself: the rounds take {quantity(total / NS_PER_S, 's')}, and elapsed"
            f" is {quantity(elapsed / NS_PER_S, 's')}",
            reason=Reason.CONTRADICTION,
            hint="run it again; the raw output is kept",
        )
    return elapsed


def series(metric: Metric, values: Sequence[float]) -> list[Sample]:
    """Return one sample a round. Raises OutputError (missing_metric) for one that is 0."""
    found = []
    for index, value in enumerate(values):
        if metric.headline and not value:
            raise missing(metric.name, f"round {index + 1} reads 0 {metric.unit}")
        found.append(Sample(metric.name, to_sample(metric, value).value, metric.unit, index))
    return found


_TIME_NS = re.compile(r"(\d{1,18}) (\S{1,20})", re.ASCII)


def _time_ns(lines: Mapping[str, str], name: str) -> float:
    if name not in lines:
        raise missing(name, "no line of it")
    match = _TIME_NS.fullmatch(lines[name])
    if not match:
        raise OutputError(f"{name} is {lines[name]!r:.80}, no time in ns", reason=Reason.UNPARSABLE)
    require_unit(name, match[2], "ns")
    return float(match[1])
