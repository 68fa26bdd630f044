"""What every shell promises, tried over each kind of shell."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfctl.environments import EnvironmentShell, label, launcher
from perfctl.errors import CommandFailed, CommandTimeout, UsageError
from perfctl.execute.network_path import probe_paths
from perfctl.facts import read_inside
from perfctl.inventory import load_hosts
from perfctl.job import JobShell, JobTimeout
from perfctl.model import ResourceUsage, new_id
from perfctl.shell import Completed, Shell
from perfctl.ssh import connect
from tests.lab import LabAtHand
from tests.processes import unique_seconds, wait_until

_MIB = 1 << 20
_EACH = 'for a in "$@"; do printf "%s\\0" "$a"; done'
_FIND = "grep -lzxFf - /proc/[0-9]*/cmdline 2>/dev/null"


def with_argument(shell: Shell, text: str) -> list[str]:
    """Return the ids of processes where the shell's commands run that have exactly this argument.

    Asked there, for a guest's processes are seen nowhere else; the text is on no command line of the asker.
    """
    found = shell.run(["sh", "-c", _FIND], timeout_s=30, stdin=text.encode())
    return [path.split("/")[2] for path in found.text.split()]


# Of each list the last value is the one that the slowest shell is tried with (conftest.py).
@pytest.mark.parametrize("code", [0, 1, 124, 255, 3])
def test_an_exit_code_is_a_value(shell: Shell, code: int) -> None:
    assert shell.run(["sh", "-c", f"exit {code}"], timeout_s=30).exit_code == code


def test_a_command_that_a_signal_ends_exits_128_and_the_signal(shell: Shell) -> None:
    assert shell.run(["sh", "-c", "kill -9 $$"], timeout_s=30).exit_code == 137
    assert shell.run(["sh", "-c", "kill -15 $$"], timeout_s=30).exit_code == 143


def test_a_missing_program_exits_127_and_says_its_name(shell: Shell) -> None:
    done = shell.run(["no-such-program-here"], timeout_s=30)
    assert done.exit_code == 127
    assert "no-such-program-here" in done.error_text


def test_a_file_that_is_no_program_exits_126(shell: Shell) -> None:
    assert shell.run(["/etc/passwd"], timeout_s=30).exit_code == 126


def test_the_streams_are_kept_apart(shell: Shell) -> None:
    done = shell.run(["sh", "-c", "echo out; echo err >&2; echo more"], timeout_s=30)
    assert (done.stdout, done.stderr) == (b"out\nmore\n", b"err\n")
    assert done.argv == ("sh", "-c", "echo out; echo err >&2; echo more")


@pytest.mark.parametrize(
    "stdin", [b"a line\n", b"no newline", b"x" * (5 * _MIB), bytes(range(256)) * 300], ids=len
)
def test_standard_input_arrives_whole(shell: Shell, stdin: bytes) -> None:
    assert shell.run(["cat"], timeout_s=60, stdin=stdin).stdout == stdin


def test_standard_input_that_nobody_reads_does_no_harm(shell: Shell) -> None:
    assert shell.run(["sh", "-c", "exit 7"], timeout_s=30, stdin=b"x" * 3 * _MIB).exit_code == 7


def test_without_standard_input_a_reader_sees_its_end(shell: Shell) -> None:
    assert shell.run(["cat"], timeout_s=30).stdout == b""


def test_much_output_on_both_streams_at_once(shell: Shell) -> None:
    script = f"head -c {3 * _MIB} /dev/zero >&2 & head -c {3 * _MIB} /dev/urandom; wait"
    done = shell.run(["sh", "-c", script], timeout_s=60)
    assert (len(done.stdout), len(done.stderr)) == (3 * _MIB, 3 * _MIB)
    assert done.stderr == bytes(3 * _MIB)


ARGUMENTS = [
    "",
    " ",
    "two words",
    " around ",
    "'single'",
    '"double"',
    'it\'s "both"',
    "$HOME ${x} $(id) `id`",
    "back\\slash \\n \\",
    "a\nb",
    "\n",
    "ends in newline\n",
    "'\"$nl\"'",
    "tab\there",
    "\r\n",
    "* ? [a] ~ {a,b}",
    "! # & ; | < > ( )",
    "-n",
    "--",
    "grüße 世界 🙂",
    os.fsdecode(bytes(range(128, 256))),
    "\x01\x02\x7f\x1b[31m",
    "x" * 20_000,
]


def test_arguments_arrive_as_they_are(shell: Shell) -> None:
    # In one command: in an emulated guest each takes a second.
    done = shell.run(["sh", "-c", _EACH, "sh", "first", *ARGUMENTS, "last"], timeout_s=30)
    arrived = done.stdout.split(b"\0")
    assert arrived == [b"first", *map(os.fsencode, ARGUMENTS), b"last", b""]


@pytest.mark.parametrize("argv", [[], ["echo", "a\0b"]])
def test_what_no_command_line_can_carry_is_refused(shell: Shell, argv: list[str]) -> None:
    with pytest.raises(UsageError):
        shell.run(argv, timeout_s=30)


def test_a_timeout_ends_the_command_and_its_children(shell: Shell) -> None:
    seconds = unique_seconds()
    script = f"(trap '' TERM; sleep {seconds}; :) & sleep {seconds}"
    with pytest.raises(CommandTimeout) as caught:
        shell.run(["sh", "-c", script], timeout_s=0.5)
    assert caught.value.exit_code == 124
    assert caught.value.where == shell.name
    assert with_argument(shell, seconds) == []


def test_after_a_timeout_the_shell_goes_on(shell: Shell) -> None:
    with pytest.raises(CommandTimeout):
        shell.run(["sleep", "60"], timeout_s=0.2)
    assert shell.run(["echo", "still here"], timeout_s=30).text == "still here\n"


def test_a_child_that_holds_the_output_open_is_not_waited_for(shell: Shell) -> None:
    seconds = unique_seconds()
    done = shell.run(["sh", "-c", f"sleep {seconds} & echo done"], timeout_s=30)
    assert (done.exit_code, done.text) == (0, "done\n")
    shell.run(["sh", "-c", 'kill -9 "$@"', "sh", *with_argument(shell, seconds)], timeout_s=30)


def test_a_background_command_runs_until_it_is_stopped(shell: Shell) -> None:
    seconds = unique_seconds()
    process = shell.spawn(["sh", "-c", f"echo ready; echo warning >&2; sleep {seconds} & sleep {seconds}"])
    try:
        wait_until(lambda: "ready" in process.output() and "warning" in process.output(), "its words")
        wait_until(lambda: len(with_argument(shell, seconds)) == 2, "both sleepers")
        assert process.is_running()
    finally:
        process.stop()
    assert not process.is_running()
    assert with_argument(shell, seconds) == []
    process.stop()
    assert "ready" in process.output()


def test_a_background_command_that_ends_by_itself_is_seen_to(shell: Shell) -> None:
    process = shell.spawn(["sh", "-c", "echo cannot bind >&2; exit 1"])
    wait_until(lambda: not process.is_running(), "its end")
    assert process.output() == "cannot bind\n"
    process.stop()


def test_a_background_program_that_is_missing_says_so(shell: Shell) -> None:
    process = shell.spawn(["no-such-server"])
    wait_until(lambda: not process.is_running(), "its end")
    assert "no-such-server" in process.output()
    process.stop()


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_a_file_arrives_with_its_mode(shell: Shell, tmp_path: Path, mode: int) -> None:
    content = os.urandom(100_000)
    source, target = tmp_path / "source", f"/tmp/perfctl-contract-{os.getpid()}-{mode:o} $x"
    source.write_bytes(content)
    try:
        shell.put(source, target, mode=mode)
        assert shell.get(target) == content
        assert shell.run(["stat", "-c", "%a", target], timeout_s=30).text.strip() == f"{mode:o}"
    finally:
        shell.run(["rm", "-f", target], timeout_s=30)


def test_a_file_that_is_there_is_replaced(shell: Shell, tmp_path: Path) -> None:
    source, target = tmp_path / "source", f"/tmp/perfctl-contract-{os.getpid()}-twice"
    try:
        for content in (b"at first, and longer", b"anew"):
            source.write_bytes(content)
            shell.put(source, target, mode=0o600)
        assert shell.get(target) == b"anew"
    finally:
        shell.run(["rm", "-f", target], timeout_s=30)


def test_copying_what_is_not_there_fails_clearly(shell: Shell, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="/no/such/file"):
        shell.get("/no/such/file")
    with pytest.raises(UsageError, match="cannot read"):
        shell.put(tmp_path / "absent", "/tmp/perfctl-absent", mode=0o600)
    (tmp_path / "there").write_bytes(b"x")
    with pytest.raises(CommandFailed, match="/no/such/folder"):
        shell.put(tmp_path / "there", "/no/such/folder/file", mode=0o600)


def test_many_threads_at_once_get_their_own_answers(shell: Shell) -> None:
    def ask(number: int) -> bool:
        done = shell.run(["sh", "-c", f"echo {number}; sleep 0.05; exit {number}"], timeout_s=60)
        return done.text == f"{number}\n" and done.exit_code == number

    with ThreadPoolExecutor(max_workers=6) as pool:
        assert all(pool.map(ask, range(6)))


# ---- what a command uses -----------------------------------------------------------------------------------

LIMIT_BYTES = 1 << 20
TIMES: dict[str, Any] = {
    **{"started_ns": None, "ended_ns": None},
    **{"counters_before": b"", "counters_after": b"", "task": b""},
}
WITH_LAUNCHER = [
    pytest.param("native with limits", marks=pytest.mark.lab("first")),
    pytest.param("container of a host", marks=pytest.mark.lab("first")),
    pytest.param("vm over jobs over ssh", marks=pytest.mark.lab("third")),
]
IN_GUEST = pytest.param("container in vm", marks=[pytest.mark.lab("third"), pytest.mark.slow])
# By the kernel's own account, so that whatever else runs does no harm.
_BURN = "while ((times)[0] < 1.0) { for (1..100000) {} } print ((times)[0])"


def launched(shell: Shell, argv: Sequence[str], timeout_s: float = 120) -> Completed:
    return launcher.run(shell, argv, timeout_s=timeout_s, output_limit_bytes=LIMIT_BYTES)


@pytest.mark.parametrize("shell", [*WITH_LAUNCHER, IN_GUEST], indirect=True)
def test_a_second_of_user_time_is_found_wherever_it_is_burnt(shell: Shell) -> None:
    # In a child, which is waited for.
    done = launched(shell, ["sh", "-c", 'perl -e "$0"; exit 7', _BURN])
    assert done.exit_code == 7 and done.usage is not None
    user_s = done.usage.user_s
    assert user_s is not None and float(done.text) <= user_s < float(done.text) + 0.2
    assert (done.usage.source, done.usage.missing) == ("wait4", "")
    assert done.usage.minor_faults and done.usage.voluntary_switches
    assert {"Seccomp", "CapEff", "Cpus_allowed_list"} <= label.parse_task(done.task).keys()


@pytest.mark.parametrize("shell", WITH_LAUNCHER, indirect=True)
def test_the_memory_of_a_small_program_is_its_own(shell: Shell) -> None:
    small = launched(shell, ["true"]).usage
    assert small is not None and small.max_rss_bytes is not None
    assert 0.3 * _MIB < small.max_rss_bytes < 4 * _MIB, "an agent's 10 MiB would be seen"
    large = launched(shell, ["perl", "-e", "$_ = 'x' x (32 << 20)"]).usage
    assert large is not None and large.max_rss_bytes is not None
    assert 32 * _MIB < large.max_rss_bytes < 128 * _MIB


@pytest.mark.parametrize("shell", WITH_LAUNCHER, indirect=True)
def test_the_launcher_changes_nothing_but_what_is_known(shell: Shell) -> None:
    same = "env | grep -v ^PERFCTL_; pwd; umask; ulimit -a"
    group = "read -r pid name state parent group rest </proc/self/stat; test $pid = $group; echo $?"
    for script in ("echo out; printf err >&2; exit 3", f"{group}; {same}"):
        argv = ["sh", "-c", script]
        plain, done = shell.run(argv, timeout_s=60), launched(shell, argv)
        assert replace(plain, usage=None, **TIMES) == replace(done, usage=None, **TIMES)
    done = launched(shell, ["sh", "-c", "kill -15 $$"])
    assert (done.exit_code, done.stdout, done.stderr) == (143, b"", b"")
    for argv, code in ((["no-such-program-here", "x"], 127), (["/etc/passwd"], 126)):
        done = launched(shell, argv)
        assert (done.exit_code, done.usage) == (code, ResourceUsage.unknown(launcher.NO_LINE))
        assert argv[0] in done.error_text and launcher.PROGRAM not in done.error_text


@pytest.mark.parametrize("shell", WITH_LAUNCHER, indirect=True)
def test_a_timeout_ends_what_was_launched(shell: Shell) -> None:
    seconds = unique_seconds()
    script = f"trap '' TERM; echo begun; (sleep {seconds}; :) & sleep {seconds}; sleep {seconds}"
    with pytest.raises(CommandTimeout, match="sh did not end") as caught:
        launched(shell, ["sh", "-c", script], timeout_s=1.0)
    assert isinstance(caught.value, JobTimeout)
    assert caught.value.completed.argv == ("sh", "-c", script)
    assert with_argument(shell, seconds) == []


# ---- limits that control groups of version 2 hold ----------------------------------------------------------


@pytest.mark.parametrize(
    "shell", [pytest.param("container in vm", marks=pytest.mark.lab("third"))], indirect=True
)
def test_control_groups_of_version_2_hold_every_limit(shell: EnvironmentShell) -> None:
    facts = {fact.name: fact.value for fact in read_inside(shell, timeout_s=120).facts}
    assert facts["cgroup.version"] == "2"
    assert {"cpu", "cpuset", "memory"} <= set(facts["cgroup.controllers"].split())
    assert facts["cgroup.memory_max"] == str(512 * _MIB)
    assert facts["cgroup.cpu_max"] == "100000 100000"
    assert facts["cgroup.cpuset_cpus_effective"] == facts["task.cpus_allowed"] == "0"


# ---- what a container in a guest promises beyond that ------------------------------------------------------


@pytest.mark.parametrize(
    "shell", [pytest.param("container in vm", marks=pytest.mark.lab("third"))], indirect=True
)
def test_a_container_in_a_guest_is_reached_like_any_other(
    shell: EnvironmentShell, third_host: LabAtHand
) -> None:
    assert shell.name.endswith("/vm/container-in-vm")
    assert shell.boot is not None and shell.boot.accelerator in ("kvm", "tcg")
    assert list(shell.opening_s)[-1] == "made"
    assert shell.opening_s["made"] > shell.opening_s["ssh"]
    assert shell.host_processes.startswith("pidfile:")
    assert shell.is_alive()
    assert b"perfctl: engine" in shell.artifacts()["console"]
    assert shell.run(["hostname"], timeout_s=60).text != "guest\n"
    (host,) = load_hosts([str(third_host.inventory)])
    transport = connect(host)
    outside = JobShell.start(transport, f"contract-{new_id()}", lifetime_s=600)
    assert probe_paths(outside, {"inside": shell.address})["inside"].state == "ok"
    outside.stop()
    transport.close()
