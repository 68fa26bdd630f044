"""perfctl's own programs in Python: they run, and what they report must agree with itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from perfctl.errors import OutputError
from perfctl.model import Parameter, Reason
from perfctl.workloads import Workload, resolve_parameters, workload
from perfctl.workloads.programs import source

DATA = Path(__file__).parents[1] / "data"
SMALL: dict[str, dict[str, Parameter]] = {
    "pi": {"points": 20_000, "repetitions": 2, "rounds": 3},
    "operations": {"operations": 5_000, "rounds": 2},
}


def run(name: str, **given: Parameter) -> tuple[Workload, dict[str, Parameter], str]:
    tool = workload(name)
    parameters = resolve_parameters(tool, given)
    _, *arguments = tool.argv(parameters)
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return tool, parameters, done.stdout


def refusal(name: str, old: str, new: str) -> OutputError:
    tool = workload(name)
    case = {"pi": "loop", "operations": "all"}[name]
    report = (DATA / name / case / "stdout").read_text()
    assert old in report
    with pytest.raises(OutputError) as caught:
        tool.parse(report.replace(old, new, 1), resolve_parameters(tool, SMALL[name]))
    return caught.value


@pytest.mark.parametrize("name", SMALL)
def test_the_program_runs_here_and_is_read(name: str) -> None:
    given = {**SMALL[name], "rounds": 2}
    tool, parameters, report = run(name, **given)
    samples = tool.parse(report, parameters)
    headline = next(metric.name for metric in tool.metrics(parameters) if metric.headline)
    assert [sample.index for sample in samples if sample.metric == headline] == [0, 1]


def test_the_same_seed_gives_the_same_estimate() -> None:
    one, other, third = (run("pi", points=500, repetitions=1, rounds=1, seed=seed)[2] for seed in (1, 1, 2))
    estimates = [text.splitlines()[-1] for text in (one, other, third)]
    assert estimates[0] == estimates[1] != estimates[2]


def test_a_total_is_the_sum_of_its_operations() -> None:
    tool = workload("operations")
    report = (DATA / "operations" / "all" / "stdout").read_text()
    samples = tool.parse(report, resolve_parameters(tool, SMALL["operations"]))
    first = {sample.metric: sample.value for sample in samples if sample.index == 0}
    total = first.pop("total")
    del first["elapsed_time"]
    assert len(first) == 10
    assert sum(first.values()) == pytest.approx(total)
    assert first["function_calls"] == pytest.approx(288528 / 5000)


@pytest.mark.parametrize(
    ("name", "old", "new", "reason", "words"),
    [
        ("pi", "estimate: 3.135514", "estimate: 3.235514", Reason.CONTRADICTION, "computed is wrong"),
        ("pi", "perfctl pi: loop", "perfctl pi: numpy", Reason.CONTRADICTION, "is of numpy"),
        ("pi", "points: 20000", "points: 20", Reason.CONTRADICTION, "points = 20, and not of 20000"),
        ("pi", "round 2: 3883377 ns", "round 2: 38833770 ns", Reason.CONTRADICTION, "elapsed is"),
        ("pi", "round 2: 3883377 ns", "round 2: 3883377 us", Reason.UNIT_MISMATCH, "'us'"),
        ("pi", "round 2: 3883377 ns", "round 2: -3883377 ns", Reason.UNPARSABLE, "no time in ns"),
        ("pi", "round 2: 3883377 ns", "round 2: 0 ns", Reason.MISSING_METRIC, "round 2 reads 0 ms"),
        ("pi", "round 2: ", "round 4: ", Reason.MISSING_METRIC, "no round 2"),
        ("pi", "elapsed: 11694274", "round 4: 1 ns\nelapsed: 11694274", Reason.CONTRADICTION, "more than 3"),
        ("pi", "elapsed: 11694274", "elapsed: 11694274000000", Reason.CONTRADICTION, "elapsed is"),
        ("operations", "operations: 5000", "operations: 50", Reason.CONTRADICTION, "of 50 operations"),
        ("operations", "rounds: 2", "rounds: 3", Reason.CONTRADICTION, "rounds = 3, and not of 2"),
        ("operations", "tuples 2", "tuples x", Reason.MISSING_METRIC, "no tuples 2"),
        ("operations", "tuples 2: 337169", "tuples 2: 33716900", Reason.CONTRADICTION, "elapsed is"),
    ],
)
def test_a_report_that_contradicts_itself_is_no_time(
    name: str, old: str, new: str, reason: Reason, words: str
) -> None:
    error = refusal(name, old, new)
    assert (error.reason, words in error.message) == (reason, True), error.message


def test_without_numpy_it_is_a_tool_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError")
    tool = workload("pi")
    _, *arguments = tool.argv(resolve_parameters(tool, {"test": "numpy"}))
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stdout.count("round 1")) == (127, 0)
    assert "numpy: not found" in done.stderr
    assert tool.provided_by == "perfctl run --build"


@pytest.mark.parametrize("name", ["pi", "operations"])
def test_the_programs_are_for_every_python_from_3_7_on(name: str) -> None:
    ast.parse(source(name), feature_version=(3, 7))
