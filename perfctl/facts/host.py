"""Read single values out of a host's facts: CPUs, caches, interfaces, routes, mounts.

A fact that is missing or malformed gives None, False or nothing, never a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from perfctl.model import FactState, Fingerprint

_CPU_RANGES = re.compile(r"\d{1,9}(-\d{1,9})?(,\d{1,9}(-\d{1,9})?)*", re.ASCII)
_CACHE_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs"})
"""File systems of which each byte of direct I/O is read from, or written to, a disk."""
_UNCOUNTED = re.compile(r"/dev/(loop|z?ram|fd|sr|pmem)[0-9]")
"""Devices whose bytes are not among those of the disks."""
_PARAVIRTUAL = frozenset({"virtio_net", "vmxnet3", "hv_netvsc", "vif", "netfront", "ena", "gve"})
"""Drivers of a hypervisor: between two guests of one machine no wire limits them."""
_MAX_STACKED_LINKS = 4
"""A bridge on a bond on a VLAN is three; more are followed no further."""
_MOST_DIGITS = 20
"""Of a number of 64 bits, which is what the kernel counts in; Python itself refuses to read 4,301 digits."""


def whole_number(text: str) -> int | None:
    """Return a number of at most 20 digits without a sign, else None."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def present_text(facts: Fingerprint | None, name: str) -> str | None:
    """Return the text of a fact that is present, else None."""
    fact = facts.get(name) if facts else None
    return fact.value if fact is not None and fact.state is FactState.PRESENT else None


# ---- CPUs ----------------------------------------------------------------------------------------------


def online_cpus(facts: Fingerprint) -> int | None:
    """Return how many CPUs a host has online, None where that is not known."""
    ranges = present_text(facts, "cpu.online")
    return count_cpus(ranges) if ranges is not None and _CPU_RANGES.fullmatch(ranges) else None


def count_cpus(ranges: str) -> int:
    """Return how many CPUs '0-3,8' are; a part that is no range counts as one."""
    total = 0
    for part in ranges.split(","):
        first, last = (whole_number(word) for word in part.partition("-")[::2])
        total += last - first + 1 if first is not None and last is not None and last >= first else 1
    return total


def parse_value_groups(text: str) -> dict[str, int]:
    """Return value -> number of CPUs that have it, from lines such as 'performance: 0-63'."""
    found: dict[str, int] = {}
    for line in text.split("\n"):
        value, colon, who = line.rpartition(": ")
        if colon:
            found[value] = found.get(value, 0) + count_cpus(who)
    return found


def largest_cache_bytes(facts: Fingerprint) -> int | None:
    """Return the size of the largest cache that one CPU reaches, None where the fact cpu.cache names none.

    /proc/cpuinfo is not used: its "cache size" is that of the last level on some processors and of the second
    level on others.
    """
    found = re.findall(r"=(\d+)([KMG]): ", present_text(facts, "cpu.cache") or "")
    sizes = ((whole_number(size), _CACHE_UNITS[unit]) for size, unit in found)
    return max((size * unit_bytes for size, unit_bytes in sizes if size), default=None)


# ---- the network ---------------------------------------------------------------------------------------


def route_interface(facts: Fingerprint, address: str) -> str | None:
    """Return the interface that the host's route to a peer takes, None when it was not read."""
    match = re.search(r"\bdev (\S+)", present_text(facts, f"net.route.{address}") or "")
    return match[1] if match else None


def is_bridge(facts: Fingerprint, interface: str) -> bool:
    """Return whether an interface of the host is a bridge; False where that was not read."""
    return _links(facts).get(interface, {}).get("DEVTYPE") == "bridge"


def mtu_bytes(facts: Fingerprint, interface: str) -> int | None:
    """Return the MTU of an interface."""
    return _positive(_links(facts).get(interface, {}).get("mtu"))


def wire_speed_mbit_s(facts: Fingerprint, interface: str) -> int | None:
    """Return the speed of the wire behind an interface, None where there is none or it is not known.

    A VLAN has the speed of what it lies on, a bond the sum, a bridge that of its fastest wired port. The
    speed that interfaces of software report (veth, tap, virtio) is made up, and not returned.
    """
    return _speed_mbit_s(_links(facts), interface, _MAX_STACKED_LINKS)


