"""stress-ng: what it skips is unavailable, and a report is of the stressor that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from perfctl.errors import OutputError, UsageError
from perfctl.execute.invocation import read_outcome
from perfctl.model import Benchmark, Parameter, Reason, Status
from perfctl.shell import Completed
from perfctl.workloads import WORKLOADS, resolve_parameters

DATA = Path(__file__).parents[1] / "data" / "stress-ng"
STRESS = WORKLOADS["stress-ng"]
SWITCH = (DATA / "switch" / "stdout").read_text()


def outcome(exit_code: int, stdout: str, stderr: str, **given: Parameter) -> tuple[Any, ...]:
    benchmark = Benchmark("b", "stress-ng", resolve_parameters(STRESS, given), expected_s=1)
    done = Completed(("stress-ng",), exit_code, stdout.encode(), stderr.encode())
    found = read_outcome(STRESS, benchmark, done)
    assert found.completed is done, "the raw output is kept"
    return found.status, found.reason, found.detail


def values(stdout: str, **given: Parameter) -> dict[str, float]:
    samples = STRESS.parse(stdout, resolve_parameters(STRESS, given))
    return {sample.metric: sample.value for sample in samples}


def reason_of(stdout: str, **given: Parameter) -> str:
    with pytest.raises(OutputError) as caught:
        values(stdout, **given)
    return caught.value.reason


@pytest.mark.parametrize(
    ("exit_code", "stdout", "line"),
    [
        (0, "", "rdrand stressor will be skipped, not a recognised Intel CPU"),
        (3, SWITCH, "binderfs: binderfs not supported, errno=19 (No such device), skipping stress test"),
        (1, "", "netlink_proc stressor will be skipped, need to be running with CAP_NET_ADMIN rights"),
        (0, "---\n\n...\n", "x stressor will be skipped, y"),
    ],
)
def test_a_stressor_that_is_skipped_is_unavailable_whatever_the_exit_code(
    exit_code: int, stdout: str, line: str
) -> None:
    error = "stress-ng: error: [1] No stress workers invoked (one or more were unsupported)\n"
    found = outcome(exit_code, stdout, f"stress-ng: info:  [3196] {line}\n{error}", stressor="switch")
    assert found == (Status.SKIPPED, Reason.ENVIRONMENT_UNAVAILABLE, line)


def test_other_failures_are_told_by_the_line_of_stress_ng() -> None:
    error = "stress-ng: error: [31330] No stress workers invoked"
    found = outcome(1, "", f"stress-ng: info:  [31330] setting to a 1 second run per stressor\n{error}\n")
    assert found == (Status.FAILED, Reason.EXIT_NONZERO, f"exit code 1: {error}")
    failed = "stress-ng: fail:  [7] verification failed\n"
    assert outcome(0, SWITCH, failed, stressor="switch")[:2] == (Status.FAILED, Reason.TOOL_ERROR)
    assert outcome(0, "", "")[:2] == (Status.FAILED, Reason.NO_OUTPUT)


def test_a_report_of_another_stressor_is_no_result() -> None:
    assert reason_of(SWITCH, stressor="matrix") == Reason.UNPARSABLE
    two = SWITCH.replace("\n...", SWITCH.partition("metrics:")[2], 1)
    assert reason_of(two, stressor="switch") == Reason.UNPARSABLE
    renamed = SWITCH.replace("stressor: switch", "stressor: netlink_proc")
    assert values(renamed, stressor="netlink-proc")["bogo_ops"] == 99726


def test_nothing_done_is_missing_and_not_zero() -> None:
    none = SWITCH.replace("bogo-ops: 99726", "bogo-ops: 0")
    assert reason_of(none, stressor="switch") == Reason.MISSING_METRIC


def test_a_rate_by_processor_time_that_was_not_counted_is_missing() -> None:
    idle = SWITCH.replace("user-time: 0.041905", "user-time: 0.000000")
    idle = idle.replace("system-time: 0.473228", "system-time: 0.000000")
    idle = idle.replace("usr-sys-time: 193592.722656", "usr-sys-time: 0.000000")
    found = values(idle, stressor="switch")
    assert "bogo_ops_per_cpu_second" not in found and found["bogo_ops_per_second"] > 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("real-time: 99599.977404", "real-time: 89599.977404"),
        ("usr-sys-time: 193592.722656", "usr-sys-time: 99599.977404"),
        ("wall-clock-time: 1.001265", "wall-clock-time: 10.01265"),
        ("system-time: 0.473228", "system-time: 4.73228"),
    ],
)
def test_rates_that_operations_and_times_do_not_make(old: str, new: str) -> None:
    assert SWITCH.count(old) == 1
    assert reason_of(SWITCH.replace(old, new), stressor="switch") == Reason.CONTRADICTION


@pytest.mark.parametrize("stressor", ["all", "sequential", "random", "permute", "class", "pathological"])
def test_options_that_start_many_stressors_are_refused(stressor: str) -> None:
    with pytest.raises(UsageError, match="is no stressor"):
        STRESS.check(resolve_parameters(STRESS, {"stressor": stressor}))


def test_no_value_becomes_another_option() -> None:
    for bad in ({"stressor": "-cpu"}, {"stressor": "cpu 9"}, {"method": "a --all 1"}, {"directory": "x"}):
        with pytest.raises(UsageError):
            resolve_parameters(STRESS, bad)
    argv = list(STRESS.argv(resolve_parameters(STRESS, {"method": "matrixprod", "threads": 3})))
    assert argv[:5] == ["stress-ng", "--cpu", "3", "--cpu-method", "matrixprod"]
    assert "--cpu-method" not in STRESS.argv(resolve_parameters(STRESS, {}))


def test_only_its_own_folder_is_removed() -> None:
    parameters = resolve_parameters(STRESS, {"directory": "/data/"})
    folder = "/data/perfctl-stress-ng"
    assert STRESS.setup_argvs(parameters) == (["mkdir", "-p", folder],)
    assert STRESS.cleanup_argvs(parameters) == (["rm", "-rf", "--one-file-system", folder],)
    argv = list(STRESS.argv(parameters))
    assert argv[argv.index("--temp-path") + 1] == folder
