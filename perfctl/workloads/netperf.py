"""netperf 2.7: bulk transfer and request/response between two hosts, over IPv4.

The control and the data connection use fixed ports on the server, so that a firewall can allow them. The
results are selected by name (omni output, -k) and printed as NAME=VALUE lines. Netperf's own CPU figures
(-c, -C) are not selected: inside a container they are those of the whole host, which the counters around
every invocation record anyway.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from perfctl.errors import OutputError, UsageError
from perfctl.model import Direction, Metric, Reason, Sample, Scope
from perfctl.workloads.base import Crossing, Load, Parameters, ParameterSpec, ServerSpec, Workload
from perfctl.workloads.reading import missing, named_values, require_unit, to_sample, unparsable
from perfctl.workloads.relations import ERROR_LINE, Ascending, Product, Relation, percentile_bound

_TCP_BULK = ("TCP_STREAM", "TCP_MAERTS")
_REQUESTS = ("TCP_RR", "TCP_CRR", "UDP_RR")
_TESTS = (*_TCP_BULK, "UDP_STREAM", *_REQUESTS)

_PARAMETERS = (
    ParameterSpec("test", "TCP_RR", "", "MAERTS is STREAM from server to client", choices=_TESTS),
    ParameterSpec("time_s", 10, "s", "how long to measure", minimum=1),
    ParameterSpec("message_bytes", 16384, "bytes", "data given to one send call", minimum=1, tests=_TCP_BULK),
    ParameterSpec(
        "datagram_bytes",
        1472,
        "bytes",
        "payload of a datagram; 1472 is the most that an MTU of 1500 carries whole",
        minimum=1,
        maximum=65507,
        tests=("UDP_STREAM",),
    ),
    ParameterSpec("request_bytes", 1, "bytes", "size of a request", minimum=1, tests=_REQUESTS),
    ParameterSpec("response_bytes", 1, "bytes", "size of a response", minimum=1, tests=_REQUESTS),
    ParameterSpec("control_port", 12965, "", "TCP port of netserver", minimum=1, maximum=65535),
    ParameterSpec(
        "data_port", 12966, "", "port of the data connection on the server", minimum=1, maximum=65535
    ),
)

_PAD_S = 4.0
"""netserver ends a TCP_CRR test by a timer that it sets 4 s after `time_s` (PAD_TIME in its source)."""

_BINS = "in whole us, inside a histogram bin (1 us wide below 100 us, 10 us below 1 ms, and so on)"

_THROUGHPUT = Metric(
    "throughput", "Mbit/s", Direction.HIGHER, "data received per second", headline=True, step=0.01
)
_ELAPSED = Metric("elapsed_time", "s", Direction.NEUTRAL, "how long was measured", step=0.01)
_RETRANSMITS = Metric(
    "retransmits", "segments", Direction.LOWER, "TCP segments that the sender sent again", step=1
)
_RATE = Metric(
    "transactions_per_second",
    "transactions/s",
    Direction.HIGHER,
    "requests answered per second, one at a time",
    headline=True,
    step=0.01,
)

_LATENCIES = tuple(
    (Metric(f"latency_{name}", "us", direction, description, resolution=bins, step=step), f"{key}_LATENCY")
    for name, key, direction, bins, step, description in (
        ("min", "MIN", Direction.LOWER, None, 1.0, "the fastest transaction, in whole us"),
        ("mean", "MEAN", Direction.LOWER, None, 0.01, "mean time of a transaction"),
        ("p50", "P50", Direction.LOWER, 0.1, 1.0, f"median time of a transaction, {_BINS}"),
        ("p90", "P90", Direction.LOWER, 0.1, 1.0, f"90th percentile, {_BINS}"),
        ("p99", "P99", Direction.LOWER, 0.1, 1.0, f"99th percentile, {_BINS}"),
        ("max", "MAX", Direction.LOWER, None, 1.0, "the slowest transaction, in whole us"),
        ("stddev", "STDDEV", Direction.NEUTRAL, None, 0.01, "standard deviation of the times"),
    )
)
"""A bin is at most a tenth of what is in it (10 us at 100 us)."""


def _neutral(name: str, unit: str, description: str, step: float) -> Metric:
    return Metric(name, unit, Direction.NEUTRAL, description, step=step)


_UDP = (
    (_THROUGHPUT, "REMOTE_RECV_THROUGHPUT"),
    (_neutral("sent_throughput", "Mbit/s", "data sent per second", 0.01), "LOCAL_SEND_THROUGHPUT"),
    (_neutral("bytes_sent", "bytes", "data sent in all", 1), "LOCAL_BYTES_SENT"),
    (_neutral("bytes_received", "bytes", "data received in all", 1), "REMOTE_BYTES_RECVD"),
    (_neutral("datagrams_sent", "datagrams", "send calls", 1), "LOCAL_SEND_CALLS"),
    (_neutral("datagrams_received", "datagrams", "recv calls", 1), "REMOTE_RECV_CALLS"),
)
_LOSS = Metric("loss", "%", Direction.LOWER, "share of the sent data that never arrived", step=0.001)

_TOLERANCE = 0.02
_SLACK_S = 0.1
"""How far apart the two hosts may begin and end to measure."""

_MEAN_TOLERANCE = 0.1
"""What a transaction takes outside its own time: the clock is read, and the last one has no answer."""

_ERROR_LINES = re.compile(
    rf"^catcher:[^\n]{{0,300}}|^[^=\n]{{0,200}}\berror\b[^\n]{{0,300}}|{ERROR_LINE.pattern}", ERROR_LINE.flags
)
"""Among them its timer that went off again: the test hung beyond its time."""


class Netperf(Workload):
    """The network benchmark of the distribution (non-free on Debian), client and server."""

    name = "netperf"
    programs = ("netperf", "netserver")
    packages = ("netperf",)
    scope: Scope = "pair"
    version_argv = ("netperf", "-V")
    parameter_specs = _PARAMETERS
    error_lines = _ERROR_LINES

    def check(self, parameters: Parameters) -> None:
        """Raise UsageError when both connections have the same port."""
        if parameters["control_port"] == parameters["data_port"]:
            raise UsageError(
                f"control_port and data_port are both {parameters['data_port']}",
                hint="netserver needs both at the same time",
            )

    def metrics(self, parameters: Parameters) -> tuple[Metric, ...]:
        """Return what this test reports; latencies only where there are transactions."""
        selected = tuple(metric for metric, _ in _outputs(str(parameters["test"])))
        return (*selected, _LOSS) if parameters["test"] == "UDP_STREAM" else selected

    def argv(self, parameters: Parameters, *, server_address: str | None = None) -> Sequence[str]:
        """Return the client's command. Raises UsageError without the server's address."""
        if server_address is None:
            raise UsageError("netperf needs the address of its server")
        test = str(parameters["test"])
        common = ["-4", "-H", server_address, "-p", str(parameters["control_port"])]
        common += ["-t", test, "-l", str(parameters["time_s"]), "-P", "0"]
        if test not in _REQUESTS:
            common += ["-f", "m"]
        selectors = [key for _, key in _outputs(test)] + [key for key, _ in _echoes(parameters)]
        data_port = ["-P", f",{parameters['data_port']}"]
        return [
            "netperf",
            *common,
            "--",
            *data_port,
            *_sizes(parameters),
            "-k",
            ",".join([*selectors, "THROUGHPUT_UNITS"]),
        ]

    def server(self, parameters: Parameters) -> ServerSpec | None:
        """Return netserver in the foreground (-D), without its log file in /tmp (-N)."""
        port = int(parameters["control_port"])
        return ServerSpec(("netserver", "-D", "-4", "-N", "-p", str(port)), port)

    def expected_s(self, parameters: Parameters) -> float:
        """Return `time_s` and a moment to connect; TCP_CRR ends 4 s late."""
        pad_s = _PAD_S if parameters["test"] == "TCP_CRR" else 0.0
        return super().expected_s(parameters) + pad_s

    def load(self, parameters: Parameters) -> Load:
        """Return one process, and the direction of bulk data."""
        bulk = parameters["test"] not in _REQUESTS
        direction: Literal["sent", "received"] = "received" if parameters["test"] == "TCP_MAERTS" else "sent"
        crossings = (Crossing(_THROUGHPUT.name, _ELAPSED.name, direction),) if bulk else ()
        return Load(1, frozenset({"cpu", "network"}), crossings)

    def relations(self, parameters: Parameters) -> Sequence[Relation]:
        """Return what holds between rate and times of transactions, and between data, datagrams and rates."""
        if parameters["test"] in _REQUESTS:
            return (
                Product(("latency_mean", _RATE.name), (), 1e6, _MEAN_TOLERANCE),
                Ascending(("latency_min", "latency_p50", "latency_p90", "latency_p99", "latency_max")),
                Ascending(("latency_min", "latency_mean", "latency_max")),
                *(percentile_bound(f"latency_p{each}", "latency_mean", each) for each in (50, 90, 99)),
                Ascending(("latency_stddev", "latency_max")),
                Product(
                    ("latency_max",), (_ELAPSED.name,), 1e6, slack={_ELAPSED.name: _PAD_S}, is_bound=True
                ),
            )
        if parameters["test"] != "UDP_STREAM":
            return ()
        size, slack = int(parameters["datagram_bytes"]), {_ELAPSED.name: _SLACK_S}
        return (
            Product(("bytes_sent",), ("datagrams_sent",), size, _TOLERANCE),
            Product(("bytes_received",), ("datagrams_received",), size, _TOLERANCE),
            Product(("sent_throughput", _ELAPSED.name), ("bytes_sent",), 8e-6, _TOLERANCE, slack),
            Product((_THROUGHPUT.name, _ELAPSED.name), ("bytes_received",), 8e-6, _TOLERANCE, slack),
        )

    def read_samples(self, stdout: str, parameters: Parameters) -> list[Sample]:
        """Read NAME=VALUE lines. Raises OutputError: unparsable, missing_metric, unit_mismatch."""
        values = _read_lines(stdout)
        test = str(parameters["test"])
        units = _value(values, "THROUGHPUT_UNITS", "throughput")
        require_unit("throughput", units, "Trans/s" if test in _REQUESTS else "10^6bits/s")
        for key, expected in _echoes(parameters):
            if _value(values, key, key) != str(expected):
                raise OutputError(
                    f"netperf ran with {key} = {values[key]:.80}, not {expected}", reason=Reason.UNPARSABLE
                )
        arrived = "REMOTE_BYTES_RECVD" if test == "UDP_STREAM" else "THROUGHPUT"
        if not _number(values, arrived):
            # Without a transaction the times that follow were not measured either.
            raise missing(*_NOTHING[test in _REQUESTS], hint=_firewall_hint(parameters))
        samples = [to_sample(metric, _value(values, key, metric.name)) for metric, key in _outputs(test)]
        if test == "UDP_STREAM":
            samples.append(_loss(values))
        return samples


_NOTHING = {
    True: ("transaction", "none was answered within time_s"),
    False: (_THROUGHPUT.name, "nothing was received within time_s"),
}


def _firewall_hint(parameters: Parameters) -> str:
    protocol = str(parameters["test"]).partition("_")[0]
    return (
        f"does a firewall on the server or between the hosts drop {protocol} port {parameters['data_port']}"
        f" (data_port)? TCP port {parameters['control_port']} (control_port) is open"
    )


def _outputs(test: str) -> tuple[tuple[Metric, str], ...]:
    """Return the metrics of a test with the names that netperf's omni output has for them."""
    elapsed = (_ELAPSED, "ELAPSED_TIME")
    if test == "UDP_STREAM":
        return (*_UDP, elapsed)
    if test in _REQUESTS:
        return ((_RATE, "THROUGHPUT"), *_LATENCIES, elapsed)
    # Percentiles are left out here: taking them makes netperf read the clock around every send.
    sender = "LOCAL" if test == "TCP_STREAM" else "REMOTE"
    return ((_THROUGHPUT, "THROUGHPUT"), (_RETRANSMITS, f"{sender}_TRANSPORT_RETRANS"), elapsed)