def _links(facts: Fingerprint) -> dict[str, dict[str, str]]:
    """Return interface -> attributes of net.links: lines such as 'eth0 mtu=1500 DRIVER=igb'."""
    lines = map(str.split, (present_text(facts, "net.links") or "").split("\n"))
    return {words[0]: _attributes(words[1:]) for words in lines if words}


def _attributes(words: Iterable[str]) -> dict[str, str]:
    return {key: value for key, _, value in (word.partition("=") for word in words)}


def _positive(text: str | None) -> int | None:
    return whole_number(text or "") or None


def _speed_mbit_s(links: Mapping[str, Mapping[str, str]], name: str, depth: int) -> int | None:
    link = links.get(name)
    if link is None or depth == 0:
        return None
    below = [part for part in link.get("lower", "").split(",") if part]
    ports = [port for port, attributes in links.items() if attributes.get("master") == name]
    if link.get("DEVTYPE") == "bridge":
        speeds = [_speed_mbit_s(links, port, depth - 1) for port in ports]
        return max((speed for speed in speeds if speed is not None), default=None)
    if below:
        speeds = [_speed_mbit_s(links, lower, depth - 1) for lower in below]
        known = [speed for speed in speeds if speed is not None]
        return sum(known) if len(known) == len(speeds) else None
    if "DRIVER" not in link or link["DRIVER"] in _PARAVIRTUAL:
        return None
    return _positive(link.get("speed"))


# ---- disks ---------------------------------------------------------------------------------------------


def is_on_local_disk(facts: Fingerprint, directory: str) -> bool:
    """Return whether a directory is on the host's own disks by its path; False where that is not known.

    A network file system is not, nor is one that keeps what it reads in a cache of its own, one in memory, or
    one whose device is counted as no disk (loop, ram, DAX). The upper layer of an overlay has to be on a
    local file system.
    """
    others = present_text(facts, "storage.other_mounts")
    if others is None:
        return False
    lines = (present_text(facts, "storage.mounts") or "").split("\n")
    mounts = {_unescape(words[1]): words for words in map(str.split, lines) if len(words) > 2}
    # Of what is mounted twice at one place, which lies on top is not known.
    unknown = {_unescape(words[1]) for words in map(str.split, others.split("\n")) if len(words) > 1}
    above = [*map(str, [PurePosixPath(directory), *PurePosixPath(directory).parents])]
    nearest = next((path for path in above if path in mounts or path in unknown), None)
    if nearest is None or nearest in unknown:
        return False
    source, _, kind, *options = mounts[nearest]
    if kind == "overlay":
        return True
    is_dax = any(option in ("dax", "dax=always") for option in ",".join(options).split(","))
    return kind in _LOCAL and source.startswith("/dev/") and not (is_dax or _UNCOUNTED.match(source))


_DOCKERS_FOLDER = "/var/lib/docker"
_DATA_ROOT = re.compile(r"--(data-root|graph)\b")


def storage_folders(facts: Fingerprint, usual: Sequence[str]) -> tuple[str, ...]:
    """Return the folders of a host in which environments have their files: `usual`, or what docker was told.

    None where it was told in a way that is not understood.
    """
    if _DOCKERS_FOLDER not in usual:
        return tuple(usual)
    if _DATA_ROOT.search(present_text(facts, "engine.dropins") or ""):
        return ()
    text = present_text(facts, "engine.daemon_json")
    try:
        settings = json.loads(text) if text and text.strip() else {}
    except ValueError:
        return ()
    told = settings.get("data-root", _DOCKERS_FOLDER) if isinstance(settings, dict) else None
    if not (isinstance(told, str) and told.startswith("/")):
        return ()
    return tuple(told if folder == _DOCKERS_FOLDER else folder for folder in usual)


def _unescape(path: str) -> str:
    """Return a path of /proc/mounts, in which blanks and backslashes are octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)
