"""Read what a lab needs of its machine: Debian archive, name servers, routes, control groups. The parsers are
pure.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address
from pathlib import Path

from perfctl.errors import Refused
from perfctl.shell.local import LocalShell

_TARGETS_ARGV = (
    "apt-get",
    "indextargets",
    "--format",
    "$(ORIGIN)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)",
    "Created-By: Packages",
)
_RESOLV_CONFS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
_ROUTES = Path("/proc/net/route")
_MOUNTS = Path("/proc/mounts")


@dataclass(frozen=True, slots=True)
class Archive:
    """A Debian archive: this machine's, or another release in the same place."""

    suite: str
    sources: tuple[str, ...]
    """Lines of sources.list(5): the suite itself, its updates and its security updates."""

    def of(self, suite: str) -> Archive:
        """Return the archive of another release in the same place, whether or not there is one."""
        own = re.compile(rf" {re.escape(self.suite)}(?=[ -])")
        return Archive(suite, tuple(own.sub(f" {suite}", line) for line in self.sources))


def debian_archive(root: LocalShell) -> Archive:
    """Return the Debian archive of the machine's own apt settings. Raises Refused when there is none."""
    archive = read_index_targets(root.run(_TARGETS_ARGV, timeout_s=30).text)
    if archive is None:
        # Whose archives they are is in lists that a fresh machine has not fetched yet.
        updated = root.run(["apt-get", "-o", "DPkg::Lock::Timeout=300", "update"], timeout_s=600)
        archive = read_index_targets(root.run(_TARGETS_ARGV, timeout_s=30).text)
        if archive is None:
            raise Refused(
                "apt on this machine knows no Debian archive",
                where=updated.error_text or None,
                hint="the hosts are Debian and are built from this machine's own Debian sources",
            )
    return archive


def read_index_targets(text: str) -> Archive | None:
    """Return the Debian archive in the output of `apt-get indextargets`; None when there is none."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        origin, codename, component, uri = line.split("|", 3)
        uri = _first_mirror(uri)
        if origin == "Debian" and component == "main" and re.match(r"https?://", uri):
            found.setdefault(codename, uri)
    suite = next((name for name in found if "-" not in name), None)
    if suite is None:
        return None
    wanted = (suite, f"{suite}-updates", f"{suite}-security")
    return Archive(suite, tuple(f"deb {found[name]} {name} main" for name in wanted if name in found))


def _first_mirror(uri: str) -> str:
    """Cloud images name a file that lists mirrors; return the first of them, any other URI as it is."""
    if not uri.startswith("mirror+file:"):
        return uri
    lines = Path(uri.removeprefix("mirror+file:").rstrip("/")).read_text().splitlines()
    return next((line.split()[0] for line in lines if line.strip() and not line.startswith("#")), "")


def name_servers() -> tuple[str, ...]:
    """Return name servers that containers can reach too; empty when the machine only has its own."""
    for path in _RESOLV_CONFS:
        if path.is_file() and (found := read_name_servers(path.read_text())):
            return found
    return ()


def read_name_servers(resolv_conf: str) -> tuple[str, ...]:
    """Return the name servers of a resolv.conf(5) that are neither on loopback nor on one link only."""
    found = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            address = ip_address(words[1])
            if not address.is_loopback and not address.is_link_local:
                found.append(words[1])
    return tuple(found)


def cgroup2_mount() -> str:
    """Return where this machine has its control groups of version 2. Raises Refused where it has none."""
    mount = read_cgroup2_mount(_MOUNTS.read_text())
    if mount is None:
        raise Refused(
            "this machine has no control groups of version 2 mounted",
            hint="leave out --cgroup v2, or mount them: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified",
        )
    return mount


def read_cgroup2_mount(mounts: str) -> str | None:
    """Return where the text of /proc/mounts has a cgroup2 file system; None when it has none."""
    for line in mounts.splitlines():
        words = line.split()
        if len(words) > 2 and words[2] == "cgroup2" and words[1].startswith("/sys/fs/cgroup"):
            return words[1]
    return None


def routed_networks() -> tuple[tuple[str, IPv4Network], ...]:
    """Return (interface, network) for every IPv4 route of this machine but the default ones."""
    return tuple(read_routes(_ROUTES.read_text()))


def read_routes(text: str) -> Iterator[tuple[str, IPv4Network]]:
    """Yield (interface, network) from the text of /proc/net/route (addresses are in host byte order)."""
    for line in text.splitlines()[1:]:
        words = line.split()
        address, mask = (socket.inet_ntoa(struct.pack("=I", int(words[i], 16))) for i in (1, 7))
        network = IPv4Network(f"{address}/{mask}")
        if network.prefixlen:
            yield words[0], network
