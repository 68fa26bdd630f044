"""Reports of perfctl-measure that must not become numbers, and how its numbers are made."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from perfctl.errors import OutputError, UsageError
from perfctl.execute.invocation import read_outcome
from perfctl.model import Benchmark, Reason, Status
from perfctl.shell import Completed
from perfctl.workloads import WORKLOADS, Parameters, resolve_parameters

DATA = Path(__file__).parents[1] / "data"


def captured(name: str, case: str) -> tuple[Parameters, str]:
    folder = DATA / name / case
    given = json.loads((folder / "argv.json").read_text())["parameters"]
    return resolve_parameters(WORKLOADS[name], given), (folder / "stdout").read_text()


def changed(name: str, case: str, pattern: str, new: str) -> tuple[str, str]:
    """Return the reason and message of the refusal when what matches once in a real output reads `new`."""
    parameters, text = captured(name, case)
    wrong, count = re.subn(pattern, new, text, flags=re.MULTILINE)
    assert count == 1
    with pytest.raises(OutputError) as caught:
        WORKLOADS[name].parse(wrong, parameters)
    return caught.value.reason, caught.value.message


@pytest.mark.parametrize(
    ("name", "case", "pattern", "new", "reason"),
    [
        ("syscalls", "getpid", "syscalls: getpid", "syscalls: stat", Reason.UNPARSABLE),
        ("syscalls", "getpid", r"^batches: 3", "batches: 4", Reason.UNPARSABLE),
        ("syscalls", "getpid", r"^calls per batch: \d+", "calls per batch: 0", Reason.MISSING_METRIC),
        ("syscalls", "getpid", r"^calls per batch: \d+", "calls per batch: -5", Reason.UNPARSABLE),
        ("syscalls", "getpid", r"^vdso: .*", "vdso: perhaps", Reason.MISSING_METRIC),
        ("syscalls", "getpid", r"(?<=^batch 2: )\d+ ns", "5 us", Reason.UNIT_MISMATCH),
        ("syscalls", "getpid", r"(?<=^batch 2: )\d+ ns", "0 ns", Reason.MISSING_METRIC),
        ("syscalls", "getpid", r"(?<=^batch 2: ).*", "500000 ns", Reason.UNPARSABLE),
        ("syscalls", "getpid", r"^elapsed: \d+", "elapsed: 17", Reason.CONTRADICTION),
        ("syscalls", "getpid", r"^batch 2:", "batch 4:", Reason.UNPARSABLE),
        ("stream", "one-thread", "stream: 1 workers", "stream: 2 workers", Reason.UNPARSABLE),
        ("stream", "one-thread", r"^array: \d+", "array: 8", Reason.UNPARSABLE),
        ("stream", "one-thread", r"^last-level cache: \d+", "last-level cache: 99999999", Reason.UNPARSABLE),
        ("stream", "two-threads", r"^last-level cache: \d+", "last-level cache: 99999999", Reason.UNPARSABLE),
        ("stream", "one-thread", r"^triad moves: \d+", "triad moves: 268435456", Reason.UNPARSABLE),
        ("stream", "one-thread", r"^copy 1: \d+", "copy 1: 0", Reason.MISSING_METRIC),
        ("stream", "one-thread", r"^elapsed: \d+", "elapsed: 17", Reason.CONTRADICTION),
        ("memory-latency", "small", "small pages", "huge pages", Reason.UNPARSABLE),
        ("memory-latency", "small", r"^working set: \d+", "working set: 64", Reason.UNPARSABLE),
        ("memory-latency", "small", r"^in huge pages: 0", "in huge pages: 2097152", Reason.UNPARSABLE),
        ("memory-latency", "huge", r"^in huge pages: \d+", "in huge pages: 2097152", Reason.UNPARSABLE),
        ("memory-latency", "small", r"^steps per batch: \d+", "steps per batch: 0", Reason.MISSING_METRIC),
        ("memory-latency", "small", r"^batch 1: \d+", "batch 1: 0", Reason.MISSING_METRIC),
    ],
)
def test_what_must_not_become_a_number(name: str, case: str, pattern: str, new: str, reason: Reason) -> None:
    found, message = changed(name, case, pattern, new)
    assert (found, bool(message)) == (reason, True), message


def test_a_cost_is_a_batch_without_the_shortest_loop() -> None:
    parameters, _ = captured("syscalls", "getpid")
    report = (
        "perfctl-measure syscalls: getpid\nvdso: yes\nbatches: 3\ncalls per batch: 10\n"
        "batch 1: 1000 ns, an empty loop 20 ns\nbatch 2: 1100 ns, an empty loop 5000 ns\n"
        "batch 3: 1020 ns, an empty loop 30 ns\nelapsed: 9000 ns\n"
    )
    samples = WORKLOADS["syscalls"].parse(report, parameters)
    costs = [(item.value, item.index) for item in samples if item.metric == "cost"]
    assert costs == [(98.0, 0), (108.0, 1), (100.0, 2)]
    single = {item.metric: item.value for item in samples if item.metric != "cost"}
    assert single == {"least_cost": 98.0, "calls": 30.0, "elapsed_time": pytest.approx(9e-6)}


def test_bytes_are_counted_as_stream_counts_them() -> None:
    parameters, text = captured("stream", "one-thread")
    array = int(re.findall(r"^array: (\d+) bytes$", text, re.MULTILINE)[0])
    samples = WORKLOADS["stream"].parse(text, parameters)
    for kernel, arrays in (("copy", 2), ("scale", 2), ("add", 3), ("triad", 3)):
        times_ns = [int(each) for each in re.findall(rf"^{kernel} \d+: (\d+) ns$", text, re.MULTILINE)]
        rates = [sample.value for sample in samples if sample.metric == kernel]
        assert rates == pytest.approx([arrays * array / (each / 1e9) / 1e6 for each in times_ns])


@pytest.mark.parametrize(
    ("name", "line", "detail"),
    [
        ("syscalls", "futex, errno 1", "futex is refused (Operation not permitted)"),
        ("syscalls", "pipe, errno 38", "pipe is refused (Function not implemented)"),
        ("memory-latency", "the kernel gives no huge pages", "the kernel gives no huge pages"),
        ("memory-latency", "the kernel gives no huge pages, errno 22", "the kernel gives no huge pages"),
    ],
)
def test_what_an_environment_refuses_is_unavailable(name: str, line: str, detail: str) -> None:
    tool = WORKLOADS[name]
    benchmark = Benchmark("b", name, resolve_parameters(tool, {}), expected_s=1)
    done = Completed(("x",), 1, b"", f"perfctl-measure: error: {line}\n".encode())
    outcome = read_outcome(tool, benchmark, done)
    assert (outcome.status, outcome.reason, outcome.detail) == (
        *(Status.SKIPPED, Reason.ENVIRONMENT_UNAVAILABLE),
        detail,
    )


def test_another_error_is_a_failure_with_its_line() -> None:
    tool = WORKLOADS["stream"]
    benchmark = Benchmark("b", "stream", resolve_parameters(tool, {}), expected_s=1)
    line = "perfctl-measure: error: the arrays have wrong values"
    outcome = read_outcome(tool, benchmark, Completed(("x",), 1, b"", f"{line}\n".encode()))
    assert (outcome.reason, outcome.detail) == (Reason.EXIT_NONZERO, f"exit code 1: {line}")


def test_huge_pages_need_a_working_set_that_fills_one() -> None:
    tool = WORKLOADS["memory-latency"]
    with pytest.raises(UsageError, match="does not fill a huge page"):
        tool.check(resolve_parameters(tool, {"pages": "huge", "working_set_bytes": 65536}))


def test_batches_share_the_time() -> None:
    tool = WORKLOADS["syscalls"]
    assert list(tool.argv(resolve_parameters(tool, {"test": "stat", "batches": 4, "time_s": 2.0}))) == [
        *("perfctl-measure", "syscalls", "stat", "4", "500000")
    ]
