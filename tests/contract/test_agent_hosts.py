"""Agents on hosts that are not as they should be: their Python, their disk, their clock, an older agent."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from perfctl.agent import Agent, AgentChannel
from perfctl.agent import agent as host_agent
from perfctl.errors import CommandFailed, HostUnreachable, Interrupted
from perfctl.job import JobShell, JobTimeout, SpoolFull
from perfctl.shell import Completed, Stream, Transport
from perfctl.shell.local import LocalShell
from perfctl.validity.counters import parse_counters
from tests.contract.job_spool import RUN, agent_pid, agents
from tests.processes import unique_seconds, wait_until, with_argument


def program(folder: Path, script: str) -> str:
    """Return the path of a shell script that stands in for Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def started(transport: Transport, root: str, python: str) -> JobShell:
    return JobShell.start(transport, RUN, lifetime_s=600, python=python, spool_root=root)


# ---- Python ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 0", "cannot run perfctl's agent: exit code 0"),
        ("echo 'no python, see your vendor' >&2; exit 3", "no python, see your vendor"),
        ("echo hello; head -c 1000 >/dev/null", "cannot run perfctl's agent: hello"),
        ('exec no-such-interpreter "$@"', "no-such-interpreter"),
        ('[ "$4" = "$4" ]; echo "False 3.6.8"', "too old to run perfctl's agent: 3.6.8"),
    ],
)
def test_a_python_that_is_none_is_named_with_what_to_do(
    transport: Transport, root: str, tmp_path: Path, script: str, why: str
) -> None:
    with pytest.raises(CommandFailed) as caught:
        started(transport, root, program(tmp_path, script))
    assert why in caught.value.message and caught.value.where == transport.name
    assert "ansible_python_interpreter" in str(caught.value.hint)
    assert not Path(root).exists()


def test_no_python_at_all_is_named_with_what_to_do(transport: Transport, root: str) -> None:
    with pytest.raises(CommandFailed, match="/no/such/python") as caught:
        started(transport, root, "/no/such/python")
    assert "ansible_python_interpreter" in str(caught.value.hint)


def test_a_python_that_prints_a_banner_serves_as_well(
    transport: Transport, root: str, tmp_path: Path
) -> None:
    python = program(tmp_path, f'echo Welcome to Python; echo oh >&2; exec {sys.executable} "$@"')
    jobs = started(transport, root, python)
    threads = [
        threading.Thread(target=jobs.run, args=(["sleep", "0.3"],), kwargs={"timeout_s": 30}) for _ in "abc"
    ]
    for thread in threads:
        thread.start()
    # On channels of their own.
    assert jobs.run(["echo", "fine"], timeout_s=30).text == "fine\n"
    for thread in threads:
        thread.join(timeout=60)
    jobs.stop()


def test_another_python_at_the_next_start_collects_what_the_first_one_left(
    transport: Transport, root: str, tmp_path: Path
) -> None:
    jobs = started(transport, root, sys.executable)
    jobs.run_job("inv-1", ["echo", "first"], 30)
    # What another version compiled cannot be run by this one.
    (Path(jobs.spool) / "agent.pyc").write_bytes(b"\x6f\x0d\x0d\x0a" + bytes(12) + b"\xe3")
    later = started(transport, root, program(tmp_path, f'exec {sys.executable} -X utf8 "$@"'))
    (done,) = later.collect_results().values()
    assert getattr(done, "text", "") == "first\n"
    later.acknowledge("inv-1")
    later.stop()


# ---- the spool ---------------------------------------------------------------------------------------------


@pytest.fixture
def no_exec(tmp_path: Path) -> Iterator[Path]:
    """Return a file system that nothing can be executed from."""
    folder = tmp_path / "noexec"
    folder.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "noexec,size=8m,mode=0755", "perfctl-test", str(folder)]
    subprocess.run(argv, check=True, timeout=30)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=30)


def test_nothing_is_executed_from_the_spool(transport: Transport, no_exec: Path) -> None:
    jobs = started(transport, str(no_exec), "python3")
    assert jobs.run(["echo", "fine"], timeout_s=30).text == "fine\n"
    jobs.stop()


def test_a_spool_may_have_a_path_longer_than_a_sockets(transport: Transport, tmp_path: Path) -> None:
    root = str(tmp_path / ("long" * 40) / "sp ool's")
    jobs = started(transport, root, "python3")
    assert len(jobs.spool) > 150
    assert jobs.run(["cat"], timeout_s=30, stdin=b"fine").text == "fine"
    jobs.stop()
    assert not Path(jobs.spool).exists()


