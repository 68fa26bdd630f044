"""A report must agree with itself: what breaks a declared relation is refused, with both values."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from perfctl.errors import OutputError
from perfctl.execute.invocation import read_outcome
from perfctl.model import Benchmark, Direction, Metric, Parameter, Reason, Sample, Status
from perfctl.shell import Completed
from perfctl.workloads import WORKLOADS, Workload, resolve_parameters, workload
from perfctl.workloads.relations import Ascending, Cap, Product, Reading, Relation, Total, check_report
from perfctl.workloads.syscalls import TESTS as SYSCALLS

DATA = Path(__file__).parents[1] / "data"
CASES = sorted(path.parent for path in DATA.glob("*/*/argv.json") if path.parts[-3] in WORKLOADS)


def captured(folder: Path) -> tuple[Workload, dict[str, Parameter], str]:
    tool = workload(folder.parent.name)
    given = json.loads((folder / "argv.json").read_text())["parameters"]
    return tool, dict(resolve_parameters(tool, given)), (folder / "stdout").read_text()


def read_with(
    name: str, report: str, stderr: str, given: Mapping[str, Parameter]
) -> tuple[Status, Reason | None, str, dict[str, float]]:
    """Return what becomes of an invocation that printed this and exited 0."""
    tool = workload(name)
    benchmark = Benchmark("b", name, resolve_parameters(tool, given), expected_s=1)
    done = Completed((name,), 0, report.encode(), stderr.encode())
    outcome = read_outcome(tool, benchmark, done)
    assert outcome.completed is done, "the raw output is kept"
    values = {sample.metric: sample.value for sample in outcome.samples}
    return outcome.status, outcome.reason, outcome.detail, values


def read(name: str, report: str, **given: Parameter) -> tuple[Status, Reason | None, str, dict[str, float]]:
    """Return what becomes of an invocation with these parameters that printed this and exited 0."""
    return read_with(name, report, "", given)


def reported(name: str) -> str:
    return (DATA / "refused" / name).read_text()


WRITES = {"test": "fileio", "file_test_mode": "rndwr"}


def test_a_full_report_after_a_fatal_line_is_refused_and_the_line_is_the_detail() -> None:
    status, reason, detail, values = read("sysbench", reported("sysbench-fatal-midway.txt"), **WRITES)
    assert (status, reason, values) == (Status.FAILED, Reason.TOOL_ERROR, {})
    assert detail.startswith("FATAL: Failed to write file! file: 24 pos: 14516224 errno = 28 (No space left")


@pytest.mark.parametrize(
    "line",
    [
        "FATAL: Failed to fsync file! file: 7 errno = 5 (Input/output error)",
        "fatal: Validation failed on file 3, block offset 16384, exiting...",
        "ERROR: something",
        "error: something",
        "\x1b[31mFATAL: red\x1b[0m",
        "  PANIC: unprotected error in call to Lua API",
    ],
)
@pytest.mark.parametrize("is_stderr", [False, True])
def test_a_line_that_reports_an_error_refuses_any_report(line: str, is_stderr: bool) -> None:
    for folder in CASES:
        tool, parameters, report = captured(folder)
        stdout, stderr = (report, line + "\n") if is_stderr else (f"{line}\n{report}", "")
        _, reason, detail, values = read_with(tool.name, stdout, stderr, parameters)
        assert (reason, values) == (Reason.TOOL_ERROR, {})
        assert line.strip() in detail


def test_words_inside_a_line_are_no_error() -> None:
    report = (DATA / "sysbench" / "cpu" / "stdout").read_text()
    for line in ("no error was found", "errors: 0", "(fatality rate) 0", "WARNING: error bars are wide"):
        assert read("sysbench", f"{report}{line}\n")[0] is Status.OK, line


def test_an_error_line_says_more_than_what_is_missing_after_it() -> None:
    report = "sysbench 1.0.20\n\nFATAL: Cannot open file 'test_file.0' errno = 2\n"
    _, reason, detail, _ = read("sysbench", report, **WRITES)
    assert reason is Reason.MISSING_METRIC
    assert "Cannot open file 'test_file.0'" in detail


@pytest.mark.parametrize(
    ("name", "given"),
    [("sysbench-percentile-cap.txt", {"test": "threads"}), ("sysbench-fileio-cap.txt", WRITES)],
)
def test_a_percentile_at_the_end_of_its_histogram_is_missing(name: str, given: dict[str, Parameter]) -> None:
    status, reason, detail, values = read("sysbench", reported(name), **given)
    assert (status, reason) == (Status.OK, None)
    assert detail == "latency_p95 is missing (100 s or more)"
    assert "latency_p95" not in values
    declared = workload("sysbench").metrics(resolve_parameters(workload("sysbench"), given))
    assert values.keys() == {metric.name for metric in declared} - {"latency_p95"}


def test_a_wrapped_counter_is_refused_with_both_values() -> None:
    status, reason, detail, values = read("netperf", reported("netperf-wrapped.txt"))
    assert (status, reason, values) == (Status.FAILED, Reason.CONTRADICTION, {})
    assert "latency_mean (436.5 us)" in detail and "52,011 transactions/s" in detail
    assert "22,703,357, but 1,000,000" in detail


@pytest.mark.parametrize(
    ("name", "test", "port"),
    [
        ("netperf-nothing-received.txt", "UDP_STREAM", "UDP port 12966"),
        ("netperf-caught.txt", "TCP_STREAM", "TCP port 12966"),
    ],
)
def test_nothing_received_is_missing_with_a_hint_at_the_firewall(name: str, test: str, port: str) -> None:
    status, reason, detail, values = read("netperf", reported(name), test=test)
    assert (status, reason, values) == (Status.FAILED, Reason.MISSING_METRIC, {})
    assert "nothing was received" in detail and "firewall" in detail and port in detail


def test_a_timer_that_went_off_again_is_named_and_refuses_a_throughput_too() -> None:
    caught = reported("netperf-caught.txt")
    assert "times_up != 0" in read("netperf", caught, test="TCP_STREAM")[2]
    _, reason, detail, _ = read("netperf", caught.replace("=0.00", "=941.20"), test="TCP_STREAM")
    assert reason is Reason.TOOL_ERROR
    assert detail.startswith("catcher: timer popped with times_up != 0")


def test_no_transaction_has_the_same_hint() -> None:
    report = (DATA / "netperf" / "udp-rr" / "stdout").read_text().replace("=12999.30", "=0.00")
    _, reason, detail, _ = read("netperf", report, test="UDP_RR")
    assert reason is Reason.MISSING_METRIC and "UDP port 12966" in detail


def test_a_headline_of_zero_is_missing() -> None:
    report = reported("sysbench-fileio-cap.txt").replace(
        "written, MiB/s:               0.01", "written, MiB/s: 0.00"
    )
    _, reason, detail, _ = read("sysbench", report, **WRITES)
    assert reason is Reason.MISSING_METRIC and "write_bandwidth: it reads 0 MiB/s" in detail


ALONE: dict[str, set[str]] = {
    "cpu": set(),
    "memory": set(),
    "fileio": set(),
    "threads": {"events_per_second", "total_time"},
    "mutex": {"total_time"},
    "TCP_STREAM": {"throughput", "retransmits", "elapsed_time"},
    "TCP_MAERTS": {"throughput", "retransmits", "elapsed_time"},
    "UDP_STREAM": {"loss"},
    "TCP_RR": {"elapsed_time"},
    "TCP_CRR": {"elapsed_time"},
    "UDP_RR": {"elapsed_time"},
    "startup": {"ready"},
    "hyperfine": {"time", "user_time", "system_time"},
    **{test: {"retransmits"} for test in ("TCP", "TCP_REVERSE")},
    **{
        test: set() for test in ("stress-ng", "UDP", "read", "write", "rw", "randread", "randwrite", "randrw")
    },
    **{test: {"cost", "elapsed_time"} for test in SYSCALLS},
    "stream": {"copy", "scale", "add", "triad", "triad_best", "elapsed_time"},
    "memory-latency": {"latency", "elapsed_time"},
    # Rounds, which no relation is about: the parser holds them against the time of all.
    **{key: {"estimate_time", "estimate", "elapsed_time"} for key in ("loop", "numpy")},
    **{key: {"loop_time", "max_rss", "loops", "processes"} for key in ("process", "whole")},
    "operations": {
        *("total", "function_calls", "method_calls", "dicts", "lists", "strings", "exceptions", "lookups"),
        *("loops", "tuples", "system_calls", "elapsed_time"),
    },
}
"""By test, the figures that nothing else in its report bounds from above; two of them are computed."""


@pytest.mark.parametrize("folder", CASES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_no_figure_can_be_far_too_large_unseen(folder: Path) -> None:
    tool, parameters, report = captured(folder)
    samples = tool.parse(report, parameters)
    unseen = set()
    for place, sample in enumerate(samples):
        wrong = [*samples[:place], replace(sample, value=sample.value * 1e10 + 1e10), *samples[place + 1 :]]
        try:
            check_report(wrong, tool.metrics(parameters), tool.relations(parameters), ())
        except OutputError as error:
            assert error.reason == Reason.CONTRADICTION
            assert sample.metric in error.message
        else:
            unseen.add(sample.metric)
    assert unseen == ALONE[str(parameters.get("test", tool.name))]


@pytest.mark.parametrize("rate", ["0.00", "100000000000000.00", "1.00", "40000.00"])
def test_a_rate_that_contradicts_the_totals_names_both(rate: str) -> None:
    report = (DATA / "sysbench" / "cpu" / "stdout").read_text().replace("4216.72", rate)
    _, reason, detail, _ = read("sysbench", report, time_s=1)
    assert reason is Reason.CONTRADICTION
    assert f"events_per_second ({float(rate):,.0f} events/s)" in detail.replace(".000 ", " ")
    assert "but total_events (4,221 events)" in detail


def test_steps_of_an_opening_come_in_their_order() -> None:
    report = (DATA / "startup" / "vm" / "stdout").read_text()
    _, reason, detail, _ = read("startup", report.replace("kernel: 3.09", "kernel: 5.09"))
    assert reason is Reason.CONTRADICTION and "kernel (5.090 s) is more than ssh (4.620 s)" in detail


@pytest.mark.parametrize("folder", CASES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_every_metric_has_the_resolution_of_what_the_tool_prints(folder: Path) -> None:
    tool, parameters, report = captured(folder)
    metrics = {metric.name: metric for metric in tool.metrics(parameters)}
    assert all(metric.step or metric.resolution for metric in metrics.values())
    printed = re.findall(r"(?<![\d.])\d+(?:\.\d+)?(?![\d.])", report)
    for sample in tool.parse(report, parameters):
        steps = {-len(text.partition(".")[2]) for text in printed if float(text) == sample.value}
        step = metrics[sample.metric].step
        # What is read of a guest has fewer decimals than the report that perfctl writes itself.
        assert not step or not steps or math.log10(step) >= min(steps) - 1e-9, sample


@pytest.mark.parametrize("folder", CASES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_relations_and_caps_name_metrics_that_are_declared(folder: Path) -> None:
    tool, parameters, _ = captured(folder)
    names = {metric.name for metric in tool.metrics(parameters)}
    for relation in tool.relations(parameters):
        assert set(relation.metrics) <= names
        assert not isinstance(relation, Ascending) or set(relation.order) <= names
    assert {cap.metric for cap in tool.caps(parameters)} <= names


# ---- the relations themselves ------------------------------------------------------------------------------


def check(relation: Relation, **values: float) -> str:
    """Return the contradiction among metrics that are printed with two decimals."""
    metrics = [
        Metric(name, "s", Direction.NEUTRAL, headline=place == 0, step=0.01)
        for place, name in enumerate(values)
    ]
    samples = [Sample(name, value, "s") for name, value in values.items()]
    try:
        check_report(samples, metrics, [relation], ())
    except OutputError as error:
        return error.message
    return ""


def test_rounding_alone_breaks_no_relation() -> None:
    product = Product(("a", "b"), ("c",))
    assert not check(product, a=0.01, b=500.0, c=9.9)
    assert check(product, a=0.01, b=500.0, c=11.0)
    assert not check(Ascending(("a", "b")), a=1.01, b=1.0)
    assert check(Ascending(("a", "b")), a=1.03, b=1.0)
    assert not check(Ascending(("a", "b", "c")), a=1.0, c=2.0), "one that is missing is skipped"
    assert not check(product, a=1.0, b=2.0), "nothing is known without c"


def test_tolerance_is_a_share_and_slack_is_in_the_unit_of_its_metric() -> None:
    assert not check(Product(("a",), ("b",), tolerance=0.1), a=100.0, b=109.0)
    assert check(Product(("a",), ("b",), tolerance=0.1), a=100.0, b=111.0)
    assert not check(Product(("a",), ("b",), slack={"b": 5.0}), a=100.0, b=105.0)
    assert check(Product(("a",), ("b",), slack={"b": 5.0}), a=100.0, b=106.0)
    bound = Product(("a",), ("b",), 2.0, is_bound=True)
    assert not check(bound, a=1.0, b=100.0)
    assert check(bound, a=201.0, b=100.0).endswith("a (201 s) is more than 2 x b (100 s) = 200")


def test_a_total_may_have_its_optional_parts_or_not() -> None:
    total = Total("all", "time", ("x", "y"), ("z",))
    for right in (30.0, 35.0, 40.0):
        assert not check(total, all=right, time=10.0, x=1.0, y=2.0, z=1.0)
    for wrong in (28.0, 42.0):
        assert "(x (1 s) + y (2 s)) x time (10 s) = 30" in check(
            total, all=wrong, time=10.0, x=1.0, y=2.0, z=1.0
        )


def test_a_value_at_its_cap_is_missing_and_counts_as_that_much_or_more() -> None:
    metrics = [Metric(name, "s", Direction.LOWER, headline=name == "a", step=0.01) for name in "ab"]
    caps = [Cap("b", 100.0, "100 s or more")]
    samples = [Sample("a", 500.0, "s"), Sample("b", 100.0, "s")]
    for order in (("a", "b"), ("b", "a")):
        found = check_report(samples, metrics, [Ascending(order)], caps)
        assert found == Reading((samples[0],), {"b": "100 s or more"})
        assert found.remark == "b is missing (100 s or more)"
    with pytest.raises(OutputError, match="is more than a"):
        check_report([Sample("a", 99.0, "s"), samples[1]], metrics, [Ascending(("b", "a"))], caps)


def test_a_metric_with_several_samples_is_in_no_relation() -> None:
    metrics = [Metric(name, "s", Direction.LOWER, headline=name == "a", step=0.01) for name in "ab"]
    samples = [Sample("a", 1.0, "s"), Sample("b", 9.0, "s"), Sample("b", 8.0, "s", 1)]
    assert check_report(samples, metrics, [Ascending(("b", "a"))], ()).samples == tuple(samples)
