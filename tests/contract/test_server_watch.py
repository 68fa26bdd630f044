"""The counters of the server's host around the client's command: real jobs of two hosts on this machine."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from perfctl.agent import AgentChannel, Answer
from perfctl.environments.native import NativeShell
from perfctl.execute.fleet import ConnectedHost
from perfctl.execute.invocation import InvocationContext, InvocationOutcome, measure
from perfctl.execute.server import ServerWatch
from perfctl.job import JobShell
from perfctl.model import Benchmark, Environment, Host, Reason, Status
from perfctl.shell.local import LocalShell
from perfctl.validity.invocation import ServerCounters
from perfctl.workloads import Parameters, ServerSpec, Workload, resolve_parameters
from perfctl.workloads.netperf import Netperf

OUTPUT = Path(__file__).parents[1] / "data" / "netperf" / "tcp-rr" / "stdout"
PORT = 23865
LISTEN = f"import socket, time; s = socket.create_server(('127.0.0.1', {PORT})); time.sleep(60)"


class Quiet(Netperf):
    """A client that sleeps and then says what netperf once said, and a server that only listens."""

    def argv(self, parameters: Parameters, *, server_address: str | None = None) -> Sequence[str]:
        return ["sh", "-c", 'sleep 0.3; cat "$1"', "client", str(OUTPUT)]

    def server(self, parameters: Parameters) -> ServerSpec | None:
        return ServerSpec((sys.executable, "-c", LISTEN), PORT)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[dict[str, ConnectedHost]]:
    made = {}
    for name in ("h1", "h2"):
        transport = LocalShell(name)
        jobs = JobShell.start(transport, f"run-{name}", lifetime_s=120, spool_root=str(tmp_path / name))
        made[name] = ConnectedHost(Host(name, "127.0.0.1"), transport, jobs)
    yield made
    for connected in made.values():
        connected.jobs.stop()


def measured(
    hosts: dict[str, ConnectedHost],
    workload: Workload | None = None,
    stop: threading.Event | None = None,
) -> InvocationOutcome:
    parameters = resolve_parameters(Netperf(), {"test": "TCP_RR"})
    return measure(
        InvocationContext(
            run_id="run-1",
            invocation_id="invocation-1",
            environment=Environment("native", "native"),
            benchmark=Benchmark("rr", "netperf", parameters, expected_s=0.3, scope="pair"),
            workload=workload or Quiet(),
            client=hosts["h1"],
            server=hosts["h2"],
            host_view=False,
            stop=stop or threading.Event(),
        )
    )


def ticks(counters: bytes) -> int:
    line = next(line for line in counters.decode().splitlines() if line.startswith("cpu "))
    return sum(map(int, line.split()[1:9]))


def test_the_servers_host_is_read_around_the_clients_command_never_while_it_runs(
    hosts: dict[str, ConnectedHost],
) -> None:
    outcome = measured(hosts)
    assert outcome.status is Status.OK, outcome.detail
    done, server = outcome.completed, outcome.server
    assert done is not None and server is not None and server.problem == ""
    # Both hosts are this machine: its time goes on from one reading to the next.
    readings = [server.before, done.counters_before, done.counters_after, server.after]
    assert [ticks(text) for text in readings] == sorted(ticks(text) for text in readings)
    assert ticks(server.after) > ticks(server.before)


def test_a_servers_host_that_cannot_be_read_says_why_and_is_not_asked_again(
    hosts: dict[str, ConnectedHost],
) -> None:
    hosts["h2"].jobs.stop()
    watch = ServerWatch(hosts["h2"].jobs)
    watch.begin()
    first = watch.counters
    assert first.problem.startswith("the job is lost")
    watch.end()
    assert watch.counters == ServerCounters(problem=first.problem)


def test_a_measurement_starts_nothing_but_the_server_on_the_servers_host(
    hosts: dict[str, ConnectedHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, list[str]] = {"h1": [], "h2": []}
    request = AgentChannel.request

    def noted(channel: AgentChannel, header: Mapping[str, Any], *, timeout_s: float) -> Answer:
        asked[channel._where].append(header["verb"])
        return request(channel, header, timeout_s=timeout_s)

    monkeypatch.setattr(AgentChannel, "request", noted)
    assert measured(hosts).status is Status.OK
    assert asked == {
        "h1": ["run"],
        "h2": ["spawn", "listens", "is_running", "counters", "counters", "end"],
    }


class Elsewhere(Quiet):
    """Its server ends at once."""

    def server(self, parameters: Parameters) -> ServerSpec | None:
        return ServerSpec(("sh", "-c", "echo no such option; exit 1"), PORT)


@pytest.mark.parametrize("is_port_taken", [True, False])
def test_a_server_that_ends_is_no_server_whoever_listens(
    hosts: dict[str, ConnectedHost], is_port_taken: bool
) -> None:
    with socket.create_server(("127.0.0.1", PORT)) if is_port_taken else nullcontext():
        outcome = measured(hosts, Elsewhere())
    assert outcome.reason is Reason.SERVER_NOT_READY
    assert "ended at once: no such option" in outcome.detail


class Silent(Quiet):
    """Its server never listens."""

    def server(self, parameters: Parameters) -> ServerSpec | None:
        return ServerSpec(("sleep", "60"), PORT)


def test_a_run_that_is_stopped_waits_for_no_server(hosts: dict[str, ConnectedHost]) -> None:
    stop = threading.Event()
    stop.set()
    outcome = measured(hosts, Silent(), stop)
    assert outcome.status is Status.INTERRUPTED


def test_a_network_that_the_host_does_not_see_is_looked_at_from_inside(
    hosts: dict[str, ConnectedHost], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of a process that is not there.
    monkeypatch.setattr(NativeShell, "host_network_folder", "/proc/999999999/net")
    assert measured(hosts).status is Status.OK
