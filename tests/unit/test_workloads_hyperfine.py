"""hyperfine: what its own figures must say of its times, and commands that cannot be taken apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from perfctl.errors import OutputError, SuiteError
from perfctl.workloads import resolve_parameters, workload

TOOL = workload("hyperfine")
REPORT = json.loads((Path(__file__).parents[1] / "data/hyperfine/true/stdout").read_text())


def refused(**changes: Any) -> OutputError:
    report = {"results": [REPORT["results"][0] | changes]}
    with pytest.raises(OutputError) as error:
        TOOL.read_output(json.dumps(report, indent=2) + "\n", resolve_parameters(TOOL, {}))
    return error.value


@pytest.mark.parametrize(
    ("changes", "reason", "message"),
    [
        ({"times": [0.1, 0.2]}, "contradiction", "10 runs were asked for, and it has 2 times"),
        ({"mean": 9.0}, "contradiction", "its mean is 9 s"),
        ({"min": 0.0}, "contradiction", "its min is 0 s"),
        ({"max": 9.0}, "contradiction", "its max is 9 s"),
        ({"exit_codes": [0] * 9 + [1]}, "tool_error", "did not exit with 0"),
        ({"exit_codes": [0] * 9 + [None]}, "tool_error", "did not exit with 0"),
        ({"times": ["1"] * 10}, "unparsable", "no number"),
        ({"times": []}, "missing_metric", "no times"),
        ({"user": None}, "missing_metric", "user_time"),
    ],
)
def test_a_report_that_contradicts_itself_is_refused(
    changes: dict[str, Any], reason: str, message: str
) -> None:
    error = refused(**changes)
    assert error.reason == reason and message in error.message


@pytest.mark.parametrize("command", ["echo 'a", 'echo "', "a\\", "", "  "])
def test_a_command_that_cannot_be_taken_apart_is_refused(command: str) -> None:
    with pytest.raises(SuiteError, match="command"):
        resolve_parameters(TOOL, {"command": command})


def test_a_quoted_command_is_one_argument() -> None:
    argv = TOOL.argv(resolve_parameters(TOOL, {"command": "sh -c 'echo \"$1\"; true' x", "prepare": "sync"}))
    assert argv[-2:] == ["--", "sh -c 'echo \"$1\"; true' x"]
    assert argv[argv.index("--prepare") + 1] == "sync"
