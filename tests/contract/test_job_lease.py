"""Leases: one holder per host, whoever asks, and no job of a holder that has lost it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from perfctl.errors import CommandFailed, HostLeased
from perfctl.job import Claim, HostLease, JobShell, LeaseLost, LeaseState, read_leases
from perfctl.job.hosts import lease_hosts
from perfctl.model import Host
from perfctl.shell.local import LocalShell
from perfctl.ssh import connect
from tests.processes import unique_seconds, wait_until, with_argument

TRANSPORT = LocalShell("here")


@contextmanager
def held_lock(folder: str) -> Iterator[None]:
    """Hold the lock under which leases of this machine are changed."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


@dataclass
class World:
    """This machine as a host with a lease and a spool of its own."""

    folder: Path

    @property
    def host(self) -> Host:
        return Host("here", "127.0.0.1", "local", python=sys.executable, state_dir=str(self.folder))

    def take(self, run_id: str | None = None, **settings) -> HostLease:
        return HostLease.take(TRANSPORT, self.host, Claim.make("run", run_id), **settings)

    def jobs(self, lease: HostLease, run_id: str) -> JobShell:
        root = self.host.spool_root
        return JobShell.start(TRANSPORT, run_id, lifetime_s=600, spool_root=root, lease=lease)

    def state(self) -> LeaseState:
        (state,) = read_leases(TRANSPORT, self.host)[0]
        return state

    @property
    def token(self) -> int:
        return int((self.folder / "lease").read_text().splitlines()[0])

    def renewal(self) -> list[str]:
        """Return the token and the time that the last job wrote."""
        return (self.folder / "lease.until").read_text().splitlines()[0].split()

    def rewrite(self, **changes) -> None:
        """Change fields of the holder, as time or another machine would have made them."""
        token, holder = (self.folder / "lease").read_text().splitlines()
        (self.folder / "lease").write_text(f"{token}\n{json.dumps(json.loads(holder) | changes)}\n")

    def let_time_pass(self) -> None:
        """Make the time of the lease be over, also where jobs have renewed it."""
        self.rewrite(until=1.0)
        if (self.folder / "lease.until").exists():
            (self.folder / "lease.until").write_text(f"{self.token} 1.0\n")

    def started(self, run_id: str, job_id: str) -> bool:
        """Return whether the processes of a job are noted."""
        note = self.folder / "spool" / run_id / "jobs" / f"{job_id}.job"
        return note.exists() and note.read_text().count("\n") == 2

    def start_holder(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        """Start another controller, and return when it has printed a line."""
        process = subprocess.Popen(
            [sys.executable, "-c", SETUP + script, str(self.folder), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process


SETUP = """
import sys, threading
from pathlib import Path
from tests.contract.test_job_lease import World
from perfctl.errors import HostLeased
world = World(Path(sys.argv[1]))
def ready():
    print("ready", flush=True)
"""

HOLD = """
lease = world.take("run-1")
ready()
sys.stdin.read()
"""

MEASURE = """
lease = world.take("run-1")
jobs = world.jobs(lease, "run-1")
argv = ["sleep", sys.argv[2].removeprefix("for=")]
threading.Thread(target=jobs.run_job, args=("job-1", argv, 600), daemon=True).start()
ready()
sys.stdin.read()
"""

COMPETE = """
ready()
sys.stdin.readline()
try:
    world.take(sys.argv[2])
    print("held", flush=True)
except HostLeased as error:
    print("refused", flush=True)
sys.stdin.read()
"""


def killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    # Gone, though its parent has not asked after it yet (a zombie).
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def start(world: World) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts another controller, which is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(script: str, *arguments: str) -> subprocess.Popen[str]:
        started.append(world.start_holder(script, *arguments))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate(timeout=30)


def test_a_host_is_held_until_it_is_released(world: World) -> None:
    first = world.take("run-1")
    with pytest.raises(HostLeased) as refused:
        world.take("run-2")
    assert refused.value.exit_code == 6
    assert refused.value.where == "here"
    assert "run run-1 of" in refused.value.message
    assert "3 min" in refused.value.message
    assert "perfctl hosts --steal" in str(refused.value.hint)
    first.release()
    first.release()
    world.take("run-2").release()
    assert read_leases(TRANSPORT, world.host)[0] == ()


def test_the_same_run_is_not_carried_on_twice(world: World) -> None:
    world.take("run-1")
    with pytest.raises(HostLeased):
        world.take("run-1")


def test_of_many_that_compete_one_gets_the_host(
    world: World, start: Callable[..., subprocess.Popen[str]]
) -> None:
    rivals = [start(COMPETE, f"run-{number}") for number in range(6)]
    for rival in rivals:
        assert rival.stdin is not None
        rival.stdin.write("go\n")
        rival.stdin.flush()
    answers = [rival.stdout.readline().strip() for rival in rivals if rival.stdout]
    assert sorted(answers) == ["held", *["refused"] * 5]


def test_a_controller_that_was_killed_holds_nothing_for_the_next_one_of_its_machine(
    world: World, start: Callable[..., subprocess.Popen[str]]
) -> None:
    holder = start(HOLD)
    with pytest.raises(HostLeased, match="run-1"):
        world.take("run-2")
    killed(holder)
    lease = world.take("run-2")
    assert [state.run_id for state in lease.freed] == ["run-1"]


def test_a_controller_elsewhere_is_believed_until_its_time_is_over(world: World) -> None:
    world.take("run-1")
    world.rewrite(controller={"machine": "elsewhere", "boot_id": "", "namespace": "", "pid": 1, "start": "1"})
    with pytest.raises(HostLeased, match="run-1"):
        world.take("run-2")
    world.let_time_pass()
    assert (world.state().state, world.state().why) == (
        "stale",
        "its time is over, and no job of it runs",
    )
    assert [state.run_id for state in world.take("run-2").freed] == ["run-1"]


def test_a_lease_of_an_earlier_boot_is_stale(world: World) -> None:
    world.take("run-1", seconds=10**6)
    world.rewrite(boot_id="00000000-0000-0000-0000-000000000000")
    state = world.state()
    assert (state.state, state.why, state.left_s) == ("stale", "the host has restarted since", None)
    world.take("run-2")


def test_a_job_that_runs_holds_the_host_though_its_controller_is_gone_and_the_time_over(
    world: World, start: Callable[..., subprocess.Popen[str]]
) -> None:
    seconds = unique_seconds()
    holder = start(MEASURE, f"for={seconds}")
    wait_until(lambda: with_argument(seconds) and world.started("run-1", "job-1"), "the job to run")
    killed(holder)
    world.let_time_pass()
    assert world.state().job_is_running
    with pytest.raises(HostLeased, match="a job of it still runs") as refused:
        world.take("run-2")
    assert "perfctl resume run-1" in str(refused.value.hint)
    # Its own run may go on, and collects the job.
    lease = world.take("run-1")
    jobs = world.jobs(lease, "run-1")
    jobs.stop()
    wait_until(lambda: not with_argument(seconds), "the job to end")
    lease.release()


def test_a_process_with_the_id_of_a_job_is_not_taken_for_it(world: World) -> None:
    world.take("run-1")
    world.let_time_pass()
    jobs = world.folder / "spool" / "run-1" / "jobs"
    jobs.mkdir(parents=True)
    # This process lives, and is no job of the run.
    (jobs / "job-1.job").write_text(f'{{"timeout_s": 5, "argv": ["true"]}}\n{os.getpid()}\n')
    assert world.state().state == "stale"


def test_every_job_renews_the_lease_to_its_own_limit_and_two_minutes(world: World) -> None:
    asked = time.clock_gettime(time.CLOCK_BOOTTIME)
    lease = world.take("run-1", seconds=1)
    # The host's time was read at some moment of this exchange.
    slack_s = time.clock_gettime(time.CLOCK_BOOTTIME) - asked
    jobs = world.jobs(lease, "run-1")
    try:
        before = time.clock_gettime(time.CLOCK_BOOTTIME)
        jobs.run(["true"], timeout_s=1000)
        after = time.clock_gettime(time.CLOCK_BOOTTIME)
        token, until = world.renewal()
        assert int(token) == world.token
        assert before + 1120 <= float(until) <= after + 1120 + slack_s
        assert world.state().state == "held"
        jobs.run(["true"], timeout_s=10)
        assert float(world.renewal()[1]) < float(until)
        jobs.run(["true"], timeout_s=10, hold_s=5000)
        assert float(world.renewal()[1]) > before + 5120
    finally:
        jobs.stop()
    lease.release()
    # What the last job of one holder wrote does not hold the host for the next one.
    world.take("run-2", seconds=-1)
    assert world.state().state == "stale"


def test_a_lease_is_renewed_without_a_job_too(world: World) -> None:
    lease = world.take("run-1", seconds=-1)
    assert world.state().state == "stale"
    lease.renew(60)
    assert world.state().state == "held"
    world.take("run-2", steal=True)
    with pytest.raises(LeaseLost):
        world.take("run-3", seconds=-1, steal=True)
        lease.renew(3600)


def test_the_agent_gives_the_host_back_as_it_stops_but_no_other_holders(world: World) -> None:
    lease = world.take("run-1")
    world.jobs(lease, "run-1").stop(gives_back=True)
    token, holder = (world.folder / "lease").read_text().splitlines()
    assert (int(token), holder) == (lease.terms_of(0.0)[1] + 1, "null")
    assert lease.is_given_back

    second = world.take("run-2")
    jobs = world.jobs(second, "run-2")
    thief = world.take("run-3", steal=True)
    jobs.stop(gives_back=True)
    assert world.state().run_id == "run-3"
    thief.release()


def test_a_host_is_given_back_by_a_process_of_its_own_where_the_agent_may_not(world: World) -> None:
    lease = world.take("run-1")
    jobs = world.jobs(lease, "run-1")
    # Another one changes a lease of this host just now.
    with held_lock("/var/tmp"):
        jobs.stop(gives_back=True)
    assert not lease.is_given_back
    lease.release()
    assert read_leases(TRANSPORT, world.host)[0] == ()


def test_no_job_begins_once_another_holder_has_the_host(world: World) -> None:
    seconds = unique_seconds()
    lease = world.take("run-1")
    first = world.token
    jobs = world.jobs(lease, "run-1")
    try:
        assert jobs.run(["echo", "mine"], timeout_s=30).text == "mine\n"
        other = world.take("run-2", steal=True)
        assert world.token > first
        with pytest.raises(LeaseLost, match="taken away") as lost:
            jobs.run_job("job-1", ["sleep", seconds], 30)
        assert lost.value.where == "here"
        with pytest.raises(LeaseLost):
            jobs.spawn(["sleep", seconds])
        assert with_argument(seconds) == []
        # Nor when nobody has it: what is given back is not ours.
        other.release()
        with pytest.raises(LeaseLost):
            jobs.run(["sleep", seconds], timeout_s=30)
    finally:
        jobs.stop()
    assert not Path(jobs.spool).exists()


def test_a_job_that_did_not_begin_is_collected_as_such_by_the_next_controller(world: World) -> None:
    jobs = world.jobs(world.take("run-1"), "run-1")
    other = world.take("run-2", steal=True)
    with pytest.raises(LeaseLost):
        jobs.run_job("job-1", ["true"], 30)
    other.release()
    # The first controller ends before it has said that it has read this.
    later = world.jobs(world.take("run-1"), "run-1")
    try:
        (outcome,) = later.collect_results().values()
        assert isinstance(outcome, LeaseLost)
        later.acknowledge("job-1")
        assert later.run(["echo", "goes on"], timeout_s=30).text == "goes on\n"
    finally:
        later.stop()


def test_a_token_never_comes_twice_even_where_the_file_was_lost(world: World) -> None:
    world.take("run-1").release()
    before = world.token
    for path in world.folder.glob("lease*"):
        path.unlink()
    time.sleep(1.0)
    world.take("run-2")
    assert world.token >= before


@pytest.mark.parametrize(
    "text", ["", "rubbish", "5\nnull\n", "5\n{}\n", '5\n{"key": 1', "5\n[1]\n", "\0" * 100]
)
def test_a_damaged_lease_holds_nothing(world: World, text: str) -> None:
    (world.folder / "lease").write_text(text)
    assert read_leases(TRANSPORT, world.host)[0] == ()
    world.take("run-1")
    assert world.token > 5


def test_a_link_in_place_of_the_lease_is_not_followed(world: World, tmp_path: Path) -> None:
    world.take("run-1")
    (tmp_path / "precious").write_text("precious\n")
    (tmp_path / "lease").rename(tmp_path / "real")
    (tmp_path / "lease").symlink_to(tmp_path / "real")
    (tmp_path / "lease.new").symlink_to(tmp_path / "precious")
    assert read_leases(TRANSPORT, world.host)[0] == ()
    with pytest.raises(CommandFailed, match="its lease cannot be had"):
        world.take("run-2")
    assert (tmp_path / "precious").read_text() == "precious\n"


def test_what_another_user_wrote_moves_no_cursor(world: World) -> None:
    world.take("run-1")
    world.rewrite(owner="\x1b[2Jmallory@\nhost")
    assert world.state().owner == "?[2Jmallory@?host"


def test_all_hosts_are_leased_or_none(world: World, tmp_path: Path) -> None:
    hosts = []
    for name in ("h1", "h2"):
        (tmp_path / name).mkdir()
        hosts.append(Host(name, f"127.0.0.{name[1]}", "local", state_dir=str(tmp_path / name)))
    taken = HostLease.take(TRANSPORT, hosts[1], Claim.make("run", "run-1"))
    with (
        pytest.raises(HostLeased, match="run-1") as refused,
        lease_hosts(hosts, Claim.make("run", "run-2"), connect, {}),
    ):
        pass
    assert refused.value.where == "h2"
    assert read_leases(TRANSPORT, hosts[0])[0] == ()
    taken.release()
    with lease_hosts(hosts, Claim.make("run", "run-2"), connect, {}) as leased:
        assert [item.host.name for item in leased] == ["h1", "h2"]
        assert [read_leases(TRANSPORT, host)[0][0].run_id for host in hosts] == ["run-2", "run-2"]
    assert [read_leases(TRANSPORT, host)[0] for host in hosts] == [(), ()]


def test_one_run_may_name_a_machine_twice(world: World) -> None:
    claim = Claim.make("run", "run-1")
    twice = [world.host, Host("alias", "127.0.0.1", "local", state_dir=str(world.folder))]
    with lease_hosts(twice, claim, connect, {}) as leased:
        assert len(leased) == 2
    assert read_leases(TRANSPORT, world.host)[0] == ()


def test_a_host_without_python_is_named_with_what_to_do(world: World) -> None:
    host = Host("here", "127.0.0.1", "local", python="/no/such/python")
    with pytest.raises(CommandFailed, match="needs Python") as failed:
        read_leases(TRANSPORT, host)
    assert "ansible_python_interpreter" in str(failed.value.hint)


def test_a_killed_run_is_found_by_its_processes_and_results(
    world: World, start: Callable[..., subprocess.Popen[str]]
) -> None:
    seconds = unique_seconds()
    holder = start(MEASURE, f"for={seconds}")
    wait_until(lambda: with_argument(seconds) and world.started("run-1", "job-1"), "the job to run")
    killed(holder)
    # Held by another lease than the one that is looked at: it is named, and not taken for dead.
    other = World(world.folder / "elsewhere")
    other.folder.mkdir()
    (other.folder / "spool").symlink_to(world.folder / "spool")
    claim = Claim.make("run", "run-2")
    assert HostLease.take(TRANSPORT, other.host, claim).runs.live == ("run-1",)
    (job,) = with_argument(seconds)
    os.kill(job, signal.SIGKILL)
    wait_until(lambda: (world.folder / "spool/run-1/jobs/job-1.end").exists(), "the job's end to be noted")
    lease = world.take("run-2")
    assert [state.run_id for state in lease.freed] == ["run-1"]
    lease.release()
    own = world.take("run-1")
    world.jobs(own, "run-1").stop()
    own.release()
    found = HostLease.take(TRANSPORT, other.host, claim).runs
    assert (found.live, found.dead, found.results) == ((), (), ("run-1",))
