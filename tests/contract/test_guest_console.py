"""What host.sh makes of a guest's console: run by sh, with a process in qemu's place that writes one."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from perfctl.environments.vm import commands
from tests.processes import wait_until

SOFT_LOCKUP = "[   61.2] watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [runc:488]"
STALL = "[   42.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:"
OWN_STALL = "[   42.0] rcu: INFO: rcu_sched self-detected stall on CPU"
EXPEDITED = "[   42.0] rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-... }"
CHATTER = (
    "[    0.0] Linux version 6.1.0\n"
    "[    0.4] rcu: Hierarchical RCU implementation.\n"
    "[    0.5] rcu: \tRCU CPU stall warnings timeout set to 21 (rcu_cpu_stall_timeout).\n"
    "[    0.6] NMI watchdog: Perf NMI watchdog permanently disabled\n"
    "[   99.0] INFO: task dd:12 blocked for more than 120 seconds.\n"
)

# The functions without the line that calls one of them.
FUNCTIONS, _, _CALL = commands.host_argv("survey")[2].rpartition("\nverb=$1\n")


def test_each_guest_has_an_address_of_its_own(tmp_path):
    for name in ("guests", "addresses"):
        (tmp_path / name).mkdir()
    code = FUNCTIONS.replace(f"vm={commands.FOLDER}\n", f"vm={shlex.quote(str(tmp_path))}\n", 1)
    argv = ["sh", "-c", f'{code}\nclaim "$@"', "sh"]

    def claim(name: str, *addresses: str) -> tuple[int, str, str]:
        asked = [*argv, name, "RUN", f"uuid-{name}", "pfc1", *addresses]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    both = ("10.0.0.1", "10.0.0.9")
    assert claim("probe") == (0, "", "")
    assert [claim(name, *both)[1] for name in ("g1", "g2")] == ["10.0.0.1\n", "10.0.0.9\n"]
    assert claim("g3", *both) == (13, "", "g1\ng2\n")
    assert claim("g1", *both)[0] == 11
    assert (tmp_path / "guests" / "g2" / "uuid").read_text() == "uuid-g2\n"


def boot(
    folder: Path, console: str, *, quiet_s: int = 1, seconds: int = 20
) -> subprocess.CompletedProcess[str]:
    """Run `start` until `perfctl: kernel`; the shell commands `console` write what the guest prints."""
    (folder / "guests" / "g").mkdir(parents=True)
    fakes = f"""
