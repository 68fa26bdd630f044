"""Any output of a benchmark is read or refused with a reason: never a value that cannot be."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import strategies as st

from perfctl.errors import OutputError
from perfctl.model import Parameter, Reason
from perfctl.store.series import group
from perfctl.workloads import WORKLOADS, OpeningWorkload, Workload, resolve_parameters, workload
from tests.fuzz.inputs import bounded, given, inputs
from tests.fuzz.mutation import NUMBERS, mutated

DATA = Path(__file__).parents[1] / "data"
CASES = sorted(path.parent for path in DATA.glob("*/*/argv.json") if path.parts[-3] in WORKLOADS)
BY_CASE = pytest.mark.parametrize("folder", CASES, ids=lambda path: f"{path.parent.name}-{path.name}")

FILLERS = {
    "blanks": " " * 20_000,
    "brackets": "(" * 20_000,
    "colours": "\x1b[31m" * 5_000,
    "digits": "9" * 20_000,
    "points": "." * 20_000 + ")",
    "versions": "1." * 10_000 + ")",
    "units": "1 (" * 10_000 + "MiB/sec)",
    "fractions": "1/" * 10_000,
    "percentiles": "9" * 20_000 + "th percentile:",
    "word": "x" * 20_000 + " error",
}
LINES = st.text(max_size=60) | st.sampled_from(
    [
        *("FATAL: x", "error: x", "catcher: timer popped with times_up != 0", "THROUGHPUT=1", "="),
        *("steps: made made first command", *FILLERS.values()),
    ]
)


def captured(folder: Path) -> tuple[Workload, dict[str, Parameter], str]:
    tool = workload(folder.parent.name)
    parameters = json.loads((folder / "argv.json").read_text())["parameters"]
    return tool, dict(resolve_parameters(tool, parameters)), (folder / "stdout").read_text()


def is_read(tool: Workload, parameters: dict[str, Parameter], stdout: str, stderr: str) -> bool:
    """Return whether an output is read; what is read, or why not, must be in order."""
    metrics = tool.metrics(parameters)
    try:
        reading = tool.read_output(stdout, parameters, stderr=stderr)
    except OutputError as error:
        assert Reason(error.reason)
        assert len(error.message) < 2_000
        return False
    group(metrics, reading.samples)
    assert all(math.isfinite(item.value) and item.value >= 0 for item in reading.samples)
    found = {item.metric for item in reading.samples}
    assert not found & reading.missing.keys()
    assert {metric.name for metric in metrics if metric.headline} <= found
    headline = next(metric.name for metric in metrics if metric.headline)
    assert all(item.value for item in reading.samples if item.metric == headline)
    return True


@BY_CASE
@inputs("parsers", 0.8, cases=len(CASES))
@given(data=st.data())
def test_a_damaged_report_is_read_or_refused(folder: Path, data: st.DataObject) -> bool:
    tool, parameters, report = captured(folder)
    text = data.draw(mutated(report) | st.builds("{}{}\n{}".format, st.just(report), LINES, st.just(report)))
    return is_read(tool, parameters, text, data.draw(st.sampled_from(["", "warn\n"])))


@pytest.mark.parametrize("name", list(WORKLOADS))
@inputs("parsers", 0.1, cases=len(WORKLOADS))
@given(lines=st.lists(LINES | NUMBERS, max_size=8), stderr=st.text())
def test_any_text_is_read_or_refused(name: str, lines: list[str], stderr: str) -> bool:
    tool = workload(name)
    return is_read(tool, dict(resolve_parameters(tool, {})), "\n".join(lines), stderr)


_STEPS_S = st.dictionaries(
    st.sampled_from(["console", "kernel", "ssh", "made"]), st.floats(0, 1e6), max_size=4
)


@inputs("parsers", 0.1)
@given(_STEPS_S, st.floats(0, 1e6))
def test_the_report_of_an_opening_is_read_as_it_was_written(
    opening_s: dict[str, float], command_s: float
) -> bool:
    tool = workload("startup")
    assert isinstance(tool, OpeningWorkload)
    report = tool.opening_report(opening_s, command_s)
    if not is_read(tool, {}, report, ""):
        return False
    found = {item.metric: item.value for item in tool.parse(report, {})}
    assert found.pop("ready") == pytest.approx(max([0.0, *opening_s.values()]) + command_s, abs=1e-8)
    assert found == pytest.approx(opening_s, abs=1e-8)
    return True


@BY_CASE
def test_a_line_without_end_is_no_hang(folder: Path) -> None:
    tool, parameters, report = captured(folder)
    lines = report.splitlines(keepends=True)
    with bounded():
        for place, line in enumerate(lines):
            head, colon, _ = line.partition(":")
            # The reports of one program have the same lines: each of these meets all fillers in some of them.
            for filler in list(FILLERS.values())[(place + CASES.index(folder)) % 5 :: 5]:
                if colon or place == len(lines) - 1:
                    longer = [*lines[:place], f"{head}{colon} {filler}\n", *lines[place + 1 :]]
                    is_read(tool, parameters, "".join(longer), filler)
