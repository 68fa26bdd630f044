"""The pure parts of execute: what an outcome is recorded as, and how a block ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from perfctl import errors
from perfctl.execute import block, environments
from perfctl.execute.block import block_status, invocation_id
from perfctl.execute.environments import Placement, open_environments
from perfctl.execute.fleet import ConnectedHost
from perfctl.execute.invocation import (
    InvocationContext,
    InvocationOutcome,
    half_way_s,
    outcome_of,
    read_outcome,
)
from perfctl.execute.network_path import parse_paths, path_facts
from perfctl.execute.resume import outcome_of_orphan
from perfctl.execute.run import few_boots
from perfctl.execute.server import ServerNotReady, listens
from perfctl.execute.survey import environments_on, peers_of, targets_of
from perfctl.job import JobLost, JobTimeout
from perfctl.model import (
    Benchmark,
    Block,
    Environment,
    Host,
    Plan,
    PlannedInvocation,
    Reason,
    Status,
    Suite,
    Target,
)
from perfctl.model.environment import Kind
from perfctl.plan import make_plan
from perfctl.shell import Completed
from perfctl.workloads import resolve_parameters, workload

DATA = Path(__file__).parents[1] / "data"

PROC_NET_TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:3241 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 812 1
   1: 0100007F:0016 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 813 1
"""


def test_a_listening_port_is_found() -> None:
    assert listens(PROC_NET_TCP, 0x3241)


def test_an_established_connection_is_no_listener() -> None:
    assert not listens(PROC_NET_TCP, 22)


def test_another_port_and_no_text_are_no_listener() -> None:
    assert not listens(PROC_NET_TCP, 0x3242)
    assert not listens("", 0x3241)


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (errors.CommandTimeout("too long"), Status.FAILED, Reason.TIMEOUT),
        (errors.EnvironmentUnavailable("no /dev/kvm"), Status.SKIPPED, Reason.ENVIRONMENT_UNAVAILABLE),
        (
            errors.EnvironmentUnavailable("full", reason="out_of_memory"),
            Status.SKIPPED,
            Reason.OUT_OF_MEMORY,
        ),
        (errors.EnvironmentNotMade("no image"), Status.FAILED, Reason.ENVIRONMENT_NOT_MADE),
        (errors.EnvironmentNotMade("ours?", reason="name_taken"), Status.FAILED, Reason.NAME_TAKEN),
        (errors.EnvironmentDied("exit 1"), Status.FAILED, Reason.ENVIRONMENT_DIED),
        (errors.EnvironmentDied("Oops", reason="guest_panicked"), Status.FAILED, Reason.GUEST_PANICKED),
        (errors.Interrupted("stop"), Status.INTERRUPTED, Reason.INTERRUPTED),
        (errors.HostUnreachable("gone"), Status.FAILED, Reason.UNREACHABLE),
        (errors.OutputError("full", reason="spool_full"), Status.FAILED, Reason.SPOOL_FULL),
        (errors.CommandFailed("prepare"), Status.FAILED, Reason.SETUP_FAILED),
        (ServerNotReady("port"), Status.FAILED, Reason.SERVER_NOT_READY),
    ],
)
def test_every_failure_has_its_reason(error: errors.PerfctlError, status: Status, reason: Reason) -> None:
    outcome = outcome_of(error)
    assert (outcome.status, outcome.reason) == (status, reason)
    assert error.message in outcome.detail


def test_an_environment_that_was_not_made_names_the_command_that_mends_it() -> None:
    missing = errors.EnvironmentNotMade("the image is not there", hint="build it: perfctl provision")
    assert "perfctl provision" in outcome_of(missing).detail


def test_what_an_error_keeps_goes_into_the_outcome() -> None:
    died = errors.EnvironmentDied("Oops", reason="guest_panicked", artifacts={"console": b"Kernel panic"})
    assert outcome_of(died).artifacts == {"console": b"Kernel panic"}
    ended = JobTimeout("too long", _completed(143, b"so far"), where="h1")
    assert outcome_of(ended).completed is ended.completed


def test_a_database_error_is_no_outcome_but_ends_the_run() -> None:
    with pytest.raises(errors.DatabaseUnavailable):
        outcome_of(errors.DatabaseUnavailable("locked"))


