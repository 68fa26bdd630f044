"""Too good to be true: what the hardware cannot exceed, and the sentence that says so.

A bound is an upper limit that holds whatever the benchmark does. Where none is known there is none, and
nothing is judged. Interfaces that exist only in software (bridges, veth, virtio) have no line rate: the speed
they tell is made up.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from perfctl.errors import DataError
from perfctl.facts.counters import CounterDelta, DiskDelta
from perfctl.facts.finding import Finding, Severity, in_words
from perfctl.model import FactState, Fingerprint

_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_UNITS: Mapping[str, tuple[str, float]] = {
    **{f"{prefix}bit/s": ("rate", factor / 8) for prefix, factor in _DECIMAL.items()},
    **{f"{prefix}B/s": ("rate", float(factor)) for prefix, factor in {**_DECIMAL, **_BINARY}.items()},
    **{f"{prefix}B": ("amount", float(factor)) for prefix, factor in {**_DECIMAL, **_BINARY}.items()},
    "bytes/s": ("rate", 1.0),
    "bytes": ("amount", 1.0),
}
"""Unit -> what it measures, and its bytes (per second)."""

_TIMING_TOLERANCE = 0.01
"""How far a tool's own idea of its time may be off: hardware exceeds no bound by it."""
_SAMPLE_TOLERANCE = 0.05
"""A bandwidth that was measured is a sample, not a law."""

BEYOND_ANY_CACHE_BYTES = 1 << 30
"""No processor has a last-level cache so large: 1 GiB."""
_CACHE_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

_FRAME_BYTES = 38
"""Of Ethernet around each packet: preamble 8, header 14, checksum 4, gap 12 (IEEE 802.3)."""
_IP_BYTES = 20
"""The least of headers that a packet has: a fragment has no other."""
ALL_DISKS = "the disks"
_ON_OTHERS = re.compile(r"(dm-|md|loop|z?ram|sr|fd|bcache|drbd)[0-9_]")
_LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs"})
"""File systems of which each byte of direct I/O is read from, or written to, a disk."""
_PARAVIRTUAL = frozenset({"virtio_net", "vmxnet3", "hv_netvsc", "vif", "netfront", "ena", "gve"})
"""Drivers of a hypervisor: between two guests of one machine no wire limits them."""


@dataclass(frozen=True, slots=True)
class Bound:
    """An upper limit of a metric, in `unit`; `source` says where it comes from, in words."""

    rule: Literal["line_rate", "memory_bandwidth", "device_bytes"]
    value: float
    unit: str
    source: str
    tolerance: float
    hint: str


def judge_bound(value: float, unit: str, bound: Bound) -> Finding | None:
    """Return the finding that `value` lies above the bound by more than its tolerance, or None.

    Raises DataError when the units measure different things, or the value is not a number of them.
    """
    if not (math.isfinite(value) and value >= 0):
        raise DataError(f"{value} {unit} cannot be held against {bound.source}")
    limit = bound.value * _factor(bound.unit, unit)
    if value <= limit * (1 + bound.tolerance):
        return None
    text = f"{in_words(value)} {unit} is more than {bound.source} allows, {in_words(limit)} {unit}"
    return Finding(bound.rule, Severity.ARTEFACT, value, unit, limit, text, bound.hint)


def claimed_bytes(rate: float, unit: str, duration_s: float) -> float:
    """Return the bytes that a rate makes in a time. Raises DataError for a unit that is no rate."""
    return rate * _factor(unit, "B/s") * duration_s


def slowest(bounds: Iterable[Bound | None]) -> Bound | None:
    """Return the lowest of the bounds that are known: no path is faster than its slowest hop."""
    known = [bound for bound in bounds if bound is not None]
    if not known:
        return None
    return min(known, key=lambda bound: bound.value * _factor(bound.unit, known[0].unit))


def _factor(unit: str, into: str) -> float:
    if unit == into:
        return 1.0
    if unit not in _UNITS or into not in _UNITS or _UNITS[unit][0] != _UNITS[into][0]:
        raise DataError(f"a value in {into} cannot be held against one in {unit}")
    return _UNITS[unit][1] / _UNITS[into][1]


# ---- where bounds come from ------------------------------------------------------------------------------


def memory_bandwidth(measured: float, unit: str, source: str) -> Bound:
    """Return the bound that the fastest native run of a memory benchmark on the same host sets.

    It bounds what must go through memory. A benchmark whose blocks stay in a cache is faster, and right.
    """
    hint = "does it do the same work? look at the build of the program, and at huge pages"
    return Bound("memory_bandwidth", measured, unit, source, _SAMPLE_TOLERANCE, hint)