class OwnVarLibShell(LocalShell):
    """This machine with another /var/lib, a tmpfs that is mounted with these options."""

    def __init__(self, options: str) -> None:
        super().__init__("box")
        mount = f'mount -t tmpfs -o {options} perfctl-test /var/lib && exec "$@"'
        self._argv = ["unshare", "--mount", "sh", "-c", mount, "sh"]

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        return super().run([*self._argv, *argv], timeout_s=timeout_s, stdin=stdin)

    def stream(self, argv: Sequence[str]) -> Stream:
        return super().stream([*self._argv, *argv])


def test_where_var_lib_is_read_only_the_spool_lies_elsewhere() -> None:
    jobs = JobShell.start(OwnVarLibShell("ro"), RUN, lifetime_s=600)
    try:
        assert jobs.spool == f"/var/tmp/perfctl-{os.geteuid()}/spool/{RUN}"
        assert jobs.run(["echo", "fine"], timeout_s=30).text == "fine\n"
    finally:
        jobs.stop()
    assert not Path(jobs.spool).exists()


def test_a_read_only_place_for_the_spool_is_told_with_the_reason() -> None:
    reason = r"no place for a spool folder: /var/lib/x/run-.* Read-only file"
    with pytest.raises(CommandFailed, match=reason) as caught:
        JobShell.start(OwnVarLibShell("ro"), RUN, lifetime_s=600, spool_root="/var/lib/x")
    assert caught.value.where == "box"


def test_a_full_var_lib_is_told() -> None:
    with pytest.raises(SpoolFull, match=r"/var/lib/perfctl/spool/run-.*No space left") as caught:
        JobShell.start(OwnVarLibShell("size=4k"), RUN, lifetime_s=600)
    assert "df" in str(caught.value.hint)


# ---- another agent -----------------------------------------------------------------------------------------


def pretend_other_version(spool: str) -> None:
    path = Path(spool) / "agent.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "protocol": 99}))


def test_an_agent_of_another_version_is_replaced_unless_a_job_runs_there(
    jobs: JobShell, transport: Transport, root: str
) -> None:
    seconds = unique_seconds()

    def measure() -> None:
        with pytest.raises(Interrupted):
            jobs.run_job("inv-1", ["sleep", seconds], 90)

    thread = threading.Thread(target=measure)
    thread.start()
    wait_until(lambda: with_argument(seconds), "the job")
    pretend_other_version(jobs.spool)
    with pytest.raises(
        CommandFailed, match=r"another version runs a job there \(protocol 99, not 1\)"
    ) as caught:
        started(transport, root, "python3")
    assert "perfctl reap" in str(caught.value.hint)
    assert with_argument(seconds)
    jobs.cancel()
    thread.join(timeout=60)
    first = agent_pid(jobs.spool)
    later = started(transport, root, "python3")
    assert agents(later) != [first] and len(agents(later)) == 1
    later.stop()


