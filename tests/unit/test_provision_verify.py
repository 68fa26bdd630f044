"""What `verify` reports of hosts that it did not reach."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import pytest

from perfctl.errors import UsageError
from perfctl.model import Host
from perfctl.playbook import PlaybookResult, TaskFailure
from perfctl.provision import verify

BASTION = (("ProxyJump", "bastion.example.net"),)
HOSTS = [Host("near", "192.0.2.1"), Host("far", "192.0.2.2", ssh_options=BASTION)]
LOST = "Connection closed by UNKNOWN port 65535"


def messages(monkeypatch: pytest.MonkeyPatch, failures: Sequence[TaskFailure], hosts: Any) -> dict[str, str]:
    module = import_module("perfctl.provision.verify")
    result = PlaybookResult({}, tuple(failures))
    monkeypatch.setattr(module, "run_playbook", lambda *args, **settings: result)
    monkeypatch.setattr(module, "load_hosts", hosts)
    return {failure.host: failure.message for failure in verify(["hosts.yml"]).failures}


def test_a_jump_host_before_a_host_that_was_not_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = [TaskFailure(host.name, "Read", LOST, unreachable=True) for host in HOSTS]
    found = messages(monkeypatch, lost, lambda *args, **settings: HOSTS)
    assert found["near"] == LOST
    assert LOST in found["far"] and "through jump host bastion.example.net" in found["far"]


def test_an_inventory_that_cannot_be_read_again_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **settings: object) -> list[Host]:
        raise UsageError("no such inventory")

    lost = [TaskFailure("far", "Read", LOST, unreachable=True)]
    assert messages(monkeypatch, lost, broken) == {"far": LOST}


def test_a_task_that_failed_does_not_read_the_inventory(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **settings: object) -> list[Host]:
        raise AssertionError

    failed = [TaskFailure("far", "Read", "disk full")]
    assert messages(monkeypatch, failed, never) == {"far": "disk full"}
