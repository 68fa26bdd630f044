"""Jobs that outlive their connection, their controller or their agent, and a spool whose disk is full."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from perfctl.errors import CommandTimeout, HostError, HostUnreachable, PerfctlError
from perfctl.job import JobLost, JobShell, JobTimeout, ProcessProbe, SpoolFull
from perfctl.shell import Completed, Transport
from perfctl.ssh import connect
from tests.contract.job_spool import RUN, agent_pid, agents, completed_of
from tests.processes import unique_seconds, wait_until, with_argument
from tests.sshd import Sshd


def test_jobs_survive_their_connection_and_are_waited_for_on_a_new_one(
    ssh_jobs: JobShell, sshd: Sshd, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    script = 'echo x >> "$2"; while [ ! -e "$1" ]; do sleep 0.05; done; echo "survived $2"; exit 4'
    counts = [str(tmp_path / f"count-{number}") for number in range(3)]
    results: dict[str, Completed] = {}

    def measure(number: int) -> None:
        argv = ["sh", "-c", script, "sh", str(gate), counts[number]]
        results[counts[number]] = ssh_jobs.run_job(f"inv-{number}", argv, 60)

    threads = [threading.Thread(target=measure, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: all(Path(count).exists() for count in counts), "the jobs")
    for _ in range(2):
        sshd.drop_connections()
        wait_until(sshd.connections, "a new connection")
    gate.touch()
    for thread in threads:
        thread.join(timeout=60)
    assert {name: (done.text, done.exit_code) for name, done in results.items()} == {
        count: (f"survived {count}\n", 4) for count in counts
    }
    assert [Path(count).read_text() for count in counts] == ["x\n"] * 3
    for number in range(3):
        ssh_jobs.acknowledge(f"inv-{number}")


_CONTROLLER = """
import sys
from pathlib import Path
from perfctl.job import JobShell
from perfctl.model import Host
from perfctl.ssh import connect
port, key, config, known, root, gate, user = sys.argv[1:]
host = Host("box", "127.0.0.1", port=int(port), user=user, private_key=Path(key),
            ssh_options=(("ConfigFile", config), ("UserKnownHostsFile", known)))