def test_nobody_else_can_talk_to_an_agent(jobs: JobShell) -> None:
    assert not os.geteuid(), "this test needs root: it becomes somebody else"
    # Even where the folder is no obstacle.
    for folder in (Path(jobs.spool), *Path(jobs.spool).parents[:6]):
        if folder.stat().st_uid == os.geteuid() and str(folder) not in ("/", "/tmp"):
            folder.chmod(0o755)
    (Path(jobs.spool) / "agent.sock").chmod(0o777)
    talk = (
        "import os, socket, sys\n"
        "os.setuid(65534); os.chdir(sys.argv[1])\n"
        "link = socket.socket(socket.AF_UNIX); link.connect('agent.sock'); print(link.recv(1))"
    )
    done = subprocess.run(
        [sys.executable, "-c", talk, jobs.spool], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "b''\n"
    assert jobs.run(["echo", "fine"], timeout_s=30).text == "fine\n"
    Path(jobs.spool).chmod(0o700)


# ---- what arrives ------------------------------------------------------------------------------------------


def raw_channel(spool: str) -> tuple[socket.socket, socket.socket]:
    """Return a link to an agent and our end of its input and output."""
    link = socket.socket(socket.AF_UNIX)
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(spool)
        link.connect("agent.sock")
    finally:
        os.fchdir(before)
        os.close(before)
    ours, theirs = socket.socketpair()
    socket.send_fds(link, [b"+"], [theirs.fileno(), theirs.fileno()])
    theirs.close()
    ours.settimeout(30)
    return link, ours


def read_to_end(ours: socket.socket) -> bytes:
    found = b""
    try:
        while piece := ours.recv(1 << 16):
            found += piece
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize("sent", [b"rubbish, longer than a prefix", host_agent.pack({}, [1 << 30]), b""])
def test_a_channel_that_talks_nonsense_is_closed_and_the_others_go_on(jobs: JobShell, sent: bytes) -> None:
    link, ours = raw_channel(jobs.spool)
    ours.sendall(sent)
    ours.shutdown(socket.SHUT_WR)
    assert read_to_end(ours).startswith(host_agent.MAGIC)
    link.close()
    ours.close()
    assert jobs.run(["echo", "fine"], timeout_s=30).text == "fine\n"


def test_an_agent_answers_or_closes_whatever_arrives(jobs: JobShell) -> None:
    chance = random.Random(4)
    values: list[Any] = [
        None,
        3,
        -1,
        1e400,
        "x",
        "inv-1",
        [],
        ["a"],
        {},
        True,
        "../x",
        "a" * 200,
        [3],
        ["\ud800"],
    ]
    verbs = ["run", "spawn", "wait", "input", "is_running", "end", "output", "cancel", "list", "__init__", 3]
    names = [
        "id",
        "argv",
        "timeout_s",
        "has_input",
        "limit_bytes",
        "lease",
        "watched",
        "ids",
        "stored",
        "is_first",
    ]
    for _ in range(300):
        link, ours = raw_channel(jobs.spool)
        for _ in range(20):
            header = {
                name: chance.choice(values) for name in chance.sample(names, chance.randrange(len(names)))
            }
            data = bytearray(host_agent.pack({"verb": chance.choice(verbs), **header}))
            if chance.random() < 0.2:
                data[chance.randrange(len(data))] = chance.randrange(256)
            try:
                ours.sendall(data)
            except OSError:
                break
        ours.shutdown(socket.SHUT_WR)
        read_to_end(ours)
        ours.close()
        link.close()
    assert len(agents(jobs)) == 1
    assert jobs.run(["echo", "fine"], timeout_s=30).text == "fine\n"


def test_an_answer_that_is_no_frame_is_an_error_of_its_host(transport: Transport) -> None:
    stream = transport.stream(["echo", "this is no agent at all"])
    with pytest.raises(HostUnreachable, match="answer cannot be read"):
        AgentChannel(stream, "h1")
    stream.close()


# ---- the clock ---------------------------------------------------------------------------------------------

_SET_BACK = """
import sys, time
sys.path.insert(0, sys.argv[1])
import agent
real, readings = time.clock_gettime_ns, []
def reading(clock):
    if clock == time.CLOCK_REALTIME:
        readings.append(clock)
        # Between the two readings of a job: four each.
        return real(clock) - (3600 * 10**9 if len(readings) > 4 else 0)
    return real(clock)
time.clock_gettime_ns = reading
agent.main(["serve", sys.argv[1], "600"])
"""


def test_a_clock_that_is_set_back_during_a_job_shows_and_changes_nothing_else(
    transport: Transport, root: str
) -> None:
    spool = Path(root) / RUN
    for name in ("jobs", "work", "output"):
        (spool / name).mkdir(parents=True, mode=0o700)
    (spool / "agent.py").write_bytes(Path(host_agent.__file__).read_bytes())
    server = subprocess.Popen([sys.executable, "-c", _SET_BACK, str(spool)], start_new_session=True)
    wait_until(lambda: host_agent.live_agent(str(spool)), "the agent")
    agent = Agent(transport, "python3", str(spool))
    jobs = JobShell(lambda: (agent, agent.open_channel()))
    done = jobs.run(["sleep", "0.2"], timeout_s=30)
    assert done.started_ns is not None and done.ended_ns is not None
    assert 0.2e9 <= done.ended_ns - done.started_ns < 30e9
    step_s = parse_counters(done.counters_before, done.counters_after).clock_step_s
    assert step_s == pytest.approx(3600, abs=0.01)
    with pytest.raises(JobTimeout):
        jobs.run(["sleep", "60"], timeout_s=0.3)
    jobs.stop()
    assert server.wait(30) == 0


def test_a_spool_whose_disk_has_no_room_for_results_takes_no_job(
    transport: Transport, tmp_path: Path
) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0755", "perfctl-test", str(folder)]
    subprocess.run(argv, check=True, timeout=30)
    try:
        jobs = started(transport, str(folder), "python3")
        ballast = ["sh", "-c", 'head -c 1000000 /dev/zero >"$1"; rm -f "$1"', "sh", str(folder / "ballast")]
        assert jobs.run(ballast, timeout_s=30).exit_code == 0
        (folder / "more").write_bytes(b"")
        with (folder / "more").open("wb") as more, pytest.raises(OSError, match="No space"):
            more.write(bytes(1_000_000))
        with pytest.raises(SpoolFull, match="was not started"):
            jobs.run_job("inv-1", ["true"], 30)
        (folder / "more").unlink()
        # Once there is room it may be asked for again.
        assert jobs.run_job("inv-1", ["echo", "room"], 30).text == "room\n"
        jobs.acknowledge("inv-1")
        jobs.stop()
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=30)


def test_an_agent_does_not_end_with_a_login(jobs: JobShell) -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        os.kill(agent_pid(jobs.spool), number)
    assert jobs.run(["echo", "fine"], timeout_s=30).text == "fine\n"
