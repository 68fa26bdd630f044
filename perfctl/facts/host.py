"""Answer questions about a host by its facts: CPUs, caches, interfaces, routes, mounts.

A fact that is missing or malformed gives None, False or nothing, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from perfctl.facts.registry import is_present, value_of
from perfctl.facts.values import Groups, Link, Links, Mount, NumberList, Route, Settings
from perfctl.model import Fingerprint

_LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs"})
"""File systems of which each byte of direct I/O is read from, or written to, a disk."""
_UNCOUNTED = re.compile(r"/dev/(loop|z?ram|fd|sr|pmem)[0-9]")
"""Devices whose bytes are not among those of the disks."""
_PARAVIRTUAL = frozenset({"virtio_net", "vmxnet3", "hv_netvsc", "vif", "netfront", "ena", "gve"})
"""Drivers of a hypervisor: between two guests of one machine no wire limits them."""
_MAX_STACKED_LINKS = 4
"""A bridge on a bond on a VLAN is three; more are followed no further."""
_NO_LINK = Link()

# ---- CPUs ----------------------------------------------------------------------------------------------


def online_cpus(facts: Fingerprint) -> int | None:
    """Return how many CPUs a host has online, None where that is not known."""
    online = value_of(facts, "cpu.online", NumberList)
    return online.count or None if online else None


def largest_cache_bytes(facts: Fingerprint) -> int | None:
    """Return the size of the largest cache that one CPU reaches, None where the fact cpu.cache names none.

    /proc/cpuinfo is not used: its "cache size" is that of the last level on some processors and of the second
    level on others.
    """
    caches = value_of(facts, "cpu.cache", Groups)
    return max(caches.values, default=0) or None if caches else None


# ---- the network ---------------------------------------------------------------------------------------


def route_interface(facts: Fingerprint, address: str) -> str | None:
    """Return the interface that the host's route to a peer takes, None when it was not read."""
    route = value_of(facts, f"net.route.{address}", Route)
    return route.interface if route else None


def is_bridge(facts: Fingerprint, interface: str) -> bool:
    """Return whether an interface of the host is a bridge; False where that was not read."""
    return _links(facts).get(interface, _NO_LINK).device_type == "bridge"


def mtu_bytes(facts: Fingerprint, interface: str) -> int | None:
    """Return the MTU of an interface."""
    return _links(facts).get(interface, _NO_LINK).mtu_bytes


def wire_speed_mbit_s(facts: Fingerprint, interface: str) -> int | None:
    """Return the speed of the wire behind an interface, None where there is none or it is not known.

    A VLAN has the speed of what it lies on, a bond the sum, a bridge that of its fastest wired port. The
    speed that interfaces of software report (veth, tap, virtio) is made up, and not returned.
    """
    return _speed_mbit_s(_links(facts), interface, _MAX_STACKED_LINKS)


def _links(facts: Fingerprint) -> Links:
    return value_of(facts, "net.links", dict) or {}


def _speed_mbit_s(links: Links, name: str, depth: int) -> int | None:
    link = links.get(name)
    if link is None or depth == 0:
        return None
    if link.device_type == "bridge":
        ports = [port for port, other in links.items() if other.master == name]
        speeds = [_speed_mbit_s(links, port, depth - 1) for port in ports]
        return max((speed for speed in speeds if speed is not None), default=None)
    if link.lower:
        speeds = [_speed_mbit_s(links, lower, depth - 1) for lower in link.lower]
        known = [speed for speed in speeds if speed is not None]
        return sum(known) if len(known) == len(speeds) else None
    return link.speed_mbit_s if link.driver and link.driver not in _PARAVIRTUAL else None


# ---- disks ---------------------------------------------------------------------------------------------


def is_on_local_disk(facts: Fingerprint, directory: str) -> bool:
    """Return whether a directory is on the host's own disks by its path; False where that is not known.

    A network file system is not, nor is one that keeps what it reads in a cache of its own, one in memory, or
    one whose device is counted as no disk (loop, ram, DAX). The upper layer of an overlay has to be on a
    local file system.
    """
    others = value_of(facts, "storage.other_mounts", tuple)
    if others is None:
        return False
    mounts: dict[str, Mount] = {mount.path: mount for mount in value_of(facts, "storage.mounts", tuple) or ()}
    # Of what is mounted twice at one place, which lies on top is not known.
    unknown = {mount.path for mount in others}
    above = [*map(str, [PurePosixPath(directory), *PurePosixPath(directory).parents])]
    nearest = next((path for path in above if path in mounts or path in unknown), None)
    if nearest is None or nearest in unknown:
        return False
    mount = mounts[nearest]
    if mount.file_system == "overlay":
        return True
    is_dax = any(option in ("dax", "dax=always") for option in mount.options)
    is_counted = mount.source.startswith("/dev/") and not (is_dax or _UNCOUNTED.match(mount.source))
    return mount.file_system in _LOCAL and is_counted


_DOCKERS_FOLDER = "/var/lib/docker"
_DATA_ROOT = re.compile(r"--(data-root|graph)\b")


def storage_folders(facts: Fingerprint, usual: Sequence[str]) -> tuple[str, ...]:
    """Return the folders of a host in which environments have their files: `usual`, or what docker was told.

    None where it was told in a way that is not understood.
    """
    if _DOCKERS_FOLDER not in usual:
        return tuple(usual)
    if _DATA_ROOT.search(value_of(facts, "engine.dropins", str) or ""):
        return ()
    settings = value_of(facts, "engine.daemon_json", Settings)
    if settings is None and is_present(facts, "engine.daemon_json"):
        return ()
    told = settings.by_name.get("data-root", _DOCKERS_FOLDER) if settings else _DOCKERS_FOLDER
    if not (isinstance(told, str) and told.startswith("/")):
        return ()
    return tuple(told if folder == _DOCKERS_FOLDER else folder for folder in usual)
