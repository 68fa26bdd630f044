"""Upper bounds of what hardware can do, and the finding for a value above one.

A bound holds whatever the benchmark does. Where none is known, nothing is judged. Interfaces that exist only
in software (bridges, veth, virtio) have no line rate: the speed that they report is made up.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from perfctl.errors import DataError
from perfctl.facts.host import mtu_bytes, wire_speed_mbit_s
from perfctl.model import Fingerprint
from perfctl.validity.counters import CounterDelta, DiskDelta
from perfctl.validity.finding import Finding, Severity, format_number

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
"""The relative error of a tool's own timing; hardware itself exceeds no bound."""

_FRAME_BYTES = 38
"""Of Ethernet around each packet: preamble 8, header 14, checksum 4, gap 12 (IEEE 802.3)."""
_IP_BYTES = 20
"""The least of headers that a packet has: a fragment has no other."""
ALL_DISKS = "the disks"
_ON_OTHERS = re.compile(r"(dm-|md|loop|z?ram|sr|fd|bcache|drbd)[0-9_]")


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
        raise DataError(f"{value} {unit} cannot be compared with {bound.source}")
    limit = bound.value * _factor(bound.unit, unit)
    if value <= limit * (1 + bound.tolerance):
        return None
    text = f"{format_number(value)} {unit} is more than {bound.source} allows, {format_number(limit)} {unit}"
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
        raise DataError(f"a value in {into} cannot be compared with one in {unit}")
    return _UNITS[unit][1] / _UNITS[into][1]


# ---- where bounds come from ------------------------------------------------------------------------------


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
        hint = "check that the traffic takes this interface: the fact net.route"
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


def line_rate(facts: Fingerprint, interface: str) -> Bound | None:
    """Return the payload that an interface's wire carries in one direction, or None: it has none we know.

    speed * (MTU - 20) / (MTU + 38): full packets with the shortest header there is.
    """
    speed, mtu = wire_speed_mbit_s(facts, interface), mtu_bytes(facts, interface)
    if speed is None or mtu is None or mtu <= _IP_BYTES:
        return None
    payload = speed * (mtu - _IP_BYTES) / (mtu + _FRAME_BYTES)
    source = f"the wire of {interface} ({speed} Mbit/s, MTU {mtu})"
    hint = "check that the traffic leaves the host: the fact net.route"
    return Bound("line_rate", payload, "Mbit/s", source, _TIMING_TOLERANCE, hint)
