"""run_playbook with the real Ansible, on this machine without ssh."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest

from perfctl.errors import CommandTimeout, NoHostMatched, PlaybookFailed
from perfctl.model import Event, Listener, Note, TaskEnded, TaskStarted, ignore
from perfctl.playbook import PlaybookResult, run_playbook

INVENTORY = """\
all:
  vars: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  hosts:
    one: {}
    two: {}
    gone: {ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 1}
"""

PLAYBOOK = """\
- hosts: all
  gather_facts: false
  tasks:
    - name: Write
      ansible.builtin.copy:
        {content: "{{ text }}\\n", dest: "{{ folder }}/{{ inventory_hostname }}", mode: "0600"}
    - name: Fail on one host
      ansible.builtin.command: sh -c "echo the disk is full >&2; exit 3"
      when: inventory_hostname == fails | default('')
    - name: Wait for the listener
      ansible.builtin.wait_for: {path: "{{ awaited }}", timeout: 60}
      when: awaited is defined
    - name: Sleep
      ansible.builtin.command: "sleep {{ nap }}"
      when: nap is defined
"""

MARK = "PERFCTL_TEST_PLAYBOOK"


class Play:
    """A folder with an inventory and a playbook, and how to run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "hosts.yml").write_text(INVENTORY)
        (folder / "play.yml").write_text(PLAYBOOK)

    def run(
        self,
        *,
        playbook: str = "play.yml",
        limit: str = "one:two",
        listener: Listener = ignore,
        is_check: bool = False,
        timeout_s: float = 120,
        **variables: Any,
    ) -> PlaybookResult:
        return run_playbook(
            self.folder / playbook,
            inventory=[str(self.folder / "hosts.yml")],
            limit=limit,
            extra_vars={"folder": str(self.folder), "text": "written", **variables},
            check=is_check,
            diff=is_check,
            listener=listener,
            timeout_s=timeout_s,
        )

    def processes(self) -> list[str]:
        """Return the command lines of all processes that this test's playbooks have left."""
        wanted, found = f"{MARK}={self.folder}".encode(), []
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                is_ours = process.name.isdigit() and process.name != str(os.getpid())
                if is_ours and wanted in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_text())
        return found


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Return a playbook for this test, whose processes can be told from those of others."""
    monkeypatch.setenv(MARK, str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return Play(tmp_path)


def test_one_host_fails_and_the_other_is_done(play: Play, capfd: pytest.CaptureFixture[str]) -> None:
    result = play.run(fails="two")
    assert (result.hosts["one"].changed, result.hosts["one"].failures) == (1, 0)
    assert (result.hosts["two"].changed, result.hosts["two"].failures) == (1, 1)
    (failure,) = result.failures
    assert (failure.host, failure.task, failure.message) == ("two", "Fail on one host", "the disk is full")
    with pytest.raises(PlaybookFailed, match="the disk is full"):
        result.raise_for_failures()
    assert (play.folder / "one").read_text() == "written\n"
    assert capfd.readouterr() == ("", "")  # quiet: what happens goes to the listener


def test_a_host_that_cannot_be_reached_is_a_value(play: Play) -> None:
    result = play.run(limit="one:gone")
    assert result.hosts["one"].succeeded
    assert result.hosts["gone"].unreachable == 1
    assert [(failure.host, failure.unreachable) for failure in result.failures] == [("gone", True)]


def test_check_and_diff_change_nothing_and_show_everything(play: Play) -> None:
    told: list[Event] = []
    (play.folder / "one").write_text("before\n")
    play.run(limit="one", is_check=True, listener=told.append)
    assert (play.folder / "one").read_text() == "before\n"
    assert told.index(TaskStarted("one", "Write")) < told.index(TaskEnded("one", "Write", "changed"))
    (diff,) = [event.text for event in told if isinstance(event, Note) and "+++" in event.text]
    assert "-before" in diff
    assert "+written" in diff


def test_the_listener_hears_of_a_task_while_the_next_one_runs(play: Play) -> None:
    awaited = play.folder / "heard"

    def listener(event: Event) -> None:
        if isinstance(event, TaskEnded) and event.task == "Write":
            awaited.touch()

    result = play.run(limit="one", listener=listener, awaited=str(awaited))
    assert result.failures == ()


def test_variables_lie_in_no_file_afterwards(play: Play) -> None:
    memory = Path("/dev/shm")
    before = set(memory.glob("perfctl-*"))
    during: list[int] = []

    def listener(event: Event) -> None:
        modes = [path.stat().st_mode & 0o777 for path in set(memory.glob("perfctl-*")) - before]
        during.extend(modes)

    play.run(limit="one", listener=listener, text="a secret")
    assert set(during) == {0o700}
    files = [path for path in play.folder.rglob("*") if path.is_file() and path.name != "one"]
    assert not any(b"a secret" in path.read_bytes() for path in files)


def test_a_timeout_ends_ansible_and_its_workers(play: Play) -> None:
    with pytest.raises(CommandTimeout, match="did not end in 5 s"):
        play.run(limit="one", nap=300, timeout_s=5)
    assert play.processes() == []


def test_an_interrupt_ends_ansible_and_its_workers(play: Play) -> None:
    def listener(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play.run(limit="one", nap=300, listener=listener)
    assert play.processes() == []


def test_a_limit_that_leaves_nobody(play: Play) -> None:
    with pytest.raises(NoHostMatched):
        play.run(limit="three")


def test_a_broken_playbook_is_told_in_ansibles_words(play: Play) -> None:
    (play.folder / "broken.yml").write_text("- hosts: [\n")
    with pytest.raises(PlaybookFailed, match="YAML parsing failed"):
        play.run(playbook="broken.yml")