def _completed(exit_code: int, stdout: bytes = b"", stderr: bytes = b"") -> Completed:
    return Completed(("sysbench",), exit_code, stdout, stderr)


CPU = Benchmark("cpu", "sysbench", {}, expected_s=1.0)


def test_a_command_of_two_seconds_or_more_is_looked_at_half_way() -> None:
    assert [half_way_s(expected_s) for expected_s in (0.1, 1.9, 2.0, 10.1)] == [None, None, 1.0, 5.05]


def test_how_long_a_command_took_is_known_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    contexts: list[InvocationContext] = []
    durations_s = iter([3, 7, 5])

    def measure(context: InvocationContext) -> InvocationOutcome:
        contexts.append(context)
        status = Status.FAILED if len(contexts) == 2 else Status.OK
        done = replace(_completed(0), started_ns=10**9, ended_ns=(1 + next(durations_s)) * 10**9)
        return InvocationOutcome(status, completed=done)

    monkeypatch.setattr(block, "measure", measure)
    session = Mock(took_s={}, survey={}, benchmark=lambda name: CPU, fleet={"h1": Mock()})
    session.environment = lambda name: Environment(name, "native")
    native = PlannedInvocation("native", 1, 0)
    one = Block("cpu", Target("h1"), 0, (native,))
    monkeypatch.setattr(block, "_known_outcome", lambda *_: None)
    monkeypatch.setattr(block, "record", lambda *_: None)
    for _ in range(3):
        block._run_one(session, one, "b1", native)
    # What failed says nothing of the next one.
    assert [context.took_s for context in contexts] == [None, 3.0, 3.0]
    assert session.took_s == {("cpu", "native", "h1"): 5.0}


@pytest.mark.parametrize(
    ("completed", "reason", "words"),
    [
        (_completed(127, stderr=b"sysbench: not found"), Reason.TOOL_MISSING, "perfctl provision"),
        (_completed(1, stderr=b"FATAL: no memory"), Reason.EXIT_NONZERO, "FATAL: no memory"),
        (_completed(3), Reason.EXIT_NONZERO, "no output"),
        (_completed(0), Reason.NO_OUTPUT, "nothing"),
    ],
)
def test_a_benchmark_that_went_wrong_says_how(completed: Completed, reason: Reason, words: str) -> None:
    outcome = read_outcome(workload("sysbench"), CPU, completed)
    assert (outcome.status, outcome.reason) == (Status.FAILED, reason)
    assert words in outcome.detail
    assert outcome.completed is completed, "the raw output is kept"
    assert outcome.samples == ()


@pytest.mark.parametrize(
    ("exit_code", "reason", "words"),
    [
        (0, Reason.OUTPUT_CUT, "was cut there"),
        (1, Reason.EXIT_NONZERO, "exit code 1: FATAL: no memory (the output"),
    ],
)
def test_values_of_a_report_that_was_cut_are_refused_by_the_name_of_the_limit(
    exit_code: int, reason: Reason, words: str
) -> None:
    report = (DATA / "sysbench" / "cpu" / "stdout").read_bytes()
    whole = Completed(("sysbench",), 0, report, b"")
    benchmark = Benchmark("cpu", "sysbench", resolve_parameters(workload("sysbench"), {}), expected_s=1.0)
    assert read_outcome(workload("sysbench"), benchmark, whole).status is Status.OK
    cut = replace(whole, exit_code=exit_code, stderr=b"FATAL: no memory\n" * exit_code, cut_at_bytes=65536)
    outcome = read_outcome(workload("sysbench"), benchmark, cut)
    assert (outcome.status, outcome.reason, outcome.samples) == (Status.FAILED, reason, ())
    for text in (words, "65,536 bytes", "output_limit_bytes"):
        assert text in outcome.detail
    assert outcome.completed is cut, "what was kept of it is stored"
    late = outcome_of(JobTimeout("too long", cut, where="h1"))
    assert late.reason is Reason.TIMEOUT and "65,536 bytes" in late.detail


def test_a_block_is_complete_when_all_members_are_ok_or_cannot_exist() -> None:
    assert block_status([Status.OK, Status.OK, Status.OK]) == "complete"
    assert block_status([Status.OK, Status.OK, Status.SKIPPED]) == "complete"
    assert block_status([Status.OK, Status.FAILED, Status.OK]) == "failed"


