"""How a command is wrapped on its way: becoming root, passwords, marks, and reading in pieces."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfctl.agent import agent
from perfctl.environments.vm.commands import Guest, end_argv
from perfctl.errors import CommandTimeout, HostUnreachable, Refused, UsageError
from perfctl.shell.command import MARK, Elevation, command_line, login_line, refuse_if_sudo_failed, unwrap
from perfctl.shell.local import LocalShell, _Running
from perfctl.shell.reader import PieceReader
from perfctl.shell.session import PROGRAM, end_session_argv
from tests.processes import unique_seconds, wait_until, with_argument


def test_a_command_line_is_quoted_once() -> None:
    argv = ["sh", "-c", "echo 'a b' $HOME", "x\ny", ""]
    assert command_line(argv) == b"exec sh -c 'echo '\"'\"'a b'\"'\"' $HOME' 'x\ny' ''"
    assert shlex.split(command_line(argv).decode())[1:] == argv


def test_bytes_that_are_no_utf8_survive_the_command_line() -> None:
    assert command_line(["echo", b"\xff\x80".decode("utf-8", "surrogateescape")]) == b"exec echo '\xff\x80'"


SHELLS = ["sh", "bash", "tcsh", "csh", "fish", "zsh", "ksh"]


@pytest.mark.parametrize("shell", [name for name in SHELLS if shutil.which(name)])
@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=60), max_size=4))
def test_every_login_shell_reads_the_line_alike(shell: str, arguments: list[str]) -> None:
    line = login_line(["printf", "%s\\n", *arguments]).decode("ascii")
    done = subprocess.run(
        [shell, "-c", line], capture_output=True, env={"PATH": os.environ["PATH"]}, timeout=60, check=False
    )
    assert done.stdout.decode() == "".join(f"{each}\n" for each in arguments or [""]), done.stderr


def test_no_word_of_the_line_is_longer_than_the_oldest_shell_takes() -> None:
    words = login_line(["echo", "\n'!\\" * 20_000]).split()
    assert max(map(len, words)) <= 1024


def test_what_a_command_writes_just_before_it_ends_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # As on a busy machine: nothing has come for a while, and between two looks the command writes and ends.
    move, looks, go = _Running.move, [], tmp_path / "go"
    line = 'until [ -e "$0" ]; do sleep 0.01; done; echo its last line'

    def find_nothing_at_first(running: _Running, timeout_s: float) -> bool:
        looks.append(timeout_s)
        if len(looks) == 1:
            go.touch()
            running._process.wait(timeout=30)
            return False
        return move(running, timeout_s)

    monkeypatch.setattr(_Running, "move", find_nothing_at_first)
    assert LocalShell().run(["sh", "-c", line, str(go)], timeout_s=60).text == "its last line\n"


def test_what_ignores_sigterm_is_killed_in_time_where_each_look_takes_long() -> None:
    argv = ["sh", "-c", "trap '' TERM; echo; exec sleep 60"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        victim.stdout.readline()
        looks = []

        def find() -> set[int]:
            looks.append(victim.poll())
            time.sleep(0.4)
            return {victim.pid} if victim.poll() is None else set()

        assert agent.end_all(find)
    # Looks of 0.4 s for the grace of 2 s, and one or two after SIGKILL; not twenty.
    assert victim.returncode == -signal.SIGKILL
    assert len(looks) <= 8


def test_a_session_ends_with_all_that_is_in_it_and_no_other() -> None:
    seconds, others = unique_seconds(), unique_seconds()
    script = f"(trap '' TERM; exec sleep {seconds}) & setsid sleep {others} & sleep {seconds}"
    leader = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    wait_until(lambda: len(with_argument(seconds)) == 2 and len(with_argument(others)) == 1, "the processes")
    argv = end_session_argv(leader.pid, sys.executable)
    try:
        subprocess.run(argv, input=PROGRAM, timeout=60, check=True)
        assert leader.wait(timeout=60) != 0
        assert (with_argument(seconds), len(with_argument(others))) == ([], 1)
        # There is nothing left to end, and nobody by that number.
        subprocess.run(argv, input=PROGRAM, timeout=60, check=True)
    finally:
        for pid in with_argument(others):
            os.kill(int(pid), signal.SIGKILL)


def test_in_a_guest_a_command_ends_with_all_that_has_its_token() -> None:
    seconds, token = unique_seconds(), f"test-{os.getpid()}"
    script = f"(trap '' TERM; exec setsid sleep {seconds}) & trap 'exit 3' TERM; sleep {seconds} & wait"
    variables = {**os.environ, "PERFCTL_COMMAND": f"{token};"}
    command = subprocess.Popen(["sh", "-c", script], env=variables)
    Path(f"/run/perfctl.{token}.out").write_text("half\n")
    Path(f"/run/perfctl.{token}.err").write_text("why\n")
    wait_until(lambda: len(with_argument(seconds)) == 2, "the processes")
    argv = [*end_argv(Guest("g", "u"), "192.0.2.1", token)[-1:]]
    line = argv[0]
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, command.wait(timeout=60)) == (0, 3)
    assert with_argument(seconds) == []
    assert (done.stdout.endswith("half\n"), done.stderr.endswith("why\n")) == (True, True)
    assert not list(Path("/run").glob(f"perfctl.{token}.*"))


def test_without_becoming_root_there_is_no_sudo() -> None:
    argv, stdin = Elevation().wrap(["true"], b"data")
    assert argv[0] == "/bin/sh" and argv[-1] == "true" and stdin == b"data"


def test_becoming_root_never_asks() -> None:
    argv, stdin = Elevation(become=True).wrap(["true"], b"data")
    assert argv[2:5] == ["sudo", "-n", "--"] and stdin == b"data"


def test_a_password_goes_in_by_standard_input_and_is_never_shown() -> None:
    elevation = Elevation(become=True, password="s3cret")
    argv, stdin = elevation.wrap(["true"], b"data")
    assert "s3cret" not in " ".join(argv)
    assert stdin == f"s3cret\n{MARK}\ndata".encode()
    assert "s3cret" not in repr(elevation)


@pytest.mark.parametrize("password", [None, "nobody asks root for it"])
def test_root_by_sudo_has_its_own_input_output_and_exit_code(password: str | None) -> None:
    shell = LocalShell("here", Elevation(become=True, password=password))
    done = shell.run(["sh", "-c", "id -u; cat; echo err >&2; exit 6"], timeout_s=30, stdin=b"line\nrest")
    assert (done.stdout, done.stderr, done.exit_code) == (b"0\nline\nrest", b"err\n", 6)
    with pytest.raises(CommandTimeout):
        shell.run(["sleep", "60"], timeout_s=0.5)


def test_a_sudo_that_refuses_is_told_apart_from_the_command() -> None:
    said = b"sudo: a password is required\n"
    with pytest.raises(Refused, match="a password is required") as caught:
        refuse_if_sudo_failed(Elevation(become=True), "h1", said)
    assert caught.value.where == "h1" and "NOPASSWD" in str(caught.value.hint)
    refuse_if_sudo_failed(Elevation(become=False), "h1", said)
    refuse_if_sudo_failed(Elevation(become=True), "h1", f"{MARK} 12\n".encode() + said)


def test_a_sudo_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    shell = LocalShell("here", Elevation(become=True))
    for start in (lambda: shell.run(["true"], timeout_s=10), lambda: shell.stream(["true"])):
        with pytest.raises(Refused, match="sudo did not run the command") as caught:
            start()
        assert "install sudo" in str(caught.value.hint) and caught.value.exit_code == 7


@pytest.mark.parametrize(
    ("printed", "hint"),
    [
        ("sudo: sorry, you must have a tty to run sudo", "!requiretty"),
        ("sudo: a terminal is required to read the password\nsudo: a password is required", "NOPASSWD"),
        ("sh: 1: sudo: not found", "install sudo"),
        ("bash: line 1: sudo: command not found", "install sudo"),
        ("/usr/bin/env: 'sudo': No such file or directory", "install sudo"),
        ("env: can't execute 'sudo': No such file or directory", "install sudo"),
        ("Sorry, try again.\nsudo: 1 incorrect password attempt", "correct ansible_become_password"),
        ("sudo: no password was provided", "correct ansible_become_password"),
        ("ann is not in the sudoers file.", "allow the user all commands"),
        ("Sorry, user ann is not allowed to execute '/bin/sh' as root on h1.", "allow the user all commands"),
        ("Sorry, user ann may not run sudo on h1.", "allow the user all commands"),
        ("sudo: /usr/bin/sudo must be owned by uid 0 and have the setuid bit set", "cannot become root"),
        ('sudo: The "no new privileges" flag is set, which prevents sudo', "cannot become root"),
        ("/etc/sudoers:3:9: syntax error\nsudo: no valid sudoers sources found, quitting", "visudo"),
        ("sudo: /etc/sudoers is world writable", "visudo"),
        ("sudo: Account expired or PAM config lacks an account section", "chage"),
        ("", "NOPASSWD"),
    ],
)
def test_the_hint_is_for_what_sudo_said(printed: str, hint: str) -> None:
    with pytest.raises(Refused) as caught:
        refuse_if_sudo_failed(Elevation(become=True), "h1", printed.encode())
    assert hint in str(caught.value.hint)


def test_sudo_speaks_english_whatever_the_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "sudo"
    program.write_text('#!/bin/sh\n[ "$LC_ALL" = C ] && echo "you must have a tty" >&2\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    with pytest.raises(Refused) as caught:
        LocalShell("here", Elevation(become=True)).run(["true"], timeout_s=10)
    assert "requiretty" in str(caught.value.hint)


def test_what_came_before_the_mark_is_dropped_on_both_streams() -> None:
    own = unwrap(f"motd\n{MARK}\nout".encode(), f"warning\n{MARK} 77\nerr".encode())
    assert (own.stdout, own.stderr, own.pid) == (b"out", b"err", 77)


def test_without_a_mark_everything_is_kept() -> None:
    own = unwrap(b"out", b"sudo: no")
    assert (own.stdout, own.stderr, own.pid) == (b"out", b"sudo: no", None)


def test_the_wrapper_is_plain_sh() -> None:
    argv, _ = Elevation().wrap(["sh", "-c", "exit 3"])
    for shell in (["dash"], ["bash", "--posix"], ["busybox", "ash"]):
        assert (
            subprocess.run([*shell, *argv[1:]], capture_output=True, timeout=30, check=False).returncode == 3
        )


@given(st.binary(max_size=400), st.lists(st.integers(1, 50), min_size=1, max_size=40))
def test_a_reader_finds_marks_wherever_pieces_are_cut(content: bytes, sizes: list[int]) -> None:
    mark = b"0123456789abcdef"
    content = content.replace(mark, b"")
    rest = bytearray(content + mark + b"line\n" + b"xyz")
    cuts = iter(sizes * 500)

    def receive(timeout_s: float) -> bytes:
        size = next(cuts)
        piece = bytes(rest[:size])
        del rest[:size]
        return piece

    reader = PieceReader(receive, "h1", lambda: "bye")
    assert reader.until(mark, 1) == content
    assert reader.line(1) == b"line\n"
    assert reader.exactly(3, 1) == b"xyz"
    with pytest.raises(HostUnreachable, match="bye"):
        reader.line(1)


def test_a_reader_gives_up_in_time() -> None:
    with pytest.raises(CommandTimeout, match="no answer"):
        PieceReader(lambda timeout_s: None, "h1", str).line(0.5)


@pytest.mark.parametrize("argv", [[], ["a\0b"], ["a", "\ud800"]])
def test_an_impossible_command_is_refused(argv: list[str]) -> None:
    with pytest.raises(UsageError):
        command_line(argv)
