"""A link of this machine that has a lab's subnet is named before anything is made."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

import perfctl.lab
from perfctl.errors import Refused
from perfctl.lab import LabRequest, up
from perfctl.lab.engine import Labelled, LabEngine
from perfctl.lab.folder import LabFolder, LabState
from perfctl.lab.topology import resolve

OWN, OTHER = "0123456789ab" + 52 * "c", "fedcba987654" + 52 * "d"
STALE = "br-5c40d1a0b2e9"
TEST_SUBNET = IPv4Network("10.241.0.0/16")


class Played(Exception):
    """The playbook would be run now."""


def play(*arguments: object, **options: object) -> None:
    raise Played


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the machine and its engine say; changed by a test."""
    found: dict[str, object] = {"answers": False, "routes": [], "networks": {}, "labelled": ()}
    monkeypatch.setattr(LabEngine, "__init__", lambda self: None)
    for name in ("answers", "networks", "labelled"):
        monkeypatch.setattr(LabEngine, name, lambda self, name=name: found[name])
    monkeypatch.setattr(LabEngine, "names", lambda self: set())
    monkeypatch.setattr(perfctl.lab, "_is_up", lambda *arguments: False)
    monkeypatch.setattr(perfctl.lab, "routed_networks", lambda: found["routes"])
    monkeypatch.setattr(perfctl.lab, "debian_archive", play)
    return found


def refusal_of(folder: Path) -> Refused:
    with pytest.raises(Refused) as caught:
        up(folder, LabRequest())
    return caught.value


@pytest.mark.parametrize("answers", [False, True])
def test_a_bridge_that_a_killed_engine_has_left_is_named_with_how_to_remove_it(machine, tmp_path, answers):
    machine |= {"answers": answers, "routes": [("eth0", IPv4Network("192.0.2.0/24")), (STALE, TEST_SUBNET)]}
    error = refusal_of(tmp_path)
    assert error.message == (
        f"the subnet 10.241.0.0/16 is in use: the link {STALE}, which an engine that was killed has left,"
        " has 10.241.0.0/16"
    )
    assert error.hint == f"remove it (ip link delete {STALE}), or choose another subnet with --test-subnet"


def test_another_network_of_the_engine_is_named(machine, tmp_path):
    machine |= {"answers": True, "networks": {OTHER: "shop"}}
    machine |= {"routes": [("br-fedcba987654", IPv4Network("172.31.0.0/16"))]}
    error = refusal_of(tmp_path)
    assert "the link br-fedcba987654, docker's network shop, has 172.31.0.0/16" in error.message
    assert error.hint == "choose another subnet with --management-subnet"


def labelled(folder: LabFolder) -> tuple[Labelled, ...]:
    return (Labelled(True, OWN, "lab-test", "lab", str(folder.state_dir)),)


@pytest.mark.parametrize("answers", [False, True])
def test_the_labs_own_bridge_and_a_wider_route_are_let_be(machine, tmp_path, answers):
    folder = LabFolder(tmp_path, "lab")
    folder.state_dir.mkdir(parents=True)
    folder.write(LabState(resolve(LabRequest(), None), {}, {"lab-test": OWN}))
    machine |= {"answers": answers, "labelled": labelled(folder), "networks": {OWN: "lab-test"}}
    machine |= {"routes": [("br-0123456789ab", TEST_SUBNET), ("tun0", IPv4Network("10.0.0.0/8"))]}
    with pytest.raises(Played):
        up(tmp_path, LabRequest())
    # Beside it, of an engine before this one: which of the two gets a packet is anybody's guess.
    machine["routes"] = [("br-0123456789ab", TEST_SUBNET), (STALE, TEST_SUBNET)]
    assert STALE in refusal_of(tmp_path).message
