"""Parse the kernel's log around one invocation, and sort the lines that matter by their kind."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_RECORD = re.compile(r"(\d+),\d+,(\d+),[^;]*;(.*)", re.ASCII)
_PRIORITIES = 8
"""Of each facility; see sysfs-dev-kmsg in the kernel's documentation."""


@dataclass(frozen=True, slots=True)
class MessageKind:
    """Messages of one kind; `is_severe` ones mean that something else was measured than was planned."""

    name: str
    pattern: re.Pattern[str]
    is_severe: bool
    meaning: str


def _kind(name: str, pattern: str, meaning: str, *, is_severe: bool = False) -> MessageKind:
    return MessageKind(name, re.compile(pattern, re.IGNORECASE), is_severe, meaning)


# The first that fits a line counts: a program's own faults come before the kernel's.
KINDS: tuple[MessageKind, ...] = (
    _kind("heat", r"temperature above threshold|clock throttled", "a CPU became too hot"),
    _kind("crash", r"segfault at |traps: ", "a program crashed"),
    _kind("memory", r"oom-kill|out of memory|killed process", "the kernel OOM-killed a program"),
    _kind("table", r"table full|table overflow|SYN flooding", "a table of the network was full"),
    _kind("link", r"NETDEV WATCHDOG|link is down|reset adapter", "a network interface lost its link"),
    _kind(
        "hardware", r"\bmce: .*(error|machine check)|hardware error|\bEDAC .*\b(CE|UE)\b",
        "the hardware reported an error", is_severe=True,
    ),
    _kind(
        "stall", r"soft lockup|hard lockup|\brcu\b.*stall|blocked for more than \d+ seconds",
        "a CPU or a task was blocked for seconds", is_severe=True,
    ),
    _kind(
        "fault", r"\bBUG:|\bOops\b|kernel panic|general protection|unable to handle",
        "a fault of the kernel itself", is_severe=True,
    ),
    _kind(
        "clock", r"clocksource.*(unstable|skew)|switched to clocksource",
        "the kernel changed the clock that programs read", is_severe=True,
    ),
    _kind(
        "storage", r"I/O error|EXT4-fs error|XFS .*(error|corrupt)|remounting filesystem read-only"
        r"|nvme.*(timeout|reset)|\bata\d+.*(failed|reset)",
        "a disk or a file system failed", is_severe=True,
    ),
    _kind("warning", r"WARNING: ", "a warning of the kernel"),
)  # fmt: skip
"""The messages that matter for a measurement. Those of containers that come and go do not."""


def kind_of(line: str) -> MessageKind | None:
    """Return the kind of a line of the log, None for one that does not matter."""
    return next((kind for kind in KINDS if kind.pattern.search(line)), None)


def messages_of(records: Iterable[str]) -> tuple[str, ...]:
    """Return the kernel's own messages in records of /dev/kmsg, as dmesg prints them: `[seconds] text`.

    A record is `PRIORITY,NUMBER,MICROSECONDS,FLAGS;TEXT`; lines that begin with a space belong to the one
    before. Programs may write there, too, but never in the kernel's name (facility 0: priorities below 8).
    """
    found = (_RECORD.match(line) for line in records)
    return tuple(
        f"[{int(match[2]) / 1e6:12.6f}] {match[3]}"
        for match in found
        if match and int(match[1]) < _PRIORITIES
    )


def by_kind(lines: Iterable[str]) -> dict[str, list[str]]:
    """Return the lines that matter by the name of their kind, in the order of `KINDS`."""
    found: dict[str, list[str]] = {}
    for line in lines:
        kind = kind_of(line)
        if kind is not None:
            found.setdefault(kind.name, []).append(line)
    return {kind.name: found[kind.name] for kind in KINDS if kind.name in found}
