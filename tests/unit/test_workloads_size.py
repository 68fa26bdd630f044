"""An output of any size and kind is read or refused in time and memory in proportion to it.

Were one of them read in quadratic time, its test would take hours.
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from perfctl.errors import OutputError
from perfctl.execute.invocation import read_outcome
from perfctl.model import Benchmark, Reason, Status
from perfctl.report.output_lines import output_lines
from perfctl.shell import Completed
from perfctl.workloads import WORKLOADS, Parameters, Workload, resolve_parameters
from perfctl.workloads.reading import LONGEST_LINE, lines_with

DATA = Path(__file__).parents[1] / "data"
CASES = sorted(path.parent for path in DATA.glob("*/*/argv.json") if path.parts[-3] in WORKLOADS)
MIB = 1 << 20
LONG = MIB // 2

FILLINGS: dict[str, str] = {
    "newlines": "\n",
    "one line": "x",
    "blanks": " ",
    "NULs": "\0",
    "numbers": "12.5 ",
    "dots": ".",
    "lines of numbers": "17\n",
    "fatal": "FATAL: it broke\n",
    "an error in each line": "x error x\n",
    "escapes": "\x1b[31m",
    "unclosed escapes": "\x1b[;;;;",
    "names": "A=1\n",
    "colons": "steps: made\n",
    "operations": "Total operations: 1 (1 x\n",
    "latencies": "Latency (ms\n",
    "transferred": "1 MiB transferred (1 x\n",
    "times": "total time: 1.0 s x\n",
    "no times": "x total time: 1.0s",
    "dots after a time": "total time: " + "." * 50_000 + " x\n",
    "slashes": "events (avg/stddev): 1/",
    "carriage returns": "\r",
    "separators": "\u2028\x0c\x85",
}
BY_FILLING = pytest.mark.parametrize("filling", FILLINGS.values(), ids=list(FILLINGS))


def captured(folder: Path) -> tuple[Workload, Parameters, str]:
    tool = WORKLOADS[folder.parent.name]
    given = json.loads((folder / "argv.json").read_text())["parameters"]
    return tool, resolve_parameters(tool, given), (folder / "stdout").read_text()


def filled(filling: str, size: int) -> str:
    return (filling * (size // len(filling) + 1))[:size]


def _of(name: str, test: str) -> tuple[Workload, Parameters]:
    return WORKLOADS[name], resolve_parameters(WORKLOADS[name], {"test": test})


def peak_bytes(action: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@BY_FILLING
@pytest.mark.parametrize("case", ["sysbench/memory-write-seq", "netperf/tcp-rr", "startup/vm"])
def test_a_long_output_is_read_or_refused_without_a_copy_of_it(case: str, filling: str) -> None:
    tool, parameters, report = captured(DATA / case)
    text = filled(filling, LONG)

    def read(output: str) -> None:
        with suppress(OutputError):
            tool.parse(output, parameters)

    for output in (report + text, f"{text}\n{report}"):
        read(output)
    assert peak_bytes(lambda: read(text)) < LONG // 2


@pytest.mark.parametrize("folder", CASES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_report_with_much_around_it_is_still_read(folder: Path) -> None:
    tool, parameters, report = captured(folder)
    samples = tool.parse(report, parameters)
    for filling in ("\n", "a note of no matter\n", "\0"):
        assert tool.parse(report + filled(filling, LONG), parameters) == samples
        assert tool.parse(filled(filling, LONG) + "\n" + report, parameters) == samples


@BY_FILLING
def test_an_outcome_of_a_long_output_has_a_short_detail(filling: str) -> None:
    tool, parameters = _of("sysbench", "cpu")
    benchmark = Benchmark("b", tool.name, parameters, expected_s=1)
    for exit_code in (0, 1, 127):
        output = filled(filling, LONG).encode()
        outcome = read_outcome(tool, benchmark, Completed(("x",), exit_code, output, output))
        assert outcome.status is Status.FAILED
        assert len(outcome.detail) < 3000


def test_bytes_that_are_no_text_are_refused_too() -> None:
    tool, parameters = _of("netperf", "TCP_RR")
    benchmark = Benchmark("b", tool.name, parameters, expected_s=1)
    outcome = read_outcome(tool, benchmark, Completed(("x",), 0, b"\xff" * 2 * MIB, b""))
    assert outcome.reason is Reason.UNPARSABLE


def test_lines_are_found_by_a_text_in_them_each_once() -> None:
    assert list(lines_with("a=1\nb\nc=2=3\n=", "=")) == ["a=1\n", "c=2=3\n", "="]
    assert list(lines_with("", "=")) == list(lines_with("abc\n", "=")) == []
    longest = "x" * (LONGEST_LINE - 2) + "="
    assert list(lines_with(f"{longest}\nxx{longest}\n{longest}\n", "=")) == [f"{longest}\n"] * 2
    # Of a long line the beginning comes, which ends in nothing.
    assert list(lines_with(f"={'x' * LONGEST_LINE}\na=\n", "=")) == [f"={'x' * (LONGEST_LINE - 1)}", "a=\n"]


def test_an_output_that_is_too_long_is_not_searched_for_lines() -> None:
    tool, parameters = _of("sysbench", "cpu")
    found = output_lines(filled("17\n", 2 * MIB), [17.0], "events_per_second", tool, parameters)
    assert (found.lines, found.count) == ((), 0)
    assert "too long" in found.how