def _sizes(parameters: Parameters) -> list[str]:
    """Return the test's own options for sizes; of a pair the second is the server's."""
    test = parameters["test"]
    if test == "TCP_STREAM":
        return ["-m", f"{parameters['message_bytes']},"]
    if test == "TCP_MAERTS":
        return ["-m", f",{parameters['message_bytes']}"]
    if test == "UDP_STREAM":
        # Without -R 1 netperf forbids routing, and a container's datagrams would never leave its bridge.
        size = parameters["datagram_bytes"]
        return ["-R", "1", "-m", f"{size},", "-M", f"{size},"]
    return ["-r", f"{parameters['request_bytes']},{parameters['response_bytes']}"]


def _echoes(parameters: Parameters) -> tuple[tuple[str, int], ...]:
    """Return the settings that netperf must report as used."""
    test = parameters["test"]
    if test == "UDP_STREAM":
        return (("LOCAL_SEND_SIZE", int(parameters["datagram_bytes"])),)
    if test in _TCP_BULK:
        sender = "LOCAL" if test == "TCP_STREAM" else "REMOTE"
        return ((f"{sender}_SEND_SIZE", int(parameters["message_bytes"])),)
    return (
        ("REQUEST_SIZE", int(parameters["request_bytes"])),
        ("RESPONSE_SIZE", int(parameters["response_bytes"])),
    )


_OUTPUT = "netperf's NAME=VALUE output"


def _read_lines(stdout: str) -> Mapping[str, str]:
    """Return NAME=VALUE lines as a mapping; a truncated last line is left out."""
    values = named_values(stdout, "=", _OUTPUT)
    if not any(key.isupper() for key in values):
        raise unparsable(_OUTPUT, stdout)
    return values


def _value(values: Mapping[str, str], key: str, metric: str) -> str:
    if key not in values:
        raise missing(metric, f"no line {key}=")
    return values[key]


def _number(values: Mapping[str, str], key: str) -> float:
    return to_sample(_RATE, _value(values, key, key)).value


def _loss(values: Mapping[str, str]) -> Sample:
    """Return the share of sent data that did not arrive, in percent; nothing sent has no loss."""
    sent, received = _number(values, "LOCAL_BYTES_SENT"), _number(values, "REMOTE_BYTES_RECVD")
    if not sent:
        raise missing("loss", "nothing was sent")
    return to_sample(_LOSS, 100 * (1 - received / sent))
