"""iperf3 3.12: bulk data between two hosts over several streams, by TCP or by UDP at a rate, over IPv4.

One process, which has one thread, serves all streams of an end. Its JSON has a key `error` where something
went wrong, and its exit code is 0 all the same. Its own CPU figures are left out: inside a container they are
those of the whole host, which the counters around every invocation record anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from perfctl.errors import OutputError, UsageError
from perfctl.model import Direction, Metric, Parameter, Reason, Sample, Scope
from perfctl.workloads.base import Crossing, Load, Parameters, ParameterSpec, ServerSpec, Workload
from perfctl.workloads.reading import at, json_report, missing, number_at, to_sample
from perfctl.workloads.relations import ERROR_LINE_OF_TEXT, Ascending, Product, Relation

_TCP = ("TCP", "TCP_REVERSE")
_TESTS = (*_TCP, "UDP")

_PARAMETERS = (
    ParameterSpec("test", "TCP", "", "REVERSE is from server to client", choices=_TESTS),
    ParameterSpec("time_s", 10, "s", "how long to measure", minimum=1),
    ParameterSpec("streams", 1, "", "connections at a time", minimum=1, maximum=128),
    ParameterSpec(
        *("message_bytes", 131072, "bytes", "data given to one send call"),
        minimum=1,
        maximum=1 << 20,
        tests=_TCP,
    ),
    ParameterSpec(
        "congestion_control",
        "",
        "",
        "algorithm of the sender; '': that of its environment",
        pattern="[a-z0-9_-]*",
        tests=_TCP,
    ),
    ParameterSpec(
        "datagram_bytes",
        1472,
        "bytes",
        "payload of a datagram; 1472 is the most that an MTU of 1500 carries whole",
        minimum=16,
        maximum=65507,
        tests=("UDP",),
    ),
    ParameterSpec(
        *("rate_mbit", 100, "Mbit/s", "what each stream sends; 0: as fast as it goes"),
        minimum=0,
        tests=("UDP",),
    ),
    ParameterSpec("port", 15201, "", "TCP port of the server, for UDP too", minimum=1, maximum=65535),
)

_PER_MBIT = 1e6
_CONNECT_TIMEOUT_MS = 5000

_TOLERANCE = 0.02
_SLACK_S = 0.1
"""How far apart the two ends may begin and end to measure."""

_MANY_DIGITS = 1e-6
"""The step of figures that are printed in full, far below what they can tell."""
_TIME_STEP_S = 1e-5
"""Microseconds, without zeros at their end."""

_THROUGHPUT = Metric(
    *("throughput", "Mbit/s", Direction.HIGHER, "data received per second, over all streams"),
    headline=True,
    step=_MANY_DIGITS,
)
_SENT = Metric(
    "sent_throughput",
    "Mbit/s",
    Direction.NEUTRAL,
    "data sent per second, over all streams",
    step=_MANY_DIGITS,
)
_BYTES_SENT = Metric("bytes_sent", "bytes", Direction.NEUTRAL, "data sent in all", step=1)
_BYTES_RECEIVED = Metric("bytes_received", "bytes", Direction.NEUTRAL, "data received in all", step=1)
_SENDING = Metric("sending_time", "s", Direction.NEUTRAL, "how long was sent", step=_TIME_STEP_S)
_ELAPSED = Metric("elapsed_time", "s", Direction.NEUTRAL, "how long was received", step=_TIME_STEP_S)
_RETRANSMITS = Metric(
    "retransmits", "segments", Direction.LOWER, "TCP segments that the sender sent again", step=1
)
_JITTER = Metric(
    *("jitter", "ms", Direction.LOWER, "mean change of the transit time between datagrams (RFC 1889)"),
    step=_MANY_DIGITS,
)
_SENT_DATAGRAMS = Metric("datagrams_sent", "datagrams", Direction.NEUTRAL, "datagrams sent in all", step=1)
_LOST = Metric("datagrams_lost", "datagrams", Direction.LOWER, "those that never arrived", step=1)
_RECEIVED_DATAGRAMS = Metric(
    "datagrams_received", "datagrams", Direction.NEUTRAL, "datagrams_sent - datagrams_lost", step=1
)
_LOSS = Metric("loss", "%", Direction.LOWER, "share of the datagrams that never arrived", step=_MANY_DIGITS)

_RATES = (
    (_THROUGHPUT, ("sum_received", "bits_per_second"), _PER_MBIT),
    (_SENT, ("sum_sent", "bits_per_second"), _PER_MBIT),
    (_BYTES_SENT, ("sum_sent", "bytes"), 1.0),
    (_BYTES_RECEIVED, ("sum_received", "bytes"), 1.0),
    (_SENDING, ("sum_sent", "seconds"), 1.0),
    (_ELAPSED, ("sum_received", "seconds"), 1.0),
)
_OF_TCP = (*_RATES, (_RETRANSMITS, ("sum_sent", "retransmits"), 1.0))
_OF_UDP = (
    *_RATES,
    (_JITTER, ("sum", "jitter_ms"), 1.0),
    (_SENT_DATAGRAMS, ("sum", "packets"), 1.0),
    (_LOST, ("sum", "lost_packets"), 1.0),
    (_LOSS, ("sum", "lost_percent"), 1.0),
)
"""Metric, where the report's `end` has it, and what gives it in its unit."""

