"""What a run makes of guests that hang: tried once more in the survey, told, and kept with the invocation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from perfctl.errors import (
    CommandFailed,
    CommandTimeout,
    EnvironmentDied,
    EnvironmentFailure,
    EnvironmentNotMade,
    EnvironmentUnavailable,
)
from perfctl.execute import survey as survey_module
from perfctl.execute.block import invocation_id, record
from perfctl.execute.environments import Placement, open_environments
from perfctl.execute.fleet import ConnectedHost, Fleet
from perfctl.execute.invocation import InvocationOutcome
from perfctl.execute.session import RunSession
from perfctl.execute.survey import SurveyResult, SurveyResults, first_output_s, survey_environments
from perfctl.model import (
    Benchmark,
    Block,
    Environment,
    Event,
    GuestBoot,
    Note,
    Plan,
    Reason,
    Round,
    Sample,
    Status,
    Track,
)
from perfctl.plan.request import PlannedRun
from perfctl.shell import Completed
from perfctl.store import InvocationDetail, Store, open_store
from perfctl.validity.assessment import Assessment
from perfctl.workloads import resolve_parameters, workload
from tests.captured_facts import answer_inside
from tests.unit import store_cases as cases

STALLED = EnvironmentDied("a CPU is stuck", reason="guest_stalled")
VM = Environment("vm", "vm")
IN_VM = Environment("container-in-vm", "container", within=VM)
START = Benchmark("first", "startup", {}, expected_s=0.1)
CPU = replace(cases.CPU, parameters=resolve_parameters(workload("sysbench"), {"test": "cpu"}))

Found = tuple[SurveyResults, list[str], "Drivers"]
Recorded = tuple[InvocationDetail, list[str]]


class Host:
    """A connected host: its jobs take everything."""

    name = "h1"

    def acknowledge(self, job_id: str) -> None:
        """Forget the job."""


class OneHost:
    """A fleet of one connected host."""

    hosts = (cases.HOSTS[0],)
    lost: dict[str, object] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.connected = ConnectedHost(self.hosts[0], cast(Any, None), cast(Any, Host()))

    def each(self, action: Callable[[ConnectedHost], None]) -> None:
        action(self.connected)

    def __getitem__(self, name: str) -> ConnectedHost:
        return self.connected


class Shell:
    """The inside of an environment that answers with facts."""

    container_id = ""

    def __init__(self, boot: GuestBoot | None, opening_s: dict[str, float]) -> None:
        self.boot = boot
        self.opening_s = opening_s

    def run(self, argv: Sequence[str], **_: object) -> Completed:
        return answer_inside(argv)

    def artifacts(self) -> dict[str, bytes]:
        return {}


Opening = Shell | Exception


class Drivers:
    """Makes environments as told, one answer after another, and remembers what they were made for."""

    def __init__(self, *openings: Opening) -> None:
        self.left = list(openings)
        self.asked: list[tuple[str, float | None]] = []

    def __call__(self, environment: Environment, **settings: Any) -> Drivers:
        self.asked.append((environment.name, settings["first_output_s"]))
        return self

    def describe(self, host: object) -> dict[str, str]:
        return {}

    @contextmanager
    def open(self, host: object) -> Iterator[Shell]:
        opening = self.left.pop(0)
        if isinstance(opening, Exception):
            raise opening
        yield opening


NATIVE = Shell(None, {})


def guest(first_output_s: float = 0.8, attempts: int = 1) -> Shell:
    opening_s = {"console": first_output_s, "kernel": 2.0, "ssh": 5.0}
    return Shell(GuestBoot("tcg", vcpus=1, attempts=attempts), opening_s)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "results.db", create=True) as opened:
        yield opened


def plan_of(block: Block, benchmark: Benchmark, *environments: Environment) -> Plan:
    """Return a plan of one block on the first host."""
    return Plan(
        "demo", "42", "native", (cases.NATIVE, *environments), (benchmark,), (Round((Track((block,)),)),)
    )


@pytest.fixture
def surveyed(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Found]:
    """Return a function that surveys `native` and these environments, each made as `openings` say."""

    def survey(environments: tuple[Environment, ...], *openings: Opening) -> Found:
        plan = plan_of(Block("cpu-1", cases.H1, 0, cases.ORDER[1:]), cases.CPU, *environments)
        run_id = cases.begin_run(store, plan)
        drivers = Drivers(NATIVE, *openings)
        monkeypatch.setattr(survey_module, "driver_for", drivers)
        told: list[Event] = []
        found = survey_environments(cast(Fleet, OneHost()), store, run_id, plan, told.append)
        texts = [f"{event.where}: {event.text}" for event in told if isinstance(event, Note)]
        return found, [text for text in texts if "not installed" not in text], drivers

    return survey


def test_a_guest_that_hangs_in_the_survey_is_tried_once_more(surveyed) -> None:
    found, told, drivers = surveyed((VM,), STALLED, guest())
    vm = found["h1", VM.key]
    assert vm.unavailable is None
    assert vm.fingerprint_id is not None
    assert told == ["h1/vm: made once more: a CPU is stuck"]
    assert [name for name, _ in drivers.asked] == ["native", "vm", "vm"]


def test_a_guest_that_hangs_twice_settles_nothing(surveyed) -> None:
    found, told, drivers = surveyed((VM,), STALLED, STALLED)
    assert found["h1", VM.key].is_doubtful, "it is tried again before its first invocation"
    outcome = found["h1", VM.key].unavailable
    assert outcome is not None
    assert (outcome.status, outcome.reason) == (Status.FAILED, Reason.GUEST_STALLED)
    assert told[-1] == "h1/vm: not available: a CPU is stuck"
    assert drivers.left == []


def test_a_command_that_does_not_end_in_the_survey_is_tried_once_more(surveyed) -> None:
    found, told, _ = surveyed((VM,), CommandTimeout("docker did not end within 240 s"), guest())
    assert found["h1", VM.key].fingerprint_id is not None
    assert told == ["h1/vm: made once more: docker did not end within 240 s"]


@pytest.mark.parametrize("kind", [EnvironmentUnavailable, EnvironmentNotMade])
def test_what_cannot_be_is_tried_once(surveyed, kind: type[EnvironmentFailure]) -> None:
    found, told, drivers = surveyed((VM,), kind("no libvirt"), guest())
    assert found["h1", VM.key].unavailable is not None
    assert not found["h1", VM.key].is_doubtful
    assert told == ["h1/vm: not available: no libvirt"]
    assert len(drivers.left) == 1


def test_what_nobody_can_read_costs_one_environment_and_not_the_run(surveyed) -> None:
    found, told, _ = surveyed((VM, IN_VM), KeyError("programs"), guest())
    outcome = found["h1", VM.key].unavailable
    assert outcome is not None
    assert (outcome.status, outcome.reason) == (Status.FAILED, Reason.ENVIRONMENT_NOT_MADE)
    assert "cannot be read: KeyError: 'programs'" in told[0]
    assert found["h1", IN_VM.key].fingerprint_id is not None


def test_what_cannot_be_removed_in_the_survey_costs_one_environment_and_not_the_run(surveyed) -> None:
    found, told, _ = surveyed((VM, IN_VM), CommandFailed("container c1 was not removed: no engine"), guest())
    outcome = found["h1", VM.key].unavailable
    assert outcome is not None
    assert (outcome.status, outcome.reason) == (Status.FAILED, Reason.SETUP_FAILED)
    assert found["h1", VM.key].is_doubtful, "it is tried again before its first invocation"
    assert told == ["h1/vm: not available: container c1 was not removed: no engine"]
    assert found["h1", IN_VM.key].fingerprint_id is not None


def test_a_second_boot_in_the_survey_is_told(surveyed) -> None:
    _, told, _ = surveyed((VM,), guest(attempts=2))
    assert told == ["h1/vm: a guest printed nothing and was ended; boot 2 came up and counts"]


def test_later_guests_of_a_host_wait_by_the_slowest_first_output_so_far(surveyed) -> None:
    other = replace(VM, name="other", memory_mib=512)
    found, _, drivers = surveyed((VM, other, IN_VM), guest(9.0), guest(2.0), guest(3.0))
    assert drivers.asked == [("native", None), ("vm", None), ("other", 9.0), ("container-in-vm", 9.0)]
    assert first_output_s(found, "h1") == 9.0
    assert first_output_s(found, "h2") is None


def test_an_invocation_makes_its_guests_with_what_is_known_of_its_hosts(monkeypatch) -> None:
    drivers = Drivers(guest(), guest())
    monkeypatch.setattr("perfctl.execute.environments.driver_for", drivers)
    connected = OneHost().connected
    placements = [Placement(connected, VM, first_output_s=9.0), Placement(connected, IN_VM, "server_")]
    with ExitStack() as stack:
        open_environments(placements, run_id="r", invocation_id="i", stack=stack)
    assert sorted(drivers.asked) == [("container-in-vm", None), ("vm", 9.0)]


# --- what is kept -------------------------------------------------------------------------------------------

COUNTERS = "==> /proc/stat <==\ncpu {} 0 0 {} 0 0 0 0 0 0\ncpu0 0\ncpu1 0\n"


@pytest.fixture
def recorded(store: Store) -> Callable[..., Recorded]:
    """Return a function that records one invocation in `vm`, and gives it back with what was told."""

    def run(benchmark: Benchmark, boot: GuestBoot | None) -> Recorded:
        planned = replace(cases.ORDER[0], environment="vm")
        block = Block(benchmark.name, cases.H1, 0, (planned,))
        plan = plan_of(block, benchmark, VM)
        run_id = cases.begin_run(store, plan)
        told: list[Event] = []
        found = {("h1", VM.key): SurveyResult(None)}
        planned_run = PlannedRun(run_id, plan, cases.HOSTS)
        session = RunSession(planned_run, store, cast(Fleet, OneHost()), told.append, found)
        block_id = store.writer.begin_block(run_id, block, attempt=1)
        metric = workload(benchmark.workload).metrics(benchmark.parameters)[0]
        completed = replace(
            Completed(("true",), 0, b"x\n", b"", started_ns=0, ended_ns=10**9),
            counters_before=COUNTERS.format(0, 0).encode(),
            counters_after=COUNTERS.format(10, 390).encode(),
        )
        samples = (Sample(metric.name, 1.0, metric.unit, 0),)
        outcome = InvocationOutcome(Status.OK, completed=completed, samples=samples, boot=boot)
        record(session, block, block_id, planned, outcome, started_at=1.0)
        detail = store.run(run_id).invocation(invocation_id(block_id, planned))
        return detail, [event.text for event in told if isinstance(event, Note)]

    return run


def test_what_a_guest_had_is_kept_with_the_invocation(recorded) -> None:
    detail, told = recorded(START, GuestBoot("tcg", vcpus=1, attempts=1))
    assert (detail.accelerator, detail.vcpus, detail.boot_attempts) == ("tcg", 1, 1)
    assert told == []


def test_a_start_that_took_two_boots_is_told_kept_and_flagged(store: Store, recorded) -> None:
    detail, told = recorded(START, GuestBoot("tcg", vcpus=1, attempts=2))
    assert (detail.boot_attempts, detail.validity) == (2, "flagged")
    assert "boot 2 came up" in told[0]
    judged = store.run("latest").assessment(detail.invocation_id)
    assert judged is not None
    (finding,) = [item for item in judged.validity.findings if item.rule == "boot_attempts"]
    assert finding.sentence == "the guest was booted 2 times; the last boot is what was measured"
    assert Assessment.from_json(judged.to_json()) == judged, "it can be judged again"


def test_a_second_boot_before_another_measurement_is_no_flag(store: Store, recorded) -> None:
    detail, told = recorded(CPU, GuestBoot("tcg", vcpus=1, attempts=2))
    judged = store.run("latest").assessment(detail.invocation_id)
    assert detail.boot_attempts == 2 and len(told) == 1
    assert judged is not None
    assert "boot_attempts" not in {item.rule for item in judged.validity.findings}


def test_natively_there_is_no_boot(recorded) -> None:
    detail, _ = recorded(START, None)
    assert (detail.accelerator, detail.vcpus, detail.boot_attempts) == (None, None, None)
