"""Any output is read or refused with a reason: never another exception, never a value that cannot be."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfctl.errors import OutputError
from perfctl.model import Parameter, Reason
from perfctl.store.series import group
from perfctl.workloads import WORKLOADS, Workload, resolve_parameters, workload

EXAMPLES = int(os.environ.get("PERFCTL_FUZZ_EXAMPLES", "50"))
"""Inputs for each captured report; `make fuzz` has more."""

DATA = Path(__file__).parents[1] / "data"
CASES = sorted(path.parent for path in DATA.glob("*/*/argv.json") if path.parts[-3] in WORKLOADS)
BY_CASE = pytest.mark.parametrize("folder", CASES, ids=lambda path: f"{path.parent.name}-{path.name}")

fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

NUMBERS = st.one_of(
    st.integers(0, 10**400).map(str),
    st.floats().map(str),
    st.floats(0, 1e20).map(lambda value: f"{value:.2f}"),
    st.sampled_from(["", "-1", "1_000", "1,000", "0x10", "١٢", "1.2.3", ".", "1e309", "1e-400", "0" * 5000]),
)
LINES = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "FATAL: x",
            "error: x",
            "catcher: timer popped with times_up != 0",
            "THROUGHPUT=1",
            "=",
            "steps: made made first command",
            " " * 20_000,
            "(" * 20_000,
            "\x1b[31m" * 5_000,
            "1 (" * 10_000 + "MiB/sec)",
            "events (avg/stddev): " + "1/" * 10_000,
            "9" * 20_000 + "th percentile:",
            "x" * 20_000 + " error",
        ]
    ),
)


@st.composite
def mutated(draw: st.DrawFn, report: str) -> str:
    """A report with some of its lines changed, left out, doubled or moved, or cut off."""
    lines = report.splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(lines) - 1, 0)))
        change = draw(st.sampled_from(["number", "line", "insert", "drop", "double", "move", "cut"]))
        line = lines[place] if lines else ""
        if change == "number":
            words = line.replace("=", "= ").split(" ")
            digits = [index for index, word in enumerate(words) if word[:1].isdigit()]
            if digits:
                index = draw(st.sampled_from(digits))
                words[index] = draw(NUMBERS) + ("\n" if words[index].endswith("\n") else "")
            lines[place : place + 1] = [" ".join(words).replace("= ", "=")]
        elif change == "line":
            lines[place : place + 1] = [draw(LINES) + "\n"]
        elif change == "insert":
            lines.insert(place, draw(LINES) + "\n")
        elif change == "drop":
            del lines[place : place + 1]
        elif change == "double":
            lines.insert(place, line)
        elif change == "move":
            del lines[place : place + 1]
            lines.insert(draw(st.integers(0, len(lines))), line)
        else:
            lines = ["".join(lines)[: draw(st.integers(0, len(report)))]]
    return "".join(lines)


def captured(folder: Path) -> tuple[Workload, dict[str, Parameter], str]:
    tool = workload(folder.parent.name)
    parameters = json.loads((folder / "argv.json").read_text())["parameters"]
    return tool, dict(resolve_parameters(tool, parameters)), (folder / "stdout").read_text()


def read_or_refused(tool: Workload, parameters: dict[str, Parameter], stdout: str, stderr: str) -> None:
    metrics = tool.metrics(parameters)
    try:
        reading = tool.read_output(stdout, parameters, stderr=stderr)
    except OutputError as error:
        assert Reason(error.reason)
        assert len(error.message) < 2_000
        return
    group(metrics, reading.samples)
    assert all(math.isfinite(item.value) and item.value >= 0 for item in reading.samples)
    found = {item.metric for item in reading.samples}
    assert not found & reading.missing.keys()
    assert {metric.name for metric in metrics if metric.headline} <= found
    headline = next(metric.name for metric in metrics if metric.headline)
    assert all(item.value for item in reading.samples if item.metric == headline)


@BY_CASE
@given(data=st.data())
@fuzz
def test_a_damaged_report_is_read_or_refused(folder: Path, data: st.DataObject) -> None:
    tool, parameters, report = captured(folder)
    read_or_refused(tool, parameters, data.draw(mutated(report)), data.draw(st.sampled_from(["", "warn\n"])))


@pytest.mark.parametrize("name", list(WORKLOADS))
@given(stdout=st.text(), stderr=st.text())
@fuzz
def test_any_text_is_read_or_refused(name: str, stdout: str, stderr: str) -> None:
    tool = workload(name)
    read_or_refused(tool, dict(resolve_parameters(tool, {})), stdout, stderr)
