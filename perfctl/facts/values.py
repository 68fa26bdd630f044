"""What a fact's text means: the types of facts, each with the one function that reads its text.

Facts are stored as text. Whoever needs a number, a size or a list of CPUs asks `value_of`, which knows a
fact's type from the registry. A text that makes no sense gives None, never a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_MOST_DIGITS = 20
"""Of a number of 64 bits, which is what the kernel counts in; Python itself refuses to read 4,301 digits."""
_UNITS = {"": 1, "B": 1, "K": 1 << 10, "kB": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_RANGES = re.compile(r"\d{1,9}(-\d{1,9})?(,\d{1,9}(-\d{1,9})?)*", re.ASCII)


def whole_number(text: str) -> int | None:
    """Return a number of at most 20 digits without a sign, else None."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def _decimal(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,20}(\.\d{1,20})?", text, re.ASCII) else None


@dataclass(frozen=True, slots=True)
class FactType:
    """A type: its name in the documentation, the class of its values, and how a text is read."""

    name: str
    value_class: type
    read: Callable[[str], Any]


# ---- numbers, sizes, lists -----------------------------------------------------------------------------


def _number(text: str) -> int | None:
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    number = whole_number(digits)
    return None if number is None else sign * number


def _size_bytes(text: str) -> int | None:
    match = re.fullmatch(r"(\d{1,20}) ?([KMG]|kB|B)?", text, re.ASCII)
    return int(match[1]) * _UNITS[match[2] or ""] if match else None


@dataclass(frozen=True, slots=True)
class NumberList:
    """A list of CPUs or of NUMA nodes, such as 0-3,8."""

    ranges: tuple[tuple[int, int], ...]

    @property
    def count(self) -> int:
        """How many they are; a range that ends before it begins counts as one."""
        return sum(max(last - first, 0) + 1 for first, last in self.ranges)


def _number_list(text: str) -> NumberList | None:
    if not text:
        return NumberList(())
    if not _RANGES.fullmatch(text):
        return None
    pairs = (part.partition("-")[::2] for part in text.split(","))
    return NumberList(tuple((int(first), int(last or first)) for first, last in pairs))


# ---- values that CPUs, disks or sensors have ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Group:
    """What has one value: `part` names what of it ('index0'), `count` says how many they are."""

    part: str
    value: Any
    count: int


@dataclass(frozen=True, slots=True)
class Groups:
    """Values and how many have each, from lines such as 'performance: 0-63' or 'index0=32K: 0-1'."""

    groups: tuple[Group, ...]

    @property
    def values(self) -> list[Any]:
        """The values, each as often as a line has it."""
        return [group.value for group in self.groups]

    @property
    def counts(self) -> dict[Any, int]:
        """Value -> how many have it."""
        found: dict[Any, int] = {}
        for group in self.groups:
            found[group.value] = found.get(group.value, 0) + group.count
        return found


def groups_of(read: Callable[[str], Any], *, has_part: bool = False) -> Callable[[str], Groups | None]:
    """Return the function that reads groups of values, each by `read`; other lines are passed over."""

    def read_groups(text: str) -> Groups | None:
        found = []
        for line in text.split("\n"):
            whole, colon, who = line.rpartition(": ")
            if not colon:
                continue
            part, _, rest = whole.partition("=") if has_part else ("", "", whole)
            value = read(rest)
            if value is None:
                return None
            found.append(Group(part, value, _count_holders(who)))
        return Groups(tuple(found))

    return read_groups


def _count_holders(text: str) -> int:
    """Return how many '0-3,8' or 'sda,sdb' are."""
    numbers = _number_list(text)
    return numbers.count if numbers and numbers.ranges else len(text.split(","))


# ---- tables --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Route:
    """How packets to a peer leave the host."""

    interface: str


def _route(text: str) -> Route | None:
    match = re.search(r"\bdev (\S+)", text)
    return Route(match[1]) if match else None


@dataclass(frozen=True, slots=True)
class Link:
    """An interface; None and '' for what it has not, or was not read."""

    mtu_bytes: int | None = None
    speed_mbit_s: int | None = None
    """Made up by interfaces of software."""
    device_type: str = ""
    """'bridge', 'bond', 'vlan', ...; '' for most wires."""
    driver: str = ""
    master: str = ""
    """The bridge that it is a port of."""
    lower: tuple[str, ...] = ()
    """The interfaces that it lies on."""


Links = dict[str, Link]
"""Interface -> what of it decides its speed, from lines such as 'eth0 mtu=1500 DRIVER=igb'."""


def _links(text: str) -> Links:
    lines = map(str.split, text.split("\n"))
    return {words[0]: _link(words[1:]) for words in lines if words}


def _link(words: Iterable[str]) -> Link:
    found = {key: value for key, _, value in (word.partition("=") for word in words)}
    return Link(
        mtu_bytes=whole_number(found.get("mtu", "")) or None,
        speed_mbit_s=whole_number(found.get("speed", "")) or None,
        device_type=found.get("DEVTYPE", ""),
        driver=found.get("DRIVER", ""),
        master=found.get("master", ""),
        lower=tuple(filter(None, found.get("lower", "").split(","))),
    )