_REPORT = "a JSON report of iperf3"


class Iperf3(Workload):
    """The network benchmark of the distribution with several streams, client and server."""

    name = "iperf3"
    programs = ("iperf3",)
    packages = ("iperf3",)
    layer = "network"
    scope: Scope = "pair"
    parameter_specs = _PARAMETERS
    error_lines = ERROR_LINE_OF_TEXT

    def metrics(self, parameters: Parameters) -> tuple[Metric, ...]:
        """Return what this test reports; jitter and loss only where there are datagrams."""
        if parameters["test"] in _TCP:
            return tuple(metric for metric, _, _ in _OF_TCP)
        return (*(metric for metric, _, _ in _OF_UDP), _RECEIVED_DATAGRAMS)

    def argv(self, parameters: Parameters, *, server_address: str | None = None) -> Sequence[str]:
        """Return the client's command. Raises UsageError without the server's address."""
        if server_address is None:
            raise UsageError("iperf3 needs the address of its server")
        return [
            *(
                "iperf3",
                "--json",
                "--version4",
                "--client",
                server_address,
                "--port",
                str(parameters["port"]),
            ),
            *("--connect-timeout", str(_CONNECT_TIMEOUT_MS), "--time", str(parameters["time_s"])),
            *("--parallel", str(parameters["streams"]), "--length", str(_block_bytes(parameters))),
            # One report of the whole, so that nothing is printed and counted meanwhile.
            *("--interval", "0", *_of_test(parameters)),
        ]

    def server(self, parameters: Parameters) -> ServerSpec | None:
        """Return the server in the foreground, which serves one client after the other."""
        port = int(parameters["port"])
        return ServerSpec(("iperf3", "--server", "--version4", "--port", str(port)), port)

    def load(self, parameters: Parameters) -> Load:
        """Return one thread for all streams, and the direction of the data."""
        is_reverse = parameters["test"] == "TCP_REVERSE"
        direction: Literal["sent", "received"] = "received" if is_reverse else "sent"
        crossing = Crossing(_THROUGHPUT.name, _ELAPSED.name, direction)
        return Load(1, frozenset({"cpu", "network"}), (crossing,))

    def relations(self, parameters: Parameters) -> Sequence[Relation]:
        """Return what holds between data, times, rates and datagrams."""
        found: list[Relation] = [
            Product((_THROUGHPUT.name, _ELAPSED.name), (_BYTES_RECEIVED.name,), 8e-6, 1e-6),
            Product((_SENT.name, _SENDING.name), (_BYTES_SENT.name,), 8e-6, 1e-6),
            Ascending((_BYTES_RECEIVED.name, _BYTES_SENT.name)),
        ]
        if parameters["test"] in _TCP:
            return found
        size = int(parameters["datagram_bytes"])
        return (
            *found,
            Product((_BYTES_SENT.name,), (_SENT_DATAGRAMS.name,), size, _TOLERANCE),
            Product((_BYTES_RECEIVED.name,), (_RECEIVED_DATAGRAMS.name,), size, _TOLERANCE),
            Product((_LOSS.name, _SENT_DATAGRAMS.name), (_LOST.name,), 100, 1e-6),
            Ascending((_LOST.name, _SENT_DATAGRAMS.name)),
            Product((_JITTER.name,), (_ELAPSED.name,), 1e3, slack={_ELAPSED.name: _SLACK_S}, is_bound=True),
        )

    def read_samples(self, stdout: str, parameters: Parameters) -> list[Sample]:
        """Read a report. Raises OutputError: unparsable, missing_metric, tool_error."""
        report = json_report(stdout, _REPORT)
        if not str(at(report, "start", "version")).startswith("iperf 3."):
            raise OutputError(f"this is not {_REPORT}", reason=Reason.UNPARSABLE)
        error = at(report, "error")
        if error is not None:
            is_unreachable = any(text in str(error) for text in _UNREACHABLE)
            hint = _firewall_hint(parameters) if is_unreachable else None
            raise OutputError(f"iperf3 reported: {error!s:.300}", reason=Reason.TOOL_ERROR, hint=hint)
        _require_settings(report, parameters)
        end = at(report, "end")
        rows = _OF_TCP if parameters["test"] in _TCP else _OF_UDP
        if at(end, "sum_received", "bytes") == 0:
            hint = _firewall_hint(parameters)
            raise missing(_THROUGHPUT.name, "nothing was received within time_s", hint=hint)
        samples = [number_at(end, metric, *path, divisor=divisor) for metric, path, divisor in rows]
        if parameters["test"] == "UDP":
            counts = {sample.metric: sample.value for sample in samples}
            arrived = counts[_SENT_DATAGRAMS.name] - counts[_LOST.name]
            samples.append(to_sample(_RECEIVED_DATAGRAMS, arrived))
        return samples


