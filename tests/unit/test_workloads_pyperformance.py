"""pyperformance: what is run, and which reports of pyperf are no time."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from perfctl.errors import OutputError, SuiteError
from perfctl.model import Parameter, Reason
from perfctl.suites.layers import LAYERS
from perfctl.workloads import resolve_parameters, workload
from perfctl.workloads.pyperformance import PYTHON, Pyperformance
from perfctl.workloads.pyperformance_suite import NEEDS, SCRIPTS, SEVERAL

DATA = Path(__file__).parents[1] / "data" / "pyperformance"
TOOL = workload("pyperformance")
ONE = {"values": 2, "warmups": 1, "loops": 1}


def resolved(**given: Parameter) -> dict[str, Parameter]:
    return resolve_parameters(TOOL, given)


def report(case: str = "process") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DATA / case / "stdout").read_text())
    return found


def refusal(content: Any, **given: Parameter) -> OutputError:
    text = content if isinstance(content, str) else json.dumps(content, separators=(",", ":")) + "\n"
    with pytest.raises(OutputError) as caught:
        TOOL.parse(text, resolved(**(given or ONE)))
    return caught.value


def test_a_worker_is_one_process_with_fixed_loops() -> None:
    argv = list(TOOL.argv(resolved(benchmark="json_loads", values=5)))
    assert argv[3:] == [
        *("pyperformance", PYTHON, "/opt/perfctl/python/benchmarks/bm_json_loads/run_benchmark.py", "no"),
        *("--worker", "-l", str(SCRIPTS["json_loads"].loops), "-w", "1", "-n", "5"),
    ]
    # The loops are the same everywhere, and may be others.
    assert list(TOOL.argv(resolved(loops=7)))[8:10] == ["-l", "7"]


def test_options_of_a_variant_reach_its_script() -> None:
    argv = list(TOOL.argv(resolved(benchmark="unpickle_pure_python")))
    assert argv[-2:] == ["--pure-python", "unpickle"]
    assert "bm_pickle/" in argv[5]


@pytest.mark.parametrize(
    ("effort", "options"), [("fast", ["--fast"]), ("default", []), ("rigorous", ["--rigorous"])]
)
def test_a_whole_run_is_pyperfs_own_with_every_variable(effort: str, options: list[str]) -> None:
    argv = list(TOOL.argv(resolved(test="whole", effort=effort)))
    assert argv[6:] == ["yes", *options]
    assert TOOL.expected_s(resolved(test="whole", effort="rigorous")) > 2 * TOOL.expected_s(
        resolved(test="whole", effort="fast")
    )


def test_a_run_of_pyperfs_own_is_one_value_of_all_processes() -> None:
    parameters = resolved(test="whole", benchmark="json_dumps")
    samples = TOOL.parse((DATA / "whole" / "stdout").read_text(), parameters)
    by_name = {sample.metric: sample.value for sample in samples}
    runs = [run["values"] for run in report("whole")["benchmarks"][0]["runs"] if "values" in run]
    assert by_name["processes"] == len(runs) == 10
    means = sorted(sum(values) / len(values) for values in runs)
    assert by_name["loop_time"] == pytest.approx((means[4] + means[5]) / 2)


def test_what_a_benchmark_prints_is_not_its_report(tmp_path: Path) -> None:
    script = tmp_path / "run_benchmark.py"
    script.write_text(
        "import os, sys\nprint('a line of its own')\nprint('WORD' in os.environ, sys.argv[1:-1])\n"
        "open(sys.argv[-1], 'w').write('{}')\n"
    )
    run = list(TOOL.argv(resolved()))[2]

    def started(*words: str) -> subprocess.CompletedProcess[str]:
        argv = ["sh", "-c", run, "x", "python3", *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    done = started(str(script), "no", "--worker")
    assert (done.returncode, done.stdout) == (0, "{}")
    assert "a line of its own" in done.stderr and "['--worker', '-q', '-o']" in done.stderr
    assert "'--inherit-environ', '" in started(str(script), "yes").stderr
    done = started(str(tmp_path / "none.py"), "no")
    assert (done.returncode, "none.py: not found" in done.stderr) == (127, True)


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("nbdy", "has no benchmark 'nbdy'", "did you mean nbody?"),
        ("zzzzzz", "has no benchmark 'zzzzzz'", "there are: 2to3"),
        ("django_template", "needs django legacy-cgi", "standard library alone"),
        ("logging", "reports several figures", "there are: 2to3"),
    ],
)
def test_a_benchmark_that_cannot_be_run_is_refused_with_the_suite(name: str, message: str, hint: str) -> None:
    with pytest.raises(SuiteError) as caught:
        resolved(benchmark=name)
    assert message in caught.value.message
    assert hint in str(caught.value.hint)


def test_every_benchmark_of_the_suite_is_known() -> None:
    assert not SCRIPTS.keys() & NEEDS.keys() and not SCRIPTS.keys() & SEVERAL
    assert len(SCRIPTS) + len(NEEDS) + len(SEVERAL) == 97
    for name, script in SCRIPTS.items():
        assert script.loops * script.loop_s > 0.025 or script.loops == 1, name
    assert set(Pyperformance.wheels) <= set(LAYERS["python"].wheels)


@pytest.mark.parametrize(
    ("path", "value", "reason", "words"),
    [
        (("version",), "2.0", Reason.UNPARSABLE, "format '2.0'"),
        (("benchmarks",), [], Reason.UNPARSABLE, "not a report of pyperf"),
        (("benchmarks", 0, "runs", 0, "values"), [], Reason.MISSING_METRIC, "no process has values"),
        (("benchmarks", 0, "runs", 0, "values"), [0.09], Reason.CONTRADICTION, "1 values, and not 2"),
        (("benchmarks", 0, "runs", 0, "values"), [0.09, 0], Reason.MISSING_METRIC, "reads 0 s"),
        (("benchmarks", 0, "runs", 0, "values"), [0.09, -1], Reason.UNPARSABLE, "no number from 0 up"),
        (("benchmarks", 0, "runs", 0, "values"), [0.09, "x"], Reason.UNPARSABLE, "no number from 0 up"),
        (("benchmarks", 0, "runs", 0, "values"), [9.0, 0.09], Reason.CONTRADICTION, "and it took 0.298 s"),
        (("metadata", "duration"), 0.1, Reason.CONTRADICTION, "and it took 0.100 s"),
        (("metadata", "loops"), 2, Reason.CONTRADICTION, "contradicts itself"),
        (("metadata", "unit"), "byte", Reason.UNIT_MISMATCH, "'byte'"),
        (("metadata", "name"), "other", Reason.CONTRADICTION, "is of 'other', and not of 'nbody'"),
        (("metadata",), {}, Reason.UNPARSABLE, "KeyError"),
    ],
)
def test_a_report_that_cannot_be_is_no_time(
    path: tuple[str | int, ...], value: Any, reason: Reason, words: str
) -> None:
    changed: Any = report()
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    error = refusal(changed)
    assert (error.reason, words in error.message) == (reason, True), error.message


def test_loops_of_another_number_are_refused() -> None:
    error = refusal(report(), values=2, warmups=1, loops=4)
    assert (error.reason, error.message) == (
        Reason.CONTRADICTION,
        "the report is of 1 loops, and not of 4",
    )


def test_a_report_that_is_cut_or_there_twice_is_refused() -> None:
    text = (DATA / "process" / "stdout").read_text()
    assert "cut off" in refusal(text[:-1]).message
    assert "two reports" in refusal(text + text).message
    assert "no JSON" in refusal(text[:300] + "\n").message
