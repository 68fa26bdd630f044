"""Read the metrics of a user's workload from its output: by JSONPath, regular expression, key or column."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from perfctl.errors import OutputError
from perfctl.model import Reason
from perfctl.workloads.definition import Definition, MetricDefinition
from perfctl.workloads.reading import LONGEST_LINE, missing, require_unit, unparsable

_VALUE_WITH_UNIT = re.compile(r"(?P<value>\S+)(?:\s+(?P<unit>.*\S))?\s*", re.DOTALL)


class Report:
    """An output of a user's workload; each form of it is parsed once, when the first metric asks for it."""

    def __init__(self, stdout: str, definition: Definition) -> None:
        """Take the output of one invocation."""
        self._stdout = stdout
        self._definition = definition
        self._json: Any = _UNREAD
        self._rows: list[dict[str, str]] | None = None

    def texts(self, metric: MetricDefinition) -> list[str | float]:
        """Return the values of a metric as they are printed: one, or all of a series, one at least.

        Raises OutputError: unparsable, missing_metric, unit_mismatch.
        """
        readers: dict[str, Callable[[MetricDefinition], list[str | float]]] = {
            "json": self._by_path,
            "regex": self._by_pattern,
            "key": self._by_key,
            "column": self._by_column,
        }
        found = readers[metric.source](metric)
        if not found:
            raise missing(metric.name, f"nothing matches {metric.source} = {metric.place!r:.200}")
        if len(found) > 1 and not metric.has_samples:
            raise OutputError(
                f"{metric.name} is there {len(found)} times ({metric.source} = {metric.place!r:.200})",
                reason=Reason.UNPARSABLE,
                hint="name a place that is there once, or write samples = true for a series of values",
            )
        return found

    def _by_path(self, metric: MetricDefinition) -> list[str | float]:
        import jsonpath

        if self._json is _UNREAD:
            self._json = _json_of(self._stdout)
        found: list[str | float] = []
        for value in jsonpath.findall(metric.place, self._json):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise OutputError(
                    f"{metric.name}: {metric.place} is {json.dumps(value):.80}, not a number",
                    reason=Reason.UNPARSABLE,
                )
            found.append(value)
        return found

    def _by_pattern(self, metric: MetricDefinition) -> list[str | float]:
        pattern = re.compile(metric.place)
        found: list[str | float] = []
        for line in _whole_lines(self._stdout):
            for match in pattern.finditer(line):
                if "unit" in pattern.groupindex:
                    require_unit(metric.name, match["unit"] or "", metric.unit)
                if match["value"] is not None:
                    found.append(match["value"])
        return found

    def _by_key(self, metric: MetricDefinition) -> list[str | float]:
        found: list[str | float] = []
        for line in _whole_lines(self._stdout):
            key, separator, rest = line.partition(self._definition.separator)
            value = _VALUE_WITH_UNIT.fullmatch(rest.strip())
            if separator and key.strip() == metric.place and value:
                if value["unit"]:
                    require_unit(metric.name, value["unit"], metric.unit)
                found.append(value["value"])
        return found

    def _by_column(self, metric: MetricDefinition) -> list[str | float]:
        if self._rows is None:
            self._rows = _rows_of(self._stdout, self._definition.delimiter)
        if self._rows and metric.place not in self._rows[0]:
            raise missing(
                metric.name,
                f"the table has no column {metric.place!r:.80}",
                hint=f"its columns are: {', '.join(self._rows[0])[:300]}",
            )
        return [row[metric.place] for row in self._rows]


_UNREAD = object()


def _json_of(stdout: str) -> Any:
    try:
        return json.loads(stdout, parse_constant=_refuse_constant)
    except RecursionError:
        raise OutputError("the JSON is nested too deeply", reason=Reason.UNPARSABLE) from None
    except ValueError as error:
        raise unparsable(f"JSON ({error})", stdout) from error


def _refuse_constant(text: str) -> NoReturn:
    # Python would read NaN and Infinity, which JSON does not have.
    raise ValueError(f"{text} is no number")


def _whole_lines(stdout: str) -> Iterator[str]:
    """Yield the lines that may have figures, without their ends.

    The last one has an end, or it may have been cut off in a number: then the output is refused.
    """
    lines = stdout.split("\n")
    if lines[-1].strip():
        raise OutputError(
            f"the last line has no end, it may be cut off: {lines[-1]!r:.80}",
            reason=Reason.UNPARSABLE,
            hint="have the program end its last line",
        )
    return (line.removesuffix("\r") for line in lines if len(line) <= LONGEST_LINE)


def _rows_of(stdout: str, delimiter: str) -> list[dict[str, str]]:
    """Return the rows of a table whose first line names its columns."""
    try:
        rows = [row for row in csv.reader(_whole_lines(stdout), delimiter=delimiter, strict=True) if row]
    except csv.Error as error:
        raise unparsable(f"a table ({error})", stdout) from error
    if not rows:
        raise unparsable("a table", stdout)
    header = [name.strip() for name in rows[0]]
    if len(set(header)) < len(header):
        raise OutputError("two columns of the table have one name", reason=Reason.UNPARSABLE)
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise OutputError(
                f"row {number} of the table has {len(row)} fields, and its header {len(header)}",
                reason=Reason.UNPARSABLE,
            )
    return [dict(zip(header, map(str.strip, row), strict=True)) for row in rows[1:]]