def beyond_caches_bytes(facts: Fingerprint) -> int:
    """Return how large a block must at least be so that no cache which one CPU reaches holds it.

    One byte more than the largest cache that the fact cpu.cache names (the caches of other sockets and dies
    are of no use to a CPU), `BEYOND_ANY_CACHE_BYTES` where it names none. /proc/cpuinfo is not asked: what it
    calls the cache is that of the last level on some processors and of the second on others.
    """
    fact = facts.get("cpu.cache")
    text = fact.value if fact is not None and fact.state is FactState.PRESENT else ""
    sizes = [
        int(size) * _CACHE_UNITS[unit] for size, unit in re.findall(r"=(\d+)([KMG]): ", text) if int(size) > 0
    ]
    return max(sizes) + 1 if sizes else BEYOND_ANY_CACHE_BYTES


def device_bytes(
    delta: CounterDelta,
    device: str,
    direction: Literal["received", "sent", "read", "written"],
) -> Bound | None:
    """Return the bytes that an interface or a disk moved between the readings: a tool cannot claim more.

    `ALL_DISKS` are those of the host together, which needs no knowledge of what lies on which. None where
    they were not read, or went backwards.
    """
    if direction in ("received", "sent"):
        link = delta.links.get(device)
        count = None if link is None else link.received_bytes if direction == "received" else link.sent_bytes
        hint = "does the traffic take this interface? look at the fact net.route"
    else:
        disks = _whole_disks(delta) if device == ALL_DISKS else [delta.disks.get(device)]
        counts = [disk.read_bytes if direction == "read" else disk.written_bytes for disk in disks if disk]
        count = sum(counts) if counts else None
        hint = "a page cache answered: that of the host, where a guest's disk_cache lets it"
    if count is None:
        return None
    source = f"what {device} counted as {direction}"
    return Bound("device_bytes", count, "bytes", source, _TIMING_TOLERANCE, hint)


def _whole_disks(delta: CounterDelta) -> list[DiskDelta]:
    """Return the disks without their partitions, and without what lies on disks, or in memory, itself.

    Empty when a counter of one of them went backwards: its share is not known.
    """
    if any(name.startswith("disks.") for name in delta.backwards):
        return []
    names = [name for name in delta.disks if not _ON_OTHERS.match(name)]
    partitions = {
        name for name in names for disk in names if re.fullmatch(rf"{re.escape(disk)}p?[0-9]+", name)
    }
    return [delta.disks[name] for name in names if name not in partitions]


def is_on_disks(facts: Fingerprint, directory: str) -> bool:
    """Whether a directory of the host is on its own disks by its path; False where that is not known.

    A network file system, and one that keeps what it reads in a cache of its own, is none. The upper layer
    of an overlay has to be on a local file system.
    """
    fact = facts.get("storage.mounts")
    lines = fact.value.split("\n") if fact is not None and fact.state is FactState.PRESENT else []
    mounts = {words[1]: words for words in map(str.split, lines) if len(words) > 2}
    above = [*map(str, [PurePosixPath(directory), *PurePosixPath(directory).parents])]
    found = next((mounts[path] for path in above if path in mounts), None)
    if found is None:
        return False
    return found[2] == "overlay" or (found[2] in _LOCAL and found[0].startswith("/dev/"))


def line_rate(facts: Fingerprint, interface: str) -> Bound | None:
    """Return the payload that an interface's wire carries in one direction, or None: it has none we know.

    speed * (MTU - 20) / (MTU + 38): full packets with the shortest header there is. A VLAN has the rate of
    what it lies on, a bond the sum, a bridge that of its fastest wired port.
    """
    fact = facts.get("net.links")
    if fact is None or fact.state is not FactState.PRESENT:
        return None
    links = {words[0]: _attributes(words[1:]) for words in map(str.split, fact.value.split("\n")) if words}
    speed = _speed_mbit_s(links, interface)
    mtu = _positive(links.get(interface, {}).get("mtu"))
    if speed is None or mtu is None or mtu <= _IP_BYTES:
        return None
    payload = speed * (mtu - _IP_BYTES) / (mtu + _FRAME_BYTES)
    source = f"the wire of {interface} ({speed} Mbit/s, MTU {mtu})"
    hint = "does the traffic leave the host? look at the fact net.route"
    return Bound("line_rate", payload, "Mbit/s", source, _TIMING_TOLERANCE, hint)


def is_bridge(facts: Fingerprint, interface: str) -> bool:
    """Whether an interface of the host is a bridge; False where that was not read."""
    fact = facts.get("net.links")
    words = (line.split() for line in (fact.value if fact else "").split("\n"))
    return any(found[:1] == [interface] and "DEVTYPE=bridge" in found for found in words)


def route_interface(facts: Fingerprint, address: str) -> str | None:
    """Return the interface that the host's route to a peer takes, or None when it was not read."""
    fact = facts.get(f"net.route.{address}")
    if fact is None or fact.state is not FactState.PRESENT:
        return None
    match = re.search(r"\bdev (\S+)", fact.value)
    return match[1] if match else None


def _attributes(words: Iterable[str]) -> dict[str, str]:
    return {key: value for key, _, value in (word.partition("=") for word in words)}


def _positive(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and int(text) > 0 else None


def _speed_mbit_s(links: Mapping[str, Mapping[str, str]], name: str, depth: int = 4) -> int | None:
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