GUEST = Environment("vm", "vm")
CONTAINER = Environment("container", "container")
IN_GUEST = Environment("container-in-vm", "container", within=GUEST)
TO_GUEST = Environment("native-to-vm", "native", server=GUEST)
HOSTS = (Host("h1", "192.0.2.1"), Host("h2", "192.0.2.2"), Host("h3", "192.0.2.3"))
STREAM = Benchmark("stream", "netperf", {}, expected_s=1.0, scope="pair")


def _plan(*environments: Environment, blocks: int = 1, benchmark: Benchmark = CPU) -> Plan:
    suite = Suite("s", "", "native", (Environment("native", "native"), *environments), (benchmark,), blocks)
    return make_plan(suite, HOSTS, seed="1")


@pytest.mark.parametrize("environment", [GUEST, IN_GUEST, TO_GUEST])
@pytest.mark.parametrize(("blocks", "is_warned"), [(1, True), (2, True), (3, False), (10, False)])
def test_too_few_boots_are_said_before_they_are_counted_on(
    environment: Environment, blocks: int, is_warned: bool
) -> None:
    notes = list(few_boots(_plan(CONTAINER, environment, blocks=blocks)))
    assert [(note.level, note.where) for note in notes] == [("warning", environment.name)] * is_warned
    assert all("--blocks 3" in note.text for note in notes)


def test_without_guests_nothing_is_said_of_boots() -> None:
    assert list(few_boots(_plan(CONTAINER))) == []


def test_only_peers_open_what_servers_run_in() -> None:
    alone = _plan(TO_GUEST)
    assert [item.name for item in environments_on(alone, targets_of(alone), HOSTS[0])] == [
        "native",
        "native-to-vm",
    ]
    pairs = _plan(TO_GUEST, benchmark=STREAM)
    clients = {block.target.host for block in pairs.blocks()}
    servers = {block.target.peer for block in pairs.blocks()}
    for host in HOSTS:
        wanted = {"native"}
        wanted |= {"native-to-vm"} if host.name in clients else set()
        wanted |= {"vm"} if host.name in servers else set()
        assert {item.name for item in environments_on(pairs, targets_of(pairs), host)} == wanted


def test_a_host_has_the_addresses_of_those_it_talks_to() -> None:
    assert peers_of(targets_of(_plan(CONTAINER)), HOSTS[0], HOSTS) == {}
    pairs = _plan(CONTAINER, benchmark=STREAM)
    assert peers_of(targets_of(pairs), HOSTS[0], HOSTS) == {"h2": "192.0.2.2", "h3": "192.0.2.3"}


def test_paths_are_told_by_peer_and_remarked_on_when_frames_do_not_arrive() -> None:
    peers = {"h2": "192.0.2.2", "h3": "192.0.2.3", "h4": "192.0.2.4"}
    paths = parse_paths("192.0.2.2 9000 ok\n192.0.2.3 1500 too_big\n192.0.2.4 9000 down\n", peers)
    assert {name: path.remark.partition(" ")[0] for name, path in paths.items()} == {
        "h2": "",
        "h3": "packets",
        "h4": "it",
    }
    assert "1500 bytes" in paths["h3"].remark
    assert path_facts(paths)["path.h3.mtu_ping"] == "too_big"
    assert path_facts(paths)["path.h2.mtu_bytes"] == "9000"


def test_a_path_that_cannot_be_told_is_no_path() -> None:
    assert parse_paths("", {"h2": "192.0.2.2"}) == {}


@pytest.mark.parametrize(
    ("environment", "benchmark", "is_used"),
    [
        (CONTAINER, CPU, True),
        # What its accelerator was, or how it was opened, went with the controller.
        (GUEST, CPU, False),
        (IN_GUEST, CPU, False),
        (TO_GUEST, CPU, False),
        (CONTAINER, Benchmark("first", "startup", {}, expected_s=0.1), False),
    ],
)
def test_a_job_that_outlived_its_controller_is_used_if_it_tells_all(
    environment: Environment, benchmark: Benchmark, is_used: bool
) -> None:
    outcome = outcome_of_orphan(environment, benchmark, _completed(1, stderr=b"FATAL"))
    expected = (Status.FAILED, Reason.EXIT_NONZERO) if is_used else (Status.INTERRUPTED, Reason.INTERRUPTED)
    assert (outcome.status, outcome.reason) == expected
    assert outcome.completed is not None
    lost = outcome_of_orphan(environment, benchmark, JobLost(where="h1"))
    assert (lost.status, lost.reason) == (Status.FAILED, Reason.UNREACHABLE)