jobs = JobShell.start(connect(host), "RUN", lifetime_s=600, spool_root=root)
jobs.run_job("inv-1", ["echo", "finished before"], 60)
jobs.run(["echo", "nobody asks for this"], timeout_s=60)
jobs.run_job("inv-2", ["sh", "-c", 'while [ ! -e "$1" ]; do sleep 0.05; done; echo done', "sh", gate], 60)
""".replace("RUN", RUN)


def test_a_new_controller_collects_what_a_killed_one_left(sshd: Sshd, root: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    host = sshd.host()
    argv = [str(sshd.port), str(sshd.key), str(sshd.config_file), str(sshd.known_hosts), root, str(gate)]
    controller = subprocess.Popen([sys.executable, "-c", _CONTROLLER, *argv, str(host.user)])
    wait_until(lambda: with_argument(str(gate)) != [controller.pid], "the second job", 60)
    wait_until(lambda: len(with_argument(str(gate))) > 1, "the second job", 60)
    os.kill(controller.pid, signal.SIGKILL)
    controller.wait(timeout=30)

    jobs = JobShell.start(connect(host), RUN, lifetime_s=600, spool_root=root)
    # The old job still runs; new commands are not queued behind it.
    assert jobs.run(["echo", "meanwhile"], timeout_s=30).text == "meanwhile\n"
    threading.Timer(0.3, gate.touch).start()
    everything = completed_of(jobs)
    assert {name: done.text for name, done in everything.items()} == {
        "inv-1": "finished before\n",
        "inv-2": "done\n",
    }
    for job_id in everything:
        jobs.acknowledge(job_id)
    jobs.stop()
    assert not Path(jobs.spool).exists()


def test_a_new_controller_ends_the_servers_of_a_killed_one(
    jobs: JobShell, transport: Transport, root: str
) -> None:
    seconds = unique_seconds()
    jobs.spawn(["sleep", seconds])
    later = JobShell.start(transport, RUN, lifetime_s=600, spool_root=root)
    assert with_argument(seconds) == []
    assert later.run(["echo", "on"], timeout_s=30).text == "on\n"
    later.stop()


def test_what_a_job_of_a_killed_controller_needs_lives_as_long_as_it(
    jobs: JobShell, transport: Transport, root: str, tmp_path: Path
) -> None:
    """Such as the connection into a guest: a command without a name that the measured one stands on."""
    seconds, gate = unique_seconds(), tmp_path / "gate"
    jobs.spawn(["sleep", seconds])
    wait_for_gate = ["sh", "-c", 'while [ ! -e "$1" ]; do sleep 0.05; done', "sh", str(gate)]

    def measure() -> None:
        # The new controller takes its channel away.
        with suppress(HostError):
            jobs.run_job("inv-1", wait_for_gate, 60)

    thread = threading.Thread(target=measure)
    thread.start()
    wait_until(lambda: with_argument(str(gate)), "the job")
    later = JobShell.start(transport, RUN, lifetime_s=600, spool_root=root)
    assert with_argument(seconds)
    gate.touch()
    assert set(completed_of(later)) == {"inv-1"}
    wait_until(lambda: not with_argument(seconds), "the end of what the job needed")
    later.acknowledge("inv-1")
    later.stop()
    thread.join(timeout=60)


def test_a_job_that_timed_out_without_its_controller_is_told(sshd: Sshd, root: str) -> None:
    transport = connect(sshd.host())
    jobs = JobShell.start(transport, RUN, lifetime_s=600, spool_root=root)
    with pytest.raises(JobTimeout):
        jobs.run_job("inv-1", ["sleep", "60"], 0.3)
    later = JobShell.start(transport, RUN, lifetime_s=600, spool_root=root)
    outcome = later.collect_results()["inv-1"]
    assert isinstance(outcome, JobTimeout) and isinstance(outcome, CommandTimeout)
    later.acknowledge("inv-1")
    later.stop()


def test_a_job_whose_agent_was_killed_is_lost_not_forgotten(
    jobs: JobShell, transport: Transport, root: str
) -> None:
    seconds = unique_seconds()
    raised: list[BaseException] = []

    def measure() -> None:
        try:
            jobs.run_job("inv-1", ["sleep", seconds], 300)
        except JobLost as error:
            raised.append(error)

    thread = threading.Thread(target=measure)
    thread.start()
    wait_until(lambda: with_argument(seconds), "the job")
    # What an out-of-memory killer or a restart of the host does to it.
    for pid in agents(jobs):
        os.kill(pid, signal.SIGKILL)
    later = JobShell.start(transport, RUN, lifetime_s=600, spool_root=root)
    wait_until(lambda: not with_argument(seconds), "the end of what nobody waits for any longer")
    outcome = later.collect_results()["inv-1"]
    assert isinstance(outcome, JobLost) and isinstance(outcome, HostError)
    later.acknowledge("inv-1")
    later.stop()
    thread.join(timeout=60)
    assert raised


def test_a_start_waits_for_one_whose_controller_was_killed(transport: Transport, root: str) -> None:
    def start() -> JobShell | HostUnreachable:
        try:
            return JobShell.start(transport, RUN, lifetime_s=600, spool_root=root)
        except HostUnreachable as error:
            # The next one has replaced its agent already.
            return error

    # A start goes on though nobody waits for it any longer; the next one may come at once.
    with ThreadPoolExecutor(4) as pool:
        starts = [pool.submit(start) for _ in range(4)]
        shells = [start.result() for start in starts if isinstance(start.result(), JobShell)]
    assert shells
    jobs = JobShell.start(transport, RUN, lifetime_s=600, spool_root=root)
    assert len(agents(jobs)) == 1
    assert jobs.run(["echo", "in turn"], timeout_s=60).text == "in turn\n"
    jobs.stop()
    wait_until(lambda: not with_argument(jobs.spool), "our processes on the host to end")


def kill_when(condition: Callable[[], object], *pids: int) -> None:
    """Kill processes without warning once `condition` holds."""
    wait_until(condition, "the moment to kill")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def test_a_job_is_lost_at_once_when_the_agent_is_killed_and_what_it_started_ends_with_the_stop(
    jobs: JobShell,
) -> None:
    seconds = unique_seconds()
    args = (lambda: with_argument(seconds), agent_pid(jobs.spool))
    killer = threading.Thread(target=kill_when, args=args)
    killer.start()
    with pytest.raises(JobLost):
        jobs.run_job("inv-1", ["sleep", seconds], 300)
    killer.join(timeout=60)
    with pytest.raises(JobLost):
        jobs.run(["true"], timeout_s=60)
    assert with_argument(seconds)
    jobs.stop()
    assert with_argument(seconds) == []


def test_a_result_outlives_the_agent_that_was_killed(jobs: JobShell, transport: Transport, root: str) -> None:
    jobs.run_job("inv-1", ["echo", "kept"], 60, probe=ProcessProbe("", 30.0))
    os.kill(agent_pid(jobs.spool), signal.SIGKILL)
    later = JobShell.start(transport, RUN, lifetime_s=600, spool_root=root)
    done = completed_of(later)["inv-1"]
    assert (done.text, done.argv) == ("kept\n", ("echo", "kept"))
    assert done.counters_after and done.host_view and done.usage
    later.acknowledge("inv-1")
    later.stop()


@pytest.mark.parametrize("damage", [b"", b"PCA", b"x" * 5000])
def test_a_result_that_is_not_whole_is_lost(
    jobs: JobShell, transport: Transport, root: str, damage: bytes
) -> None:
    jobs.run_job("inv-1", ["echo", "kept"], 60)
    os.kill(agent_pid(jobs.spool), signal.SIGKILL)
    # As a host that lost its power leaves it.
    (Path(jobs.spool) / "jobs" / "inv-1.end").write_bytes(damage)
    later = JobShell.start(transport, RUN, lifetime_s=600, spool_root=root)
    assert isinstance(later.collect_results()["inv-1"], JobLost)
    later.acknowledge("inv-1")
    later.stop()


def test_a_job_that_was_asked_for_and_never_begun_is_lost(
    jobs: JobShell, transport: Transport, root: str, tmp_path: Path
) -> None:
    agent = agent_pid(jobs.spool)
    os.kill(agent, signal.SIGSTOP)
    threading.Timer(0.5, os.kill, (agent, signal.SIGKILL)).start()
    with pytest.raises(JobLost):
        jobs.run_job("inv-1", ["touch", str(tmp_path / "ran")], 300)
    later = JobShell.start(transport, RUN, lifetime_s=600, spool_root=root)
    assert later.collect_results() == {}
    later.stop()
    assert not (tmp_path / "ran").exists()


def test_two_controllers_that_ask_for_one_job_both_get_its_result(
    jobs: JobShell, transport: Transport, root: str, tmp_path: Path
) -> None:
    """As after a connection that broke and whose end the host has not seen yet."""
    gate = tmp_path / "gate"
    script = 'echo x >> "$1.count"; while [ ! -e "$1" ]; do sleep 0.05; done; echo done'
    argv = ["sh", "-c", script, "sh", str(gate)]
    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(jobs.run_job, "inv-1", argv, 60) for _ in range(2)]
        wait_until(lambda: with_argument(str(gate)), "the job")
        gate.touch()
        assert [result.result().text for result in results] == ["done\n"] * 2
    assert Path(f"{gate}.count").read_text() == "x\n"
    jobs.acknowledge("inv-1")


def test_a_spool_that_was_deleted_is_told_and_everything_ends_with_the_stop(jobs: JobShell) -> None:
    seconds = unique_seconds()
    jobs.spawn(["sleep", seconds])
    shutil.rmtree(jobs.spool)
    with pytest.raises(PerfctlError, match="No such file or directory"):
        jobs.run(["true"], timeout_s=60)
    jobs.stop()
    wait_until(lambda: not with_argument(seconds) and not agents(jobs), "the end of what was started")


# ---- a full disk -------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 256 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0755", "perfctl-test", str(folder)]
    subprocess.run(argv, check=True, timeout=30)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=30)


def test_a_spool_that_fills_up_is_told_apart_and_loses_nothing_silently(
    tiny_disk: Path, transport: Transport
) -> None:
    jobs = JobShell.start(transport, RUN, lifetime_s=600, spool_root=str(tiny_disk))
    try:
        assert jobs.run(["echo", "room"], timeout_s=30).text == "room\n"
        with pytest.raises(SpoolFull, match="spool folder is full") as caught:
            jobs.run(["head", "-c", "1000000", "/dev/zero"], timeout_s=30)
        assert caught.value.reason == "spool_full"
        assert caught.value.exit_code == 8
        assert caught.value.completed is not None
        assert 0 < len(caught.value.completed.stdout) < 1_000_000
        assert "df" in str(caught.value.hint)
        with pytest.raises(SpoolFull, match="was not started"):
            jobs.run(["touch", str(tiny_disk / "ran")], timeout_s=30)
        with pytest.raises(SpoolFull, match="was not started"):
            jobs.run(["cat"], timeout_s=30, stdin=b"x" * 500_000)
        with pytest.raises(SpoolFull, match="was not started"):
            jobs.run_job("inv-1", ["touch", str(tiny_disk / "ran")], 30, probe=ProcessProbe(""))
        assert not (tiny_disk / "ran").exists()
    finally:
        jobs.stop()
    again = JobShell.start(transport, RUN, lifetime_s=600, spool_root=str(tiny_disk))
    assert again.run(["echo", "room again"], timeout_s=30).text == "room again\n"
    again.stop()


def test_a_disk_that_is_full_from_the_start_is_told(tiny_disk: Path, transport: Transport) -> None:
    with (tiny_disk / "ballast").open("wb") as ballast, pytest.raises(OSError, match="No space"):
        ballast.write(bytes(1_000_000))
    with pytest.raises(SpoolFull, match="could not be copied there"):
        JobShell.start(transport, RUN, lifetime_s=600, spool_root=str(tiny_disk))
