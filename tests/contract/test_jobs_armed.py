"""Jobs that are armed and released together: what they are before and after, and how they end unreleased."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from perfctl.errors import CommandFailed, Interrupted, UsageError
from perfctl.job import (
    Claim,
    HostLease,
    JobLost,
    JobShell,
    JobTimeout,
    LeaseLost,
    NeverReleased,
    Request,
    arm,
    arm_together,
)
from perfctl.job.armed import Outcome, _skew
from perfctl.model import Host
from perfctl.shell import Completed, Transport
from perfctl.shell.local import LocalShell
from tests.contract.job_spool import RUN, agent_pid, agents, spool_files
from tests.processes import unique_seconds, wait_until, with_argument
from tests.sshd import Sshd


@pytest.fixture
def transport() -> Iterator[Transport]:
    """Return the way to this machine: ssh has tests of its own below."""
    made = LocalShell("box")
    yield made
    made.close()


def requests(count: int, *argv: str, timeout_s: float = 60.0) -> list[Request]:
    """Return jobs that all run one command."""
    return [Request(f"inv-{number}", argv, timeout_s) for number in range(count)]


def completed(outcomes: Sequence[Outcome]) -> list[Completed]:
    """Return results, of which none may have gone wrong."""
    for outcome in outcomes:
        assert isinstance(outcome, Completed), outcome
    return [outcome for outcome in outcomes if isinstance(outcome, Completed)]


def armed_pids(jobs: JobShell) -> list[int]:
    """Return the ids of the processes that wait: they look like the agent that they were forked from."""
    return [pid for pid in agents(jobs) if pid != agent_pid(jobs.spool)]


def released(jobs: JobShell, requests: Sequence[Request]) -> list[Outcome]:
    """Return what became of jobs that were released at once."""
    with arm_together([(jobs, requests)]) as start:
        start.release()
        return start.outcomes()[0]


def test_armed_jobs_begin_when_they_are_released_and_not_before(jobs: JobShell, tmp_path: Path) -> None:
    script = 'echo x >> "$1"; cat; exit 3'
    wanted = [
        Request(f"inv-{n}", ("sh", "-c", script, "sh", str(tmp_path / "begun")), 60, f"input {n}".encode())
        for n in range(8)
    ]
    with arm_together([(jobs, wanted)]) as start:
        assert len(armed_pids(jobs)) == 8
        assert jobs.run(["echo", "other jobs run meanwhile"], timeout_s=30).exit_code == 0
        assert not (tmp_path / "begun").exists()
        start.release()
        done = completed(start.outcomes()[0])
        skew = start.skew()
    assert (tmp_path / "begun").read_text() == "x\n" * 8
    assert [(one.text, one.exit_code) for one in done] == [(f"input {n}", 3) for n in range(8)]
    starts = [one.started_ns or 0 for one in done]
    assert skew.seconds == (max(starts) - min(starts)) / 1e9
    assert (skew.count, skew.uncertainty_s) == (8, 0.0)
    # Read once for all of them, before they were released.
    assert {one.counters_before for one in done} == {done[0].counters_before}
    assert b"==> /proc/stat <==" in done[0].counters_before and b"==> clock <==" in done[7].counters_after
    assert all(0 < at < (one.ended_ns or 0) for at, one in zip(starts, done, strict=True))
    for request in wanted:
        jobs.acknowledge(request.job_id)


LOOK = """
import os
print(sorted(os.listdir("/proc/self/fd"))[:3], os.getsid(0) == os.getpid(), os.getcwd(), os.umask(0))
print(os.sched_getscheduler(0), os.nice(0), sorted(os.environ), os.readlink("/proc/self/fd/0"))
print([line for line in open("/proc/self/status") if line.startswith(("SigBlk", "SigIgn"))])
"""


def test_an_armed_job_runs_in_what_every_job_runs_in(jobs: JobShell) -> None:
    argv = (sys.executable, "-I", "-S", "-c", LOOK)
    (armed,) = completed(released(jobs, requests(1, *argv)))
    plain = jobs.run(argv, timeout_s=60)
    assert armed.exit_code == 0 and armed.text == plain.text
    # What it used while it was armed is not the command's.
    assert armed.usage is not None and plain.usage is not None
    assert armed.usage.minor_faults is not None and plain.usage.minor_faults is not None
    assert armed.usage.minor_faults < 2 * plain.usage.minor_faults


def test_what_cannot_be_run_ends_as_it_does_unarmed(jobs: JobShell, tmp_path: Path) -> None:
    script, plain = tmp_path / "script", tmp_path / "plain"
    script.write_text("echo by sh $1\n")
    script.chmod(0o755)
    plain.write_text("no program")
    commands = [("no-such-program", "x"), (str(plain),), (str(script), "here"), ("sh", "-c", "kill -9 $$")]
    for number, argv in enumerate(commands):
        (armed,) = completed(released(jobs, [Request(f"inv-{number}", argv, 60)]))
        done = jobs.run(argv, timeout_s=30)
        assert (armed.exit_code, armed.text, armed.error_text) == (
            done.exit_code,
            done.text,
            done.error_text,
        )


def test_the_timeout_of_an_armed_job_counts_from_its_release(jobs: JobShell) -> None:
    seconds = unique_seconds()
    wanted = [*requests(1, "true"), Request("inv-slow", ("sleep", seconds), 0.3)]
    fast, slow = released(jobs, wanted)
    assert isinstance(fast, Completed) and isinstance(slow, JobTimeout)
    assert (slow.completed.ended_ns or 0) - (slow.completed.started_ns or 0) >= 300_000_000
    assert not with_argument(seconds)


# ---- never released ----------------------------------------------------------------------------------------


def test_armed_jobs_that_are_not_released_in_time_end_by_themselves(jobs: JobShell) -> None:
    seconds = unique_seconds()
    with arm_together([(jobs, requests(3, "sleep", seconds))], wait_s=0.2) as start:
        wait_until(lambda: not armed_pids(jobs), "the armed jobs to end")
        start.release()
        (outcomes,) = start.outcomes()
    assert [type(one) for one in outcomes] == [NeverReleased] * 3
    assert start.skew().count == 0
    # They never began: they may be armed again.
    assert completed(released(jobs, requests(3, "echo", "x")))[2].text == "x\n"


def test_armed_jobs_end_with_their_block(jobs: JobShell) -> None:
    with arm_together([(jobs, requests(3, "sleep", unique_seconds()))]):
        assert len(armed_pids(jobs)) == 3
    wait_until(lambda: not armed_pids(jobs), "the armed jobs to end")
    wait_until(lambda: not any(name.startswith("inv") for name in spool_files(jobs)), "their notes to go")
    assert jobs.run(["echo", "x"], timeout_s=30).text == "x\n"


def test_released_jobs_that_are_not_waited_for_end_with_their_block(jobs: JobShell) -> None:
    seconds = unique_seconds()
    with arm_together([(jobs, requests(2, "sleep", seconds))]) as start:
        start.release()
        wait_until(lambda: len(with_argument(seconds)) == 2, "the jobs to begin")
    assert not with_argument(seconds)


def test_armed_jobs_are_cancelled_like_others(jobs: JobShell) -> None:
    with arm_together([(jobs, requests(3, "sleep", unique_seconds()))]) as start:
        jobs.cancel()
        assert not armed_pids(jobs)
        start.release()
        assert [type(one) for one in start.outcomes()[0]] == [Interrupted] * 3


def test_without_one_of_them_the_others_do_not_begin(jobs: JobShell, tmp_path: Path) -> None:
    with arm_together([(jobs, requests(3, "touch", str(tmp_path / "begun")))]) as start:
        os.kill(armed_pids(jobs)[1], signal.SIGKILL)
        wait_until(lambda: not armed_pids(jobs), "the others to end")
        start.release()
        assert [type(one) for one in start.outcomes()[0]] == [NeverReleased] * 3
    assert not (tmp_path / "begun").exists()


def test_all_are_armed_or_none(jobs: JobShell) -> None:
    jobs.run_job("inv-1", ["true"], 30)
    with pytest.raises(CommandFailed, match="inv-1 was requested before"):
        arm(jobs, requests(3, "sleep", unique_seconds()))
    wait_until(lambda: not armed_pids(jobs), "the armed job to end")
    jobs.acknowledge("inv-1")
    with pytest.raises(UsageError):
        arm(jobs, [])
    assert completed(released(jobs, requests(1, "echo", "x")))[0].text == "x\n"


def test_a_killed_agent_takes_its_armed_jobs_along(jobs: JobShell, tmp_path: Path) -> None:
    with arm_together([(jobs, requests(3, "touch", str(tmp_path / "begun")))]) as start:
        os.kill(agent_pid(jobs.spool), signal.SIGKILL)
        wait_until(lambda: not agents(jobs), "the armed jobs to end")
        start.release()
        assert [type(one) for one in start.outcomes()[0]] == [JobLost] * 3
    assert not (tmp_path / "begun").exists()


def test_armed_jobs_do_not_begin_on_a_host_that_was_taken_away(tmp_path: Path) -> None:
    here, transport = Host("here", "127.0.0.1", "local", state_dir=str(tmp_path)), LocalShell("here")
    lease = HostLease.take(transport, here, Claim.make("run", RUN))
    jobs = JobShell.start(transport, RUN, lifetime_s=600, spool_root=here.spool_root, lease=lease)
    try:
        with arm_together([(jobs, requests(2, "touch", str(tmp_path / "begun")))]) as start:
            token, holder = (tmp_path / "lease").read_text().splitlines()
            (tmp_path / "lease").write_text(f"{int(token) + 1}\n{holder}\n")
            start.release()
            assert [type(one) for one in start.outcomes()[0]] == [LeaseLost] * 2
        assert not (tmp_path / "begun").exists()
        with pytest.raises(LeaseLost):
            arm(jobs, [Request("inv-9", ("true",), 60)])
    finally:
        jobs.stop()


# ---- the connection and the controller ---------------------------------------------------------------------


def test_a_connection_that_is_lost_before_the_release_ends_what_is_armed(
    ssh_jobs: JobShell, sshd: Sshd, tmp_path: Path
) -> None:
    with arm_together([(ssh_jobs, requests(2, "touch", str(tmp_path / "begun")))]) as start:
        sshd.drop_connections()
        wait_until(lambda: not armed_pids(ssh_jobs), "the armed jobs to end")
        start.release()
        assert [type(one) for one in start.outcomes()[0]] == [NeverReleased] * 2
    assert not (tmp_path / "begun").exists()


def test_a_connection_that_is_lost_after_the_release_is_made_again(
    ssh_jobs: JobShell, sshd: Sshd, tmp_path: Path
) -> None:
    script = 'echo x >> "$1.begun"; until [ -e "$1" ]; do sleep 0.05; done; echo survived'
    gate = tmp_path / "gate"
    with arm_together([(ssh_jobs, requests(2, "sh", "-c", script, "sh", str(gate)))]) as start:
        start.release()
        begun = tmp_path / "gate.begun"
        wait_until(lambda: begun.exists() and begun.read_text() == "x\n" * 2, "the jobs")
        sshd.drop_connections()
        gate.touch()
        assert [one.text for one in completed(start.outcomes()[0])] == ["survived\n"] * 2
    assert begun.read_text() == "x\n" * 2


_CONTROLLER = """
import sys, time
from perfctl.job import JobShell, Request, arm
from perfctl.shell.local import LocalShell
jobs = JobShell.start(LocalShell("box"), "RUN", lifetime_s=600, spool_root=sys.argv[1])
armed = arm(jobs, [Request(f"inv-{n}", ("touch", sys.argv[2]), 60) for n in range(2)])
print("armed", flush=True)
time.sleep(600)
""".replace("RUN", RUN)


def test_what_a_killed_controller_has_armed_ends_and_is_no_result(root: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", _CONTROLLER, root, str(tmp_path / "begun")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as controller:
        assert controller.stdout is not None and controller.stdout.readline() == "armed\n"
        os.kill(controller.pid, signal.SIGKILL)
    again = JobShell.start(LocalShell("box"), RUN, lifetime_s=600, spool_root=root)
    try:
        assert again.collect_results() == {}
        wait_until(lambda: not armed_pids(again), "the armed jobs to end")
        assert not (tmp_path / "begun").exists()
    finally:
        again.stop()


# ---- several hosts -----------------------------------------------------------------------------------------


def test_jobs_of_several_hosts_are_released_together(tmp_path: Path) -> None:
    fleet = [
        JobShell.start(LocalShell(f"h{n}"), f"{RUN}-{n}", lifetime_s=600, spool_root=str(tmp_path))
        for n in range(3)
    ]
    try:
        with arm_together([(jobs, requests(2, "true")) for jobs in fleet]) as start:
            assert start.release() > 0
            outcomes = start.outcomes()
            skew = start.skew()
        starts = [one.started_ns or 0 for found in outcomes for one in completed(found)]
        # They are one machine, whose clock is one: the estimate is right to what it says of itself.
        assert skew.count == len(starts) == 6 and skew.uncertainty_s > 0
        assert abs(skew.seconds - (max(starts) - min(starts)) / 1e9) <= skew.uncertainty_s
    finally:
        for jobs in fleet:
            jobs.stop()


def test_a_host_that_cannot_be_armed_keeps_all_from_beginning(tmp_path: Path) -> None:
    fleet = [
        JobShell.start(LocalShell(f"h{n}"), f"{RUN}-{n}", lifetime_s=600, spool_root=str(tmp_path))
        for n in range(2)
    ]
    try:
        fleet[1].run_job("inv-0", ["true"], 30)
        with (
            pytest.raises(CommandFailed, match="h1: its agent: inv-0 was requested before"),
            arm_together([(jobs, requests(1, "touch", str(tmp_path / "begun"))) for jobs in fleet]),
        ):
            raise AssertionError("nothing is armed")
        wait_until(lambda: not armed_pids(fleet[0]), "what was armed to end")
        assert not (tmp_path / "begun").exists()
    finally:
        for jobs in fleet:
            jobs.stop()


def test_the_skew_is_as_uncertain_as_the_clocks_of_its_hosts() -> None:
    found = _skew([(1_000_000, 100_000), (3_000_000, 200_000), (2_000_000, 0)])
    assert (found.seconds, found.count) == (0.002, 3)
    assert found.uncertainty_s == pytest.approx(0.0003)
    # It cannot be less than nothing.
    assert _skew([(0, 400_000), (100_000, 400_000)]).uncertainty_s == pytest.approx(0.0008)