class FakeDriver:
    """Opens environments that meet each other when they are opened and when they are closed."""

    def __init__(self, name: str, meet: threading.Barrier, closed: list[str], fails: str) -> None:
        self._name, self._meet, self._closed, self._fails = name, meet, closed, fails

    @contextmanager
    def open(self, host: object) -> Iterator[object]:
        self._meet.wait(timeout=30)
        if self._fails == f"opening {self._name}":
            raise errors.EnvironmentUnavailable(self._fails)
        try:
            yield host
        finally:
            if "opening" not in self._fails:
                self._meet.wait(timeout=30)
            self._closed.append(self._name)
            if self._fails == f"closing {self._name}":
                raise errors.CommandFailed(self._fails)


Placements = Callable[[str], tuple[list[Placement], list[str]]]


@pytest.fixture
def placements(monkeypatch: pytest.MonkeyPatch) -> Placements:
    def make(fails: str) -> tuple[list[Placement], list[str]]:
        meet, closed = threading.Barrier(2), list[str]()
        names = ("client", "server")
        monkeypatch.setattr(
            environments,
            "driver_for",
            lambda environment, **_: FakeDriver(environment.name, meet, closed, fails),
        )
        hosts = [ConnectedHost(Host(name, name), Mock(), Mock()) for name in names]
        return [Placement(host, Environment(host.host.name, "container")) for host in hosts], closed

    return make


@pytest.mark.parametrize("ends_in_error", [False, True])
def test_client_and_server_are_opened_and_closed_at_the_same_time(
    placements: Placements, ends_in_error: bool
) -> None:
    both, closed = placements("")
    expected = pytest.raises(ZeroDivisionError) if ends_in_error else nullcontext()
    with expected, ExitStack() as stack:
        opened = open_environments(both, run_id="r", invocation_id="i", stack=stack)
        assert [item.placement for item in opened] == both
        assert not closed
        assert 1 / (not ends_in_error)
    assert sorted(closed) == ["client", "server"]


@pytest.mark.parametrize("second", ["native", "container"])
def test_threads_are_started_only_where_two_environments_are_made(
    monkeypatch: pytest.MonkeyPatch, second: Kind
) -> None:
    threads: list[int] = []

    class Driver:
        @contextmanager
        def open(self, host: object) -> Iterator[object]:
            threads.append(threading.get_ident())
            yield host
            threads.append(threading.get_ident())

    monkeypatch.setattr(environments, "driver_for", lambda environment, **_: Driver())
    host = ConnectedHost(Host("h1", "h1"), Mock(), Mock())
    both = [Placement(host, Environment(kind, kind)) for kind in ("native", second)]
    with ExitStack() as stack:
        open_environments(both, run_id="r", invocation_id="i", stack=stack)
    # A host and a container are opened in turn: the host takes no time.
    assert set(threads) == {threading.get_ident()}


@pytest.mark.parametrize(
    ("fails", "left"),
    [
        ("opening client", ["server"]),
        ("opening server", ["client"]),
        ("closing server", ["client", "server"]),
    ],
)
def test_what_one_of_them_fails_in_is_raised_and_the_other_is_closed(
    placements: Placements, fails: str, left: list[str]
) -> None:
    both, closed = placements(fails)
    with pytest.raises(errors.PerfctlError, match=fails), ExitStack() as stack:
        open_environments(both, run_id="r", invocation_id="i", stack=stack)
    assert sorted(closed) == left


def test_an_invocation_has_the_same_id_for_every_controller() -> None:
    first = PlannedInvocation("native", 1, 0)
    assert invocation_id("b", first) == invocation_id("b", PlannedInvocation("native", 1, 0))
    assert invocation_id("b", first) != invocation_id("b", PlannedInvocation("native", 2, 0))
    assert invocation_id("b", first) != invocation_id("c", first)
