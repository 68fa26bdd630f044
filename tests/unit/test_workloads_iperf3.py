"""iperf3: an exit code of 0 is no success, and a report is of the test that was asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from perfctl.errors import OutputError, UsageError
from perfctl.execute.invocation import read_outcome
from perfctl.model import Benchmark, Reason, Sample, Status
from perfctl.shell import Completed
from perfctl.workloads import WORKLOADS, Parameters, resolve_parameters

DATA = Path(__file__).parents[1] / "data"
IPERF3 = WORKLOADS["iperf3"]


def captured(case: str) -> tuple[Parameters, dict[str, Any]]:
    folder = DATA / "iperf3" / case
    given = json.loads((folder / "argv.json").read_text())["parameters"]
    return resolve_parameters(IPERF3, given), json.loads((folder / "stdout").read_text())


def text(report: dict[str, Any]) -> str:
    return json.dumps(report, indent=1) + "\n"


def refused(parameters: Parameters, report: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(OutputError) as caught:
        IPERF3.parse(text(report), parameters)
    return caught.value.reason, caught.value.with_hint


def test_no_server_is_a_failure_although_the_exit_code_is_0() -> None:
    printed = (DATA / "refused" / "iperf3-refused.txt").read_bytes()
    benchmark = Benchmark("b", "iperf3", resolve_parameters(IPERF3, {}), expected_s=1)
    outcome = read_outcome(IPERF3, benchmark, Completed(("iperf3",), 0, printed, b""))
    assert (outcome.status, outcome.reason) == (Status.FAILED, Reason.TOOL_ERROR)
    assert outcome.detail.startswith("iperf3 reported: unable to connect to server: Connection refused")
    assert "TCP port 15201" in outcome.detail


def test_an_error_after_a_whole_report_is_a_failure() -> None:
    parameters, report = captured("udp")
    message = "unable to read from stream socket: Resource temporarily unavailable"
    reason, told = refused(parameters, report | {"error": message})
    assert reason == Reason.TOOL_ERROR and message in told and "UDP port 15201" in told
    reason, told = refused(parameters, report | {"error": "unable to set TCP_CONGESTION: not supported"})
    assert reason == Reason.TOOL_ERROR and "firewall" not in told


def test_nothing_received_is_missing_and_not_zero() -> None:
    parameters, report = captured("tcp-two-streams")
    report["end"]["sum_received"].update(bytes=0, bits_per_second=0)
    reason, told = refused(parameters, report)
    assert reason == Reason.MISSING_METRIC and "nothing was received" in told and "firewall" in told


@pytest.mark.parametrize(
    ("case", "name", "value"),
    [
        ("tcp-two-streams", "num_streams", 1),
        ("tcp-two-streams", "blksize", 1460),
        ("tcp-two-streams", "duration", 10),
        ("tcp-two-streams", "reverse", 1),
        ("tcp-reverse", "reverse", 0),
        ("udp", "protocol", "TCP"),
    ],
)
def test_iperf3_that_ran_with_other_settings_than_asked(case: str, name: str, value: object) -> None:
    parameters, report = captured(case)
    assert name in report["start"]["test_start"]
    report["start"]["test_start"][name] = value
    reason, told = refused(parameters, report)
    assert reason == Reason.UNPARSABLE and f"iperf3 ran with {name} = " in told


def test_the_congestion_control_is_told_and_is_the_one_that_was_asked_for() -> None:
    parameters, report = captured("tcp-reverse")
    assert parameters["congestion_control"] == report["end"]["sender_tcp_congestion"] == "reno"
    report["end"]["sender_tcp_congestion"] = "bbr"
    assert refused(parameters, report)[0] == Reason.UNPARSABLE
    del report["end"]["sender_tcp_congestion"]
    assert refused(parameters, report)[0] == Reason.MISSING_METRIC
    assert refused({**parameters, "congestion_control": ""}, report)[0] == Reason.MISSING_METRIC


@pytest.mark.parametrize(
    ("case", "path", "value"),
    [
        ("tcp-two-streams", ("sum_received", "bits_per_second"), 1e15),
        ("tcp-two-streams", ("sum_sent", "seconds"), 100),
        ("tcp-two-streams", ("sum_sent", "bytes"), 1),
        ("udp", ("sum", "lost_percent"), 0),
        ("udp", ("sum", "packets"), 1e9),
        ("udp", ("sum", "jitter_ms"), 1e9),
    ],
)
def test_figures_that_do_not_agree(case: str, path: tuple[str, str], value: float) -> None:
    parameters, report = captured(case)
    report["end"][path[0]][path[1]] = value
    assert refused(parameters, report)[0] == Reason.CONTRADICTION


def test_more_lost_than_sent_is_no_number() -> None:
    parameters, report = captured("udp")
    report["end"]["sum"]["lost_packets"] = report["end"]["sum"]["packets"] + 1
    assert refused(parameters, report)[0] == Reason.UNPARSABLE


def test_rates_are_in_mbit_per_second() -> None:
    parameters, report = captured("udp")
    samples = IPERF3.parse(text(report), parameters)
    received = report["end"]["sum_received"]["bits_per_second"]
    assert Sample("throughput", received / 1e6, "Mbit/s") in samples
    arrived = report["end"]["sum"]["packets"] - report["end"]["sum"]["lost_packets"]
    assert Sample("datagrams_received", arrived, "datagrams") in samples


def test_both_ends_use_the_port_of_the_parameter_and_ipv4() -> None:
    parameters = resolve_parameters(IPERF3, {"port": 5001})
    server = IPERF3.server(parameters)
    assert server is not None
    assert (server.argv, server.tcp_port) == (("iperf3", "--server", "--version4", "--port", "5001"), 5001)
    argv = list(IPERF3.argv(parameters, server_address="192.0.2.1"))
    assert argv[argv.index("--port") + 1] == "5001"
    with pytest.raises(UsageError, match="address of its server"):
        IPERF3.argv(parameters)


def test_load_names_the_direction_of_the_data() -> None:
    def direction(test: str) -> str:
        return IPERF3.load(resolve_parameters(IPERF3, {"test": test})).crossings[0].direction

    assert [direction(test) for test in ("TCP", "TCP_REVERSE", "UDP")] == ["sent", "received", "sent"]
