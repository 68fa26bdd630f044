"""Which settings Ansible gets: ours, unless the user's own say otherwise."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import yaml

from perfctl import assets
from perfctl.errors import UsageError
from perfctl.playbook import run_playbook
from perfctl.playbook.runner import _environment


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the environment of a user without any ansible.cfg."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return {"PATH": "/usr/bin"}


def test_our_settings_where_nobody_says_otherwise(nobody: dict[str, str]) -> None:
    settings = _environment(nobody, "mark")
    assert settings["ANSIBLE_GATHERING"] == "explicit"
    assert settings["ANSIBLE_PIPELINING"] == "True"
    assert settings["ANSIBLE_HOST_KEY_CHECKING"] == "True"
    assert settings["PERFCTL_PLAYBOOK_ID"] == "mark"
    assert settings["LC_ALL"] == "C.UTF-8"
    assert settings["ANSIBLE_SSH_ARGS"] == "-o ControlMaster=auto -o ControlPersist=60s"  # no -C


def test_what_a_killed_ansible_left_is_looked_for_where_it_works(nobody: dict[str, str]) -> None:
    (play,) = yaml.safe_load((assets.playbooks_dir() / "provision.yml").read_text())
    (task,) = [task for task in play["pre_tasks"] if "ansible.builtin.find" in task]
    assert _environment(nobody, "")["ANSIBLE_REMOTE_TEMP"] == task["ansible.builtin.find"]["paths"]


def test_programs_are_found_beside_the_running_python(nobody: dict[str, str]) -> None:
    assert _environment(nobody, "")["PATH"] == f"{Path(sys.executable).parent}{os.pathsep}/usr/bin"


def test_the_users_environment_wins(nobody: dict[str, str]) -> None:
    settings = _environment({**nobody, "ANSIBLE_HOST_KEY_CHECKING": "False"}, "")
    assert settings["ANSIBLE_HOST_KEY_CHECKING"] == "False"


def test_the_users_ansible_cfg_wins(nobody: dict[str, str], tmp_path: Path) -> None:
    text = "[defaults]\nhost_key_checking = False\n[ssh_connection]\npipelining = False\n"
    (tmp_path / "ansible.cfg").write_text(text)
    settings = _environment(nobody, "")
    assert settings["ANSIBLE_HOST_KEY_CHECKING"] == "False"
    assert settings["ANSIBLE_PIPELINING"] == "False"
    assert settings["ANSIBLE_GATHERING"] == "explicit"


def test_a_broken_ansible_cfg_is_left_to_ansible(nobody: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").write_text("no section\n")
    assert _environment(nobody, "")["ANSIBLE_GATHERING"] == "explicit"


@pytest.mark.parametrize("option", ["-K", "--ask-become-pass", "-k", "--ask-vault-pass"])
def test_options_that_ask_are_refused(option: str, tmp_path: Path) -> None:
    playbook = tmp_path / "p.yml"
    playbook.write_text("[]\n")
    with pytest.raises(UsageError, match="would prompt"):
        run_playbook(playbook, inventory=["localhost,"], passthrough=[option], timeout_s=5)


def test_a_playbook_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such playbook"):
        run_playbook(tmp_path / "none.yml", inventory=["localhost,"], timeout_s=5)