libvirt() {{ [ "$1" = create ] && {{ ( exec >>"$guest/console.log"; {console} ) & qemu=$!; }}; }}
qemu_pid() {{ :; }}
"""
    code = FUNCTIONS.replace(f"vm={commands.FOLDER}\n", f"vm={shlex.quote(str(folder))}\n", 1)
    call = f'start g UUID kernel {seconds} {quiet_s} "" --; code=$?; kill "$qemu" 2>/dev/null; exit $code'
    return subprocess.run(
        ["sh", "-c", f"{code}\n{fakes}\n{call}"],
        input="<domain/>",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_first_output_and_the_first_program_are_timed(tmp_path):
    done = boot(tmp_path, f"printf %s {shlex.quote(CHATTER)}; echo 'perfctl: kernel'; sleep 30")
    assert done.returncode == 0, done.stderr
    assert [line.partition(" ")[0] for line in done.stdout.splitlines()] == ["console", "kernel"]


def test_a_first_line_that_has_no_end_yet_is_output_and_so_is_its_end(tmp_path):
    done = boot(tmp_path, "printf perf; sleep 0.2; echo 'ctl: kernel'; sleep 30")
    assert [line.partition(" ")[0] for line in done.stdout.splitlines()] == ["console", "kernel"]


@pytest.mark.parametrize("first", ["", "printf 'Linux version 6'; ", f"echo {shlex.quote(CHATTER)}; "])
def test_a_kernel_that_prints_nothing_for_too_long_is_given_up(tmp_path, first):
    done = boot(tmp_path, f"{first}sleep 30")
    assert done.returncode == 15
    assert done.stdout.splitlines()[-1] == "why no_output 1"


def test_a_kernel_that_is_slow_but_prints_is_waited_for(tmp_path):
    slow = "for line in 1 2 3 4 5; do echo $line; sleep 0.5; done; echo 'perfctl: kernel'; sleep 30"
    assert boot(tmp_path, slow, quiet_s=2).returncode == 0


@pytest.mark.parametrize("line", [SOFT_LOCKUP, STALL, OWN_STALL, EXPEDITED])
def test_a_stall_on_the_way_up_ends_the_wait_at_once(tmp_path, line):
    done = boot(tmp_path, f"echo {shlex.quote(CHATTER + line)}; sleep 30", quiet_s=20)
    assert done.returncode == 15
    assert done.stdout.splitlines()[-1] == f"why stalled {line}"


def test_a_panic_after_a_stall_is_the_panic(tmp_path):
    done = boot(tmp_path, f"echo {shlex.quote(SOFT_LOCKUP)}; echo 'Kernel panic - not syncing: x'; sleep 30")
    assert done.stdout.splitlines()[-1] == "why panicked Kernel panic - not syncing: x"


# --- under a command ----------------------------------------------------------------------------------------

FAKE_VIRSH = """#!/bin/sh
case " $* " in
  *" event "*) exec sleep 60 ;;
  *" destroy "*) echo "$*" >>"$CALLS" ;;
esac
"""


@pytest.fixture
def link(tmp_path, monkeypatch):
    """Start what holds a guest's connection, with a sleeping ssh; end it and all that it started."""
    (tmp_path / "virsh").write_text(FAKE_VIRSH)
    (tmp_path / "virsh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    (tmp_path / "console.log").write_text(f"{CHATTER}perfctl: ssh\n")
    texts = f'{FUNCTIONS}\nprintf "%s\\0%s" "$link" "$stalls"'
    code, stalls = subprocess.run(
        ["sh", "-c", texts], capture_output=True, text=True, timeout=60, check=True
    ).stdout.split("\0")
    process = subprocess.Popen(
        ["sh", "-c", code, "perfctl-link", tmp_path, "UUID", "URI", stalls, "sleep", "60"],
        start_new_session=True,
    )
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)


@pytest.mark.parametrize("line", [SOFT_LOCKUP, STALL])
def test_a_stall_ends_the_connection_and_the_guest(tmp_path, link, line):
    with (tmp_path / "console.log").open("a") as console:
        console.write(f"{line}\n")
    link.wait(timeout=30)
    assert "destroy UUID" in (tmp_path / "calls").read_text()
    assert_gone(link.pid)


def test_nothing_is_left_of_a_connection_that_is_ended(tmp_path, link):
    wait_until(lambda: len(in_session(link.pid)) > 4, "tail, grep, virsh and ssh run")
    os.killpg(link.pid, signal.SIGTERM)
    link.wait(timeout=30)
    assert_gone(link.pid)
    assert not (tmp_path / "calls").exists()


@pytest.mark.parametrize("line", [*CHATTER.splitlines(), "perfctl: kernel", "Kernel panic - not syncing"])
def test_other_lines_of_a_kernel_are_no_stall(line):
    grep = subprocess.run(
        ["sh", "-c", f'{FUNCTIONS}\ngrep -qE "$stalls"'], input=line, text=True, timeout=60, check=False
    )
    assert grep.returncode == 1


def in_session(session: int) -> list[str]:
    listed = ["pgrep", "-s", str(session)]
    return subprocess.run(listed, capture_output=True, text=True, timeout=60, check=False).stdout.split()


def assert_gone(session: int) -> None:
    wait_until(lambda: not in_session(session), "nothing of the connection is left")