def _block_bytes(parameters: Parameters) -> Parameter:
    return parameters["datagram_bytes" if parameters["test"] == "UDP" else "message_bytes"]


def _of_test(parameters: Parameters) -> list[str]:
    if parameters["test"] == "UDP":
        return ["--udp", "--bitrate", f"{parameters['rate_mbit']}M"]
    chosen = str(parameters["congestion_control"])
    return [
        *(["--reverse"] if parameters["test"] == "TCP_REVERSE" else []),
        *(["--congestion", chosen] if chosen else []),
    ]


def _require_settings(report: Mapping[str, Any], parameters: Parameters) -> None:
    """Raise OutputError unless iperf3 says that it ran with what was asked for."""
    test = str(parameters["test"])
    settings = {
        "protocol": "UDP" if test == "UDP" else "TCP",
        "num_streams": parameters["streams"],
        "blksize": _block_bytes(parameters),
        "duration": parameters["time_s"],
        "reverse": int(test == "TCP_REVERSE"),
    }
    ran = {name: at(report, "start", "test_start", name) for name in settings}
    if test in _TCP:
        # Which one it was is told in any case: it is a setting of each network namespace.
        ran["sender_tcp_congestion"] = at(report, "end", "sender_tcp_congestion")
        settings["sender_tcp_congestion"] = (
            parameters["congestion_control"] or ran["sender_tcp_congestion"] or ""
        )
    for name, value in settings.items():
        if ran[name] is None:
            raise missing(name, "the report does not say with which it ran")
        if ran[name] != value:
            raise OutputError(
                f"iperf3 ran with {name} = {ran[name]!r:.80}, not {value!r}", reason=Reason.UNPARSABLE
            )


_UNREACHABLE = ("unable to connect", "read from stream", "timed out", "idle timeout")


def _firewall_hint(parameters: Parameters) -> str:
    port = parameters["port"]
    ports = f"TCP and UDP port {port}" if parameters["test"] == "UDP" else f"TCP port {port}"
    return f"does a firewall on the server or between the hosts drop {ports} (port)?"
