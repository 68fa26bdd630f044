"""fio: what is not possible, what an environment refuses, and reports that must not become numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from perfctl.errors import OutputError, UsageError
from perfctl.execute.invocation import read_outcome
from perfctl.model import Benchmark, Parameter, Reason, Sample, Status
from perfctl.shell import Completed
from perfctl.workloads import WORKLOADS, Parameters, resolve_parameters

DATA = Path(__file__).parents[1] / "data"
FIO = WORKLOADS["fio"]


def captured(case: str) -> tuple[Parameters, str]:
    folder = DATA / "fio" / case
    given = json.loads((folder / "argv.json").read_text())["parameters"]
    return resolve_parameters(FIO, given), (folder / "stdout").read_text()


def changed(case: str, **changes: Any) -> tuple[Parameters, str]:
    """Return a report of which fields of its job, by their path with dots, have other values."""
    parameters, text = captured(case)
    report = json.loads(text)
    for path, value in changes.items():
        *folders, name = path.split(".")
        place = report["jobs"][0]
        for folder in folders:
            place = place[folder]
        assert name in place
        place[name] = value
    return parameters, json.dumps(report, indent=2)


def reason_of(parameters: Parameters, stdout: str) -> tuple[str, str]:
    with pytest.raises(OutputError) as caught:
        FIO.parse(stdout, parameters)
    return caught.value.reason, caught.value.message


def outcome(
    exit_code: int, stdout: str, stderr: str = "", given: Parameters | None = None
) -> tuple[Any, ...]:
    parameters = resolve_parameters(FIO, given or {})
    done = Completed(("fio",), exit_code, stdout.encode(), stderr.encode())
    found = read_outcome(FIO, Benchmark("b", "fio", parameters, expected_s=1), done)
    assert found.completed is done, "the raw output is kept"
    return found.status, found.reason, found.detail


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"queue_depth": 8}, "psync has no queue"),
        ({"engine": "io_uring", "threads": 4, "file_total_bytes": 8192}, "cannot hold a block of 4096"),
        ({"block_bytes": 1000}, "whole sectors"),
    ],
)
def test_parameters_that_do_not_go_together(given: dict[str, Parameter], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FIO.check(resolve_parameters(FIO, given))


def test_an_engine_of_another_name_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="io_uring"):
        resolve_parameters(FIO, {"engine": "io-uring"})


def test_an_engine_that_the_environment_refuses_is_unavailable_there() -> None:
    printed = (DATA / "refused" / "fio-io-uring.txt").read_text()
    status, reason, detail = outcome(1, printed, given={"engine": "io_uring", "queue_depth": 4})
    assert (status, reason) == (Status.SKIPPED, Reason.ENVIRONMENT_UNAVAILABLE)
    assert detail.startswith("io_uring is refused (Operation not permitted)")
    assert "kernel.io_uring_disabled" in detail and "engine = 'libaio'" in detail


def test_a_report_beside_an_exit_code_is_no_result() -> None:
    parameters, text = captured("randread")
    assert outcome(1, text, given=parameters)[:2] == (Status.FAILED, Reason.EXIT_NONZERO)


def test_a_failure_is_told_by_the_line_of_fio_that_has_the_error() -> None:
    stderr = "fio: /x is not a directory\nfio: failed parsing directory=/x\n"
    error = "fio: file:options.c:1457, func=lstat, error=No such file or directory"
    status, reason, detail = outcome(1, "", stderr + error + "\n")
    assert (status, reason) == (Status.FAILED, Reason.EXIT_NONZERO)
    assert detail == f"exit code 1: {error}"
    bad = "fio: looks like your file system does not support direct=1/buffered=0"
    assert outcome(1, "", bad)[2] == f"exit code 1: {bad}"


def test_an_error_that_fio_reports_and_exits_0_is_no_result() -> None:
    assert reason_of(*changed("randread", error=5))[0] == Reason.TOOL_ERROR
    parameters, text = captured("randread")
    line = "fio: io_u error on file /x: Input/output error: read offset=0, buflen=4096, error=5\n"
    assert outcome(0, line + text, given=parameters)[:2] == (Status.FAILED, Reason.TOOL_ERROR)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("rw", "randwrite"),
        ("bs", "4096"),
        ("ioengine", "libaio"),
        ("iodepth", "2"),
        ("direct", "0"),
        ("runtime", "10"),
        ("size", "4096"),
        ("numjobs", "2"),
    ],
)
def test_fio_that_ran_with_other_settings_than_asked(option: str, value: str) -> None:
    reason, message = reason_of(*changed("randread", **{f"job options.{option}": value}))
    assert reason == Reason.UNPARSABLE
    assert f"fio ran with {option} = '{value}'" in message


def test_a_histogram_has_all_requests() -> None:
    text = captured("randread")[1]
    count = json.loads(text)["jobs"][0]["read"]["total_ios"]
    reason, message = reason_of(*changed("randread", **{"read.total_ios": count + 1}))
    assert reason == Reason.UNPARSABLE and f"has {count} requests, not {count + 1}" in message
    assert reason_of(*changed("randread", **{"read.lat_ns.bins": {}}))[0] == Reason.UNPARSABLE
    assert reason_of(*changed("rw", **{"write.lat_ns.bins": {"1": "x"}}))[0] == Reason.UNPARSABLE


def test_no_request_is_missing_and_not_zero() -> None:
    assert reason_of(*changed("rw", **{"write.total_ios": 0}))[0] == Reason.MISSING_METRIC


@pytest.mark.parametrize(
    ("value", "reason"),
    [("5", Reason.UNPARSABLE), (True, Reason.UNPARSABLE), (-1, Reason.UNPARSABLE), ([], Reason.UNPARSABLE),
     (None, Reason.MISSING_METRIC), (10**400, Reason.UNPARSABLE), (float("nan"), Reason.UNPARSABLE)],
)  # fmt: skip
def test_what_is_no_number_from_zero_up(value: object, reason: Reason) -> None:
    assert reason_of(*changed("randread", **{"read.iops": value}))[0] == reason


def test_a_rate_that_the_requests_do_not_make_is_a_contradiction() -> None:
    for field, wrong in (("iops", 1.0), ("bw_bytes", 1), ("runtime", 10), ("lat_ns.mean", 2e10)):
        reason, message = reason_of(*changed("randread", **{f"read.{field}": wrong}))
        assert reason == Reason.CONTRADICTION, message


def test_a_percentile_at_the_end_of_the_histogram_is_missing() -> None:
    latencies: dict[str, Any] = {
        **{"min": 1e6, "mean": 2e7, "max": 18e9, "stddev": 1e9, "bins": {"1000000": 999, "17112760320": 1}},
        "percentile": {"50.000000": 1e6, "90.000000": 1e6, "99.000000": 1e6, "99.900000": 17_112_760_320},
    }
    rates = {"total_ios": 1000, "runtime": 20_000, "iops": 50.0, "bw_bytes": 50 << 22}
    slow: dict[str, Any] = {f"read.{name}": value for name, value in rates.items()}
    slow |= {f"read.lat_ns.{name}": value for name, value in latencies.items()}
    parameters, text = changed("randread", **slow)
    reading = FIO.read_output(text, parameters)
    assert reading.missing == {"read_latency_p99_9": "17 s or more"}


def test_a_report_in_a_second_format_behind_it_changes_nothing() -> None:
    parameters, text = captured("randread")
    terse = "3;fio-3.33;perfctl-fio-file;0;0;573440;572867;559;1001;0;0;0.000000;0.000000;961\n"
    assert FIO.parse(text + terse, parameters) == FIO.parse(text, parameters)
    note = (
        "note: both iodepth >= 1 and synchronous I/O engine are selected, queue depth will be capped at 1\n"
    )
    assert FIO.parse(note + text, parameters) == FIO.parse(text, parameters)


def test_the_headline_is_of_requests_at_random_and_of_bandwidth_in_order() -> None:
    def headline(test: str) -> str:
        metrics = FIO.metrics(resolve_parameters(FIO, {"test": test}))
        return next(metric.name for metric in metrics if metric.headline)

    tests = ("randread", "randwrite", "randrw", "read", "write", "rw")
    assert [headline(test) for test in tests] == [
        *("reads_per_second", "writes_per_second", "reads_per_second"),
        *("read_bandwidth", "write_bandwidth", "read_bandwidth"),
    ]


def test_its_files_are_those_that_it_removes() -> None:
    parameters = resolve_parameters(FIO, {"directory": "/data/", "threads": 2, "file_total_bytes": 1 << 20})
    made, written, flushed = FIO.setup_argvs(parameters)
    assert list(made) == ["mkdir", "-p", "/data/perfctl-fio"]
    assert {"--create_only=1", "--rw=read", "--size=524288", "--numjobs=2"} <= set(written)
    assert list(flushed) == ["sync", "-f", "/data/perfctl-fio"]
    removed, folder = FIO.cleanup_argvs(parameters)
    name = next(part.partition("=")[2] for part in written if part.startswith("--name="))
    assert list(removed[2:]) == [f"/data/perfctl-fio/{name}.{number}.0" for number in (0, 1)]
    assert list(folder) == ["rmdir", "/data/perfctl-fio"]
    files = FIO.files(parameters)
    assert files is not None and (files.folder, files.size_bytes) == ("/data/perfctl-fio", 1 << 20)


def test_values_are_in_the_units_of_the_other_workloads() -> None:
    parameters, text = captured("randread")
    read = json.loads(text)["jobs"][0]["read"]
    samples = FIO.parse(text, parameters)
    assert Sample("read_bandwidth", read["bw_bytes"] / 2**20, "MiB/s") in samples
    assert Sample("read_time", read["runtime"] / 1000, "s") in samples
    assert Sample("read_latency_p99", read["lat_ns"]["percentile"]["99.000000"], "ns") in samples
