"""The kernel's log around one invocation: which lines are new, and which of them matter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_STAMP = re.compile(r"^(?:<\d+>)?\[ *(\d+\.\d+)\]")


@dataclass(frozen=True, slots=True)
class Kind:
    """Messages of one kind; `is_severe` ones say that what was measured is not what was asked for."""

    name: str
    pattern: re.Pattern[str]
    is_severe: bool
    meaning: str


def _kind(name: str, pattern: str, meaning: str, *, is_severe: bool = False) -> Kind:
    return Kind(name, re.compile(pattern, re.IGNORECASE), is_severe, meaning)


# The first that fits a line counts: a program's own faults come before the kernel's.
KINDS: tuple[Kind, ...] = (
    _kind("heat", r"temperature above threshold|clock throttled", "a CPU became too hot"),
    _kind("crash", r"segfault at |traps: ", "a program crashed"),
    _kind("memory", r"oom-kill|out of memory|killed process", "the kernel ended a program for its memory"),
    _kind("table", r"table full|table overflow|SYN flooding", "a table of the network was full"),
    _kind("link", r"NETDEV WATCHDOG|link is down|reset adapter", "a network interface lost its link"),
    _kind(
        "hardware", r"\bmce: .*(error|machine check)|hardware error|\bEDAC .*\b(CE|UE)\b",
        "the hardware reported an error", is_severe=True,
    ),
    _kind(
        "stall", r"soft lockup|hard lockup|\brcu\b.*stall|blocked for more than \d+ seconds",
        "a CPU or a task stood still for seconds", is_severe=True,
    ),
    _kind(
        "fault", r"\bBUG:|\bOops\b|kernel panic|general protection|unable to handle",
        "the kernel itself went wrong", is_severe=True,
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
    _kind("warning", r"WARNING: ", "the kernel warned of itself"),
)  # fmt: skip
"""What matters for a measurement. Containers and guests that come and go write much that does not."""


def kind_of(line: str) -> Kind | None:
    """Return what a line of the log is about, or None: nothing that matters."""
    return next((kind for kind in KINDS if kind.pattern.search(line)), None)


def new_messages(before: Sequence[str] | None, after: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the lines of `after` that `before` does not have, given the last lines of the log each time.

    None where it cannot be told: one is missing or empty (an unprivileged login reads nothing), or so much
    was written in between that they share no line and the lines have no times.
    """
    if not before or not after:
        return None
    for start, line in enumerate(before):
        if line == after[0] and before[start:] == after[: len(before) - start]:
            return tuple(after[len(before) - start :])
    # `before` may be the end of a log whose whole is `after`.
    tail = list(before)
    for end in range(len(after), len(tail) - 1, -1):
        if after[end - 1] == tail[-1] and list(after[end - len(tail) : end]) == tail:
            return tuple(after[end:])
    last = _stamp(before[-1])
    if last is None:
        return None
    return tuple(line for line in after if (_stamp(line) or 0.0) > last)


def _stamp(line: str) -> float | None:
    match = _STAMP.match(line)
    return float(match[1]) if match else None


def by_kind(lines: Iterable[str]) -> dict[str, list[str]]:
    """Return the lines that matter by the name of their kind, in the order of `KINDS`."""
    found: dict[str, list[str]] = {}
    for line in lines:
        kind = kind_of(line)
        if kind is not None:
            found.setdefault(kind.name, []).append(line)
    return {kind.name: found[kind.name] for kind in KINDS if kind.name in found}
