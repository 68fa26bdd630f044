"""The script that asks whether whole frames arrive, run by a real shell over made-up ip and ping."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from perfctl.execute.network_path import NetworkPath, probe_paths
from perfctl.shell import Completed
from perfctl.shell.local import LocalShell

PEERS = {"h2": "192.0.2.2"}
# The loopback interface is there everywhere, with its own MTU.
IP = 'echo "$4 dev lo src 127.0.0.1 uid 0 cache"'
MTU_BYTES = int(Path("/sys/class/net/lo/mtu").read_text())


class Programs(LocalShell):
    """This machine with programs of our own in front of the others."""

    def __init__(self, folder: Path, **scripts: str) -> None:
        super().__init__("box")
        self._folder = folder
        for name, script in scripts.items():
            path = folder / name
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        path = f"PATH={self._folder}:/usr/bin:/bin:/usr/sbin:/sbin"
        return super().run(["env", path, *argv], timeout_s=timeout_s, stdin=stdin)


def is_whole(size_bytes: int) -> str:
    """Return a test, for ping's script, of whether it was asked for an uncut packet of this size."""
    return f'case "$*" in *"-M do -s {size_bytes - 28} 192.0.2.2"*) true ;; *) false ;; esac'


@pytest.mark.parametrize(
    ("ping", "state"),
    [
        (f"{is_whole(MTU_BYTES)}", "ok"),
        (f"! {{ {is_whole(MTU_BYTES)}; }}", "too_big"),
        ("false", "down"),
        # The first packet to a new neighbour is lost.
        ('cd "${0%/*}"; [ -e seen ] || { : >seen; false; }', "ok"),
    ],
)
def test_a_path_is_what_ping_says_of_large_and_small_packets(tmp_path: Path, ping: str, state: str) -> None:
    assert probe_paths(Programs(tmp_path, ip=IP, ping=ping), PEERS) == {"h2": NetworkPath(MTU_BYTES, state)}


def test_each_peer_is_asked_for_itself(tmp_path: Path) -> None:
    shell = Programs(tmp_path, ip=IP, ping='case "$*" in *192.0.2.3) false ;; esac')
    found = probe_paths(shell, {"h2": "192.0.2.2", "h3": "192.0.2.3"})
    assert {name: path.state for name, path in found.items()} == {"h2": "ok", "h3": "down"}


@pytest.mark.parametrize("ip", ["exit 2", "echo", "echo 192.0.2.2 dev nosuchdevice src 127.0.0.1"])
def test_a_peer_without_a_route_has_no_path(tmp_path: Path, ip: str) -> None:
    assert probe_paths(Programs(tmp_path, ip=ip, ping="true"), PEERS) == {}


def test_without_peers_nothing_is_asked(tmp_path: Path) -> None:
    assert probe_paths(Programs(tmp_path, ping=f"touch {tmp_path}/asked", ip=IP), {}) == {}
    assert not (tmp_path / "asked").exists()
