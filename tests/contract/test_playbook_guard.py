"""ansible-playbook ends with perfctl, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from perfctl.playbook.guard import VARIABLE, marked
from tests.processes import unique_seconds, wait_until, with_argument

GUARDED = f"""
import os, subprocess, sys
from perfctl.playbook.guard import guarded
mark, seconds = sys.argv[1].split("=")
with guarded(mark):
    environ = os.environ | {{"{VARIABLE}": mark}}
    subprocess.Popen(["sleep", seconds], env=environ, stdout=subprocess.DEVNULL, start_new_session=True)
    print("ready", flush=True)
    sys.stdin.read()
"""

PLAYBOOK = """
import sys
from perfctl.playbook import run_playbook
print("ready", flush=True)
run_playbook(sys.argv[1], inventory=["here,"], timeout_s=600)
"""


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_what_has_the_mark_is_ended_when_its_caller_is_killed() -> None:
    seconds = unique_seconds()
    mark = f"mark-{seconds}"
    process = start(GUARDED, f"{mark}={seconds}")
    wait_until(lambda: with_argument(seconds), "the command to run")
    process.kill()
    process.communicate(timeout=30)
    wait_until(lambda: not with_argument(seconds), "the command to be ended")
    assert marked(mark) == []


def test_nothing_is_ended_when_the_caller_goes_on() -> None:
    seconds = unique_seconds()
    process = start(GUARDED, f"mark-{seconds}={seconds}")
    wait_until(lambda: with_argument(seconds), "the command to run")
    process.communicate(timeout=30)
    assert process.returncode == 0
    (left,) = with_argument(seconds)
    os.kill(left, signal.SIGKILL)


def test_a_playbook_ends_when_perfctl_is_killed(tmp_path: Path) -> None:
    seconds = unique_seconds()
    playbook = tmp_path / "slow.yml"
    playbook.write_text(
        "- hosts: all\n  gather_facts: false\n"
        '  vars: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}\n'
        f"  tasks:\n    - ansible.builtin.command: sleep {seconds}\n"
    )
    process = start(PLAYBOOK, str(playbook))
    wait_until(lambda: with_argument(seconds), "the task to run", timeout_s=120)
    process.kill()
    process.communicate(timeout=30)
    wait_until(lambda: not with_argument(seconds), "the task to be ended")
    wait_until(lambda: not with_argument(str(playbook)), "ansible-playbook to be ended")
