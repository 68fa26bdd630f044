"""Probe whether the network carries packets of full size, from inside an environment before a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from perfctl.shell import Shell

_TIMEOUT_S, _TIMEOUT_PER_PEER_S = 30.0, 10.0

# For each address: the MTU of the interface that leads there, and whether a packet of that size that must not
# be cut gets there and back. IPv4 and ICMP take 28 bytes of it. Once more after a small one: the first packet
# to a new neighbour may be lost.
_SCRIPT = """
command -v ping >/dev/null && command -v ip >/dev/null || exit 127
once() { ping -n -q -c 1 -W 2 "$@" >/dev/null 2>&1; }
for address; do
  set -- $(ip -o route get "$address" 2>/dev/null)
  device=
  while [ $# -gt 1 ]; do [ "$1" = dev ] && device=$2; shift; done
  read -r mtu 2>/dev/null <"/sys/class/net/$device/mtu" || continue
  if once -M do -s $((mtu - 28)) "$address"; then state=ok
  elif ! once -s 56 "$address"; then state=down
  elif once -M do -s $((mtu - 28)) "$address"; then state=ok
  else state=too_big; fi
  echo "$address $mtu $state"
done
"""


@dataclass(frozen=True, slots=True)
class NetworkPath:
    """The path to a peer: the MTU of its first interface, and whether packets of that size arrive."""

    mtu_bytes: int
    state: str
    """'ok', 'too_big' (only small packets arrive) or 'down' (none do)."""

    @property
    def remark(self) -> str:
        """The warning for the user, '' when nothing is wrong."""
        if self.state == "ok":
            return ""
        if self.state == "down":
            return "it does not answer a ping"
        return f"packets of {self.mtu_bytes} bytes do not arrive whole: is the MTU the same all the way?"


def probe_paths(shell: Shell, peers: Mapping[str, str]) -> dict[str, NetworkPath]:
    """Return the path from inside `shell` to each peer (name -> IPv4 address) that can be probed.

    Sends at most three small and two large packets to each. Raises like `Shell.run`.
    """
    if not peers:
        return {}
    done = shell.run(
        ["sh", "-c", _SCRIPT, "perfctl-path", *peers.values()],
        timeout_s=_TIMEOUT_S + _TIMEOUT_PER_PEER_S * len(peers),
    )
    return parse_paths(done.text, peers)


def parse_paths(text: str, peers: Mapping[str, str]) -> dict[str, NetworkPath]:
    """Return the paths that the script printed, by the peers' names."""
    found = {}
    for line in text.splitlines():
        address, mtu, state = line.split()
        found[address] = NetworkPath(int(mtu), state)
    return {name: found[address] for name, address in peers.items() if address in found}


def path_facts(paths: Mapping[str, NetworkPath]) -> dict[str, str]:
    """Return the paths as facts of an environment."""
    facts = {}
    for name, path in paths.items():
        facts[f"path.{name}.mtu_bytes"] = str(path.mtu_bytes)
        facts[f"path.{name}.mtu_ping"] = path.state
    return facts
