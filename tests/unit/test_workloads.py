"""Every captured output: the command is still the one that made it, and it is read in full."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from perfctl.errors import UnknownName
from perfctl.model import Direction, Parameter
from perfctl.workloads import WORKLOADS, OpeningWorkload, Workload, resolve_parameters, workload

DATA = Path(__file__).parents[1] / "data"
CASES = sorted(path.parent for path in DATA.glob("*/*/argv.json") if path.parts[-3] in WORKLOADS)


class Case:
    """One folder of tests/data/<workload>/."""

    def __init__(self, folder: Path) -> None:
        content = json.loads((folder / "argv.json").read_text())
        self.workload: Workload = workload(folder.parent.name)
        self.parameters = resolve_parameters(self.workload, content["parameters"])
        self.argv: list[str] = content["argv"]
        self.server_address: str | None = content["server_address"]
        self.stdout = (folder / "stdout").read_text()
        self.version = (folder / "version").read_text()
        self.expected = json.loads((folder / "expected.json").read_text())


def read(case: Case, stdout: str) -> dict[str, dict[str, Any]]:
    """Return what is read of an output; a metric with a sample for each of several rounds has a list."""
    found: dict[str, dict[str, Any]] = {}
    for sample in case.workload.parse(stdout, case.parameters):
        if sample.metric not in found:
            assert sample.index == 0
            found[sample.metric] = {"value": sample.value, "unit": sample.unit}
            continue
        several = found[sample.metric]
        several["value"] = [*as_list(several["value"]), sample.value]
        assert (sample.unit, sample.index) == (several["unit"], len(several["value"]) - 1)
    return found


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.fixture(params=CASES, ids=lambda path: f"{path.parent.name}-{path.name}")
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def test_the_command_is_the_one_that_was_captured(case: Case) -> None:
    assert list(case.workload.argv(case.parameters, server_address=case.server_address)) == case.argv


def test_the_samples_are_the_expected_ones(case: Case) -> None:
    assert read(case, case.stdout) == case.expected


def test_every_declared_metric_has_a_sample_in_its_unit(case: Case) -> None:
    samples = case.workload.parse(case.stdout, case.parameters)
    declared = {metric.name: metric.unit for metric in case.workload.metrics(case.parameters)}
    found = {sample.metric: sample.unit for sample in samples}
    if isinstance(case.workload, OpeningWorkload):
        # Not every environment has every step.
        declared = {name: unit for name, unit in declared.items() if name == "ready" or name in found}
    assert found == declared


def test_exactly_one_metric_is_the_headline_and_has_a_direction(case: Case) -> None:
    headlines = [metric for metric in case.workload.metrics(case.parameters) if metric.headline]
    assert len(headlines) == 1
    assert headlines[0].direction is not Direction.NEUTRAL


def test_every_metric_says_what_it_is(case: Case) -> None:
    for metric in case.workload.metrics(case.parameters):
        assert metric.description, metric.name
        assert metric.unit, metric.name


def test_rates_that_a_load_names_are_metrics(case: Case) -> None:
    load = case.workload.load(case.parameters)
    units = {metric.name: metric.unit for metric in case.workload.metrics(case.parameters)}
    rates = [(item.rate, item.time) for item in load.crossings]
    if load.memory:
        rates.append((load.memory.rate, load.memory.time))
    for rate, time in rates:
        assert units[rate] in ("Mbit/s", "MiB/s")
        assert units[time] == "s"
    assert ("network" in load.uses) == (case.workload.scope == "pair")
    assert ("memory" in load.uses) == (load.memory is not None)


@pytest.mark.parametrize(
    ("name", "given", "threads", "uses", "crossings"),
    [
        ("sysbench", {"test": "cpu", "threads": 4}, 4, set(), 0),
        ("sysbench", {"test": "memory"}, 1, {"memory"}, 0),
        ("sysbench", {"test": "fileio"}, 1, {"storage"}, 0),
        ("sysbench", {"test": "fileio", "file_extra_flags": "direct"}, 1, {"storage"}, 2),
        ("netperf", {"test": "TCP_RR"}, 1, {"network"}, 0),
        ("netperf", {"test": "TCP_STREAM"}, 1, {"network"}, 1),
        ("netperf", {"test": "TCP_MAERTS"}, 1, {"network"}, 1),
        ("netperf", {"test": "UDP_STREAM"}, 1, {"network"}, 1),
        ("startup", {}, None, {"storage"}, 0),
        ("fio", {"test": "randread", "threads": 4}, 4, {"storage"}, 1),
        ("fio", {"test": "randrw"}, 1, {"storage"}, 2),
        ("fio", {"test": "randrw", "direct": False}, 1, {"storage"}, 0),
        ("iperf3", {"test": "TCP", "streams": 4}, 1, {"network"}, 1),
        ("iperf3", {"test": "TCP_REVERSE"}, 1, {"network"}, 1),
        ("iperf3", {"test": "UDP"}, 1, {"network"}, 1),
        ("stress-ng", {"threads": 4}, 4, {"storage"}, 0),
        ("syscalls", {"test": "pipe"}, 1, set(), 0),
        ("stream", {"threads": 4}, 4, set(), 0),
        ("memory-latency", {}, 1, set(), 0),
        ("pi", {"test": "numpy"}, 1, set(), 0),
        ("operations", {}, 1, set(), 0),
        ("pyperformance", {"test": "whole"}, 1, set(), 0),
    ],
)
def test_what_the_built_in_workloads_use_on_purpose(
    name: str, given: dict[str, Parameter], threads: int | None, uses: set[str], crossings: int
) -> None:
    load = workload(name).load(resolve_parameters(workload(name), given))
    assert (load.threads, set(load.uses), len(load.crossings)) == (threads, {"cpu", *uses}, crossings)


def test_windows_line_ends_change_nothing(case: Case) -> None:
    assert read(case, case.stdout.replace("\n", "\r\n")) == case.expected


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_all_outputs_of_a_workload_are_of_one_version(name: str) -> None:
    assert len({case.version for case in map(Case, CASES) if case.workload.name == name}) == 1


@pytest.mark.parametrize("folder", [path for path in CASES if path.parent.name == "sysbench"], ids=str)
def test_every_number_of_a_sysbench_report_is_a_sample(folder: Path) -> None:
    """Nothing that the tool measured is left out (zeros of what a file test does not do apart)."""
    case = Case(folder)
    report = case.stdout.partition("Threads started!")[2]
    report = re.sub(r"\d+th percentile", "", report)
    printed = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", report)}
    read = {item["value"] for item in case.expected.values()}
    assert printed - {0.0} <= read
    derived = {case.expected["events_per_second"]["value"]} if case.parameters["test"] == "threads" else set()
    assert read - derived <= printed


@pytest.mark.parametrize("folder", [path for path in CASES if path.parent.name == "netperf"], ids=str)
def test_every_number_of_a_netperf_report_is_a_sample_or_an_echo(folder: Path) -> None:
    case = Case(folder)
    lines = dict(line.split("=") for line in case.stdout.splitlines())
    echoes = {"THROUGHPUT_UNITS", "LOCAL_SEND_SIZE", "REMOTE_SEND_SIZE", "REQUEST_SIZE", "RESPONSE_SIZE"}
    printed = {float(value) for key, value in lines.items() if key not in echoes}
    read = {item["value"] for name, item in case.expected.items() if name != "loss"}
    assert read == printed


def test_derived_values_are_what_they_say() -> None:
    threads = Case(DATA / "sysbench" / "threads").expected
    ratio = threads["total_events"]["value"] / threads["total_time"]["value"]
    assert threads["events_per_second"]["value"] == pytest.approx(ratio)
    udp = Case(DATA / "netperf" / "udp-stream").expected
    lost = 1 - udp["bytes_received"]["value"] / udp["bytes_sent"]["value"]
    assert udp["loss"] == {"value": pytest.approx(100 * lost), "unit": "%"}


def named_tests(tool: Workload) -> Sequence[Parameter | None]:
    """Return the values of the parameter `test`; a workload without it has one test, which has no name."""
    return next((spec.choices for spec in tool.parameter_specs if spec.name == "test"), (None,))


def test_every_test_of_every_workload_has_a_captured_case() -> None:
    captured = {(case.workload.name, case.parameters.get("test")) for case in map(Case, CASES)}
    wanted = {(item.name, choice) for item in WORKLOADS.values() for choice in named_tests(item)}
    assert captured == wanted
    modes = {case.parameters.get("file_test_mode") for case in map(Case, CASES)} - {None}
    assert modes == {"seqwr", "seqrewr", "seqrd", "rndrd", "rndwr", "rndrw"}


def test_timed_sysbench_tests_state_both_limits_and_mutex_runs_by_work() -> None:
    sysbench = workload("sysbench")
    for test in ("cpu", "memory", "threads", "fileio"):
        argv = sysbench.argv(resolve_parameters(sysbench, {"test": test, "time_s": 3, "threads": 4}))
        assert {"--time=3", "--events=0", "--threads=4"} <= set(argv)
    argv = sysbench.argv(resolve_parameters(sysbench, {"test": "mutex", "threads": 4}))
    assert {"--time=0", "--events=4"} <= set(argv)


def test_fileio_makes_and_removes_only_its_own_folder() -> None:
    sysbench = workload("sysbench")
    parameters = resolve_parameters(sysbench, {"test": "fileio", "directory": "/data/"})
    setup, cleanup = sysbench.setup_argvs(parameters), sysbench.cleanup_argvs(parameters)
    assert list(setup[0]) == ["mkdir", "-p", "/data/perfctl-fileio"]
    assert [argv[-1] for argv in setup[1:]] == ["prepare", "/data/perfctl-fileio"]
    assert cleanup[0][:3] == ["env", "-C", "/data/perfctl-fileio"]
    assert cleanup[0][-1] == "cleanup"
    assert list(cleanup[-1]) == ["rmdir", "/data/perfctl-fileio"]
    files = {part for part in setup[1] if part.startswith("--file")}
    assert files <= set(sysbench.argv(parameters))


def test_only_what_has_files_prepares_them_and_removes_them() -> None:
    for item in WORKLOADS.values():
        parameters = resolve_parameters(item, {})
        has_files = item.files(parameters) is not None
        assert bool(item.setup_argvs(parameters)) == has_files
        assert bool(item.cleanup_argvs(parameters)) == has_files


def test_netserver_stays_in_the_foreground_on_the_port_that_is_waited_for() -> None:
    netperf = workload("netperf")
    server = netperf.server(resolve_parameters(netperf, {"control_port": 5001}))
    assert server is not None
    assert server.argv == ("netserver", "-D", "-4", "-N", "-p", "5001")
    assert server.tcp_port == 5001
    assert workload("sysbench").server({}) is None


def test_expected_time_covers_the_test() -> None:
    def expected_s(name: str, **given: object) -> float:
        return workload(name).expected_s(resolve_parameters(workload(name), given))

    assert 7 < expected_s("sysbench", time_s=7) < 8
    assert 7 < expected_s("netperf", test="TCP_RR", time_s=7) < 8
    assert 11 < expected_s("netperf", test="TCP_CRR", time_s=7) < 12
    assert expected_s("sysbench", test="mutex", threads=8) > 4 * expected_s("sysbench", test="mutex") / 2


def test_a_workload_of_another_name() -> None:
    with pytest.raises(UnknownName, match="no workload 'sysbnech'") as caught:
        workload("sysbnech")
    assert caught.value.hint == "did you mean sysbench?"
    with pytest.raises(UnknownName) as caught:
        workload("zzz")
    assert caught.value.hint == f"there are: {', '.join(WORKLOADS)}"


@pytest.mark.parametrize("folder", [path for path in CASES if path.parent.name == "startup"], ids=str)
def test_a_report_of_an_opening_is_what_its_workload_wrote(folder: Path) -> None:
    case = Case(folder)
    assert isinstance(case.workload, OpeningWorkload)
    lines = dict(line.split(": ") for line in case.stdout.splitlines() if ": " in line)
    steps = {name: float(lines[name].split()[0]) for name in lines.pop("steps", "").split()}
    command_s = float(lines["first command"].split()[0])
    assert case.workload.opening_report(steps, command_s) == case.stdout


def test_steps_that_are_no_metric_count_for_when_it_is_ready() -> None:
    startup = workload("startup")
    assert isinstance(startup, OpeningWorkload)
    report = startup.opening_report({"kernel": 2.0, "ssh": 4.0, "engine": 7.5, "made": 8.0}, 0.25)
    assert {item.metric: item.value for item in startup.parse(report, {})} == {
        "ready": 8.25,
        "kernel": 2.0,
        "ssh": 4.0,
        "made": 8.0,
    }


def test_only_some_workloads_measure_an_opening() -> None:
    assert [name for name, item in WORKLOADS.items() if isinstance(item, OpeningWorkload)] == ["startup"]