@dataclass(frozen=True, slots=True)
class Mount:
    """A file system; without source and options where the fact has none."""

    path: str
    file_system: str
    source: str = ""
    options: tuple[str, ...] = ()


def _mounts(text: str) -> tuple[Mount, ...]:
    lines = (line.split() for line in text.split("\n"))
    return tuple(
        Mount(_unescape(words[1]), words[2], words[0], tuple(",".join(words[3:]).split(",")))
        for words in lines
        if len(words) > 2
    )


def _other_mounts(text: str) -> tuple[Mount, ...]:
    lines = (line.split() for line in text.split("\n"))
    return tuple(Mount(_unescape(words[1]), words[0]) for words in lines if len(words) > 1)


def _unescape(path: str) -> str:
    """Return a path of /proc/mounts, in which blanks and backslashes are octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


@dataclass(frozen=True, slots=True)
class SwapAreas:
    """The swap areas together."""

    used_kib: int


def _swap_areas(text: str) -> SwapAreas | None:
    # Filename Type Size Used Priority; sizes in KiB.
    rows = [line.split() for line in text.split("\n")[1:]]
    used = [whole_number(words[-2]) for words in rows if len(words) >= 5]
    known = [number for number in used if number is not None]
    return SwapAreas(sum(known)) if len(known) == len(used) else None


@dataclass(frozen=True, slots=True)
class LoadAverage:
    """The load of the last minute."""

    minute: float


def _load_average(text: str) -> LoadAverage | None:
    first, blank, _ = text.partition(" ")
    minute = _decimal(first)
    return LoadAverage(minute) if blank and minute is not None else None


@dataclass(frozen=True, slots=True)
class CpuTicks:
    """What all CPUs did since the host booted, in ticks."""

    all: tuple[int, ...]
    """User, nice, system, idle, iowait, irq, softirq, steal."""

    @property
    def steal(self) -> int:
        """The ticks that the hypervisor gave to others."""
        return self.all[7]

    @property
    def total(self) -> int:
        """All ticks."""
        return sum(self.all)

    def since(self, earlier: CpuTicks) -> CpuTicks:
        """Return the ticks since an earlier reading."""
        return CpuTicks(tuple(now - before for before, now in zip(earlier.all, self.all, strict=True)))


def _cpu_ticks(text: str) -> CpuTicks | None:
    words = text.split()
    known = [number for number in map(whole_number, words[1:9]) if number is not None]
    return CpuTicks(tuple(known)) if words[:1] == ["cpu"] and len(known) == 8 else None


@dataclass(frozen=True, slots=True)
class Pressure:
    """The share of the last ten seconds in which some task waited, in %, by resource."""

    some_avg10: Mapping[str, float]


def _pressure(text: str) -> Pressure:
    found: dict[str, float] = {}
    for line in text.split("\n"):
        match = re.match(r"([a-z]+): some avg10=(\S+) ", line)
        share = _decimal(match[2]) if match else None
        if match and share is not None:
            found.setdefault(match[1], share)
    return Pressure(found)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many there are of each name."""

    by_name: Mapping[str, int]


def _counts(text: str) -> Counts | None:
    rows = [line.rpartition(": ") for line in text.split("\n") if line]
    numbers = {name: whole_number(count) for name, _, count in rows}
    known = {name: number for name, number in numbers.items() if number is not None}
    return Counts(known) if len(known) == len(numbers) else None


@dataclass(frozen=True, slots=True)
class Settings:
    """A JSON object."""

    by_name: Mapping[str, Any]


def _settings(text: str) -> Settings | None:
    try:
        found = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        return None
    return Settings(found) if isinstance(found, dict) else None


TEXT = FactType("text", str, str)
NUMBER = FactType("number", int, _number)
SIZE = FactType("size", int, _size_bytes)
"""Bytes; 'max' and the like are no size."""
LIST = FactType("list of numbers", NumberList, _number_list)
TEXTS = FactType("texts, and who has each", Groups, groups_of(str))
NUMBERS = FactType("numbers, and who has each", Groups, groups_of(_number))
COUNTERS = FactType("counters, and who has each", Groups, groups_of(_number, has_part=True))
SIZES = FactType("sizes, and who has each", Groups, groups_of(_size_bytes, has_part=True))
ROUTE = FactType("route", Route, _route)
LINKS = FactType("interfaces", dict, _links)
MOUNTS = FactType("mounts", tuple, _mounts)
OTHER_MOUNTS = FactType("mounts", tuple, _other_mounts)
SWAP_AREAS = FactType("swap areas", SwapAreas, _swap_areas)
LOAD_AVERAGE = FactType("load", LoadAverage, _load_average)
CPU_TICKS = FactType("ticks", CpuTicks, _cpu_ticks)
PRESSURE = FactType("pressure", Pressure, _pressure)
COUNTS = FactType("counts", Counts, _counts)
SETTINGS = FactType("settings", Settings, _settings)
