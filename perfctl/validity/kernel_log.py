"""Parse the kernel's log around one invocation, and sort the lines that matter by their kind."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_RECORD = re.compile(r"(\d{1,20}),\d+,(\d{1,20}),[^;]*;(.*)", re.ASCII)
_MAX_CHARACTERS = 1024
"""The kernel writes no longer lines (LOG_LINE_MAX in printk.c); what comes after is not searched."""
_PRIORITIES = 8
"""Of each facility; see sysfs-dev-kmsg in the kernel's documentation."""


@dataclass(frozen=True, slots=True)
class MessageKind:
    """Messages of one kind; `is_severe` ones mean that something else was measured than was planned."""

    name: str
    pattern: str
    """A regular expression, in whatever case."""
    is_severe: bool
    meaning: str


def _kind(name: str, pattern: str, meaning: str, *, is_severe: bool = False) -> MessageKind:
    return MessageKind(name, pattern, is_severe, meaning)


# The first that fits a line counts: a program's own faults come before the kernel's, and what names its
# subject before what may be of any.
KINDS: tuple[MessageKind, ...] = (
    _kind(
        "heat", r"temperature above threshold|clock throttled|power limit notification|critical temperature"
        r"|Pmax reduced|could be throttled",
        "a CPU became too hot",
    ),
    _kind(
        "crash", r"segfault|traps: |unhandled .*fault \(\d+\)|unexpected fatal signal|user process fault"
        r"|illegal instruction \(\d+\)",
        "a program crashed",
    ),
    _kind(
        "buffers", r"\bTCP: out of memory|memory squeeze|alloc\w* .*(skb|rx buff).*fail"
        r"|fail\w* .*alloc\w* .*(skb|rx buff)|(skb|rx buff)\w* .*alloc\w* .*fail",
        "the network was short of memory",
    ),
    _kind(
        "memory", r"oom[-_](kill|reaper)|killed process|^(\[[^]]*\] )?(memory cgroup )?out of memory\b",
        "the kernel OOM-killed a program",
    ),
    _kind(
        "allocation", r"page allocation failure|unable to allocate memory|vmalloc\b.* (error|fail)"
        r"|out of memory|swiotlb buffer is full",
        "the kernel could not allocate memory",
    ),
    _kind(
        "table", r"table (is )?full|table overflow|SYN flooding|too many orphaned sockets|cache overflow"
        r"|route cache is full",
        "a table of the network was full",
    ),
    _kind(
        "hardware", r"\bmce: .*(error|machine check)|\bmachine check|(?<!key : )hardware error"
        r"|\bEDAC .*\b(CE|UE)\b|\bAER: .*error|PCIe bus error|memory failure: 0x|\bNMI: (IOCK|PCI|SERR)"
        r"|NMI received for unknown|\bEEH: .*(frozen|fail|detected)|pciehp.*(link down|card not present)",
        "the hardware reported an error", is_severe=True,
    ),
    _kind(
        "stall", r"soft lockup|hard lockup|\brcu\b.*stall|\brcu\w*.* detected .*stall|stuck for \d+ ?s"
        r"|blocked for more than \d+ seconds",
        "a CPU or a task was blocked for seconds", is_severe=True,
    ),
    _kind(
        "fault", r"\bBUG:|\bkernel BUG\b|\bOops\b|kernel panic|general protection|unable to handle"
        r"|double fault|internal error: |bad page state|\b(list|slab)\w* corruption|\bK[AC]SAN: |\bUBSAN: "
        r"|refcount_t: |kernel access of bad area|unrecoverable exception|scheduling while atomic",
        "a fault of the kernel itself", is_severe=True,
    ),
    _kind(
        "clock", r"clocksource.*(unstable|skew)|switched to clocksource|\btsc\b.*unstable"
        r"|timekeeping watchdog",
        "the kernel changed the clock that programs read", is_severe=True,
    ),
    _kind(
        # The block layer names every error alike (`critical medium error, dev sdb, sector 8`). What a device
        # merely does not have, as discarding, is no failure.
        "storage", r"(?<!operation not supported) error, dev \S+, sector|I/O error"
        r"|Sense Key : (?!No Sense|Recov)|FAILED Result: |unrecovered (read|write) error"
        r"|offline device|device offlined|task abort"
        r"|\bata\d+(\.\d+)?: .*(fail|reset|exception|error|link down|slow to respond|timeout)"
        r"|\bnvme.*(timeout(?! set)|reset|abort|controller is down|device not ready)"
        r"|\bmmc(blk)?\d.*(error|timeout|timed out|fail)"
        r"|\bnbd\d+: .*(timed out|control failed|error)|\bdrbd.*(error|fail|NetworkFailure|Timeout)"
        r"|\bmd(/|: |\d+: ).*(fail|error|kicking)|disk failure on|failing path"
        r"|device-mapper: .*(fail|error|out of|no free)"
        r"|\b(aacraid|megaraid\w*|mpt\dsas\w*|hpsa|smartpqi|lpfc|qla2xxx)\b.*(reset|fault|timeout|abort|down)"
        r"|blocked FC remote port|detected conn error|ping timeout of|session recovery timed out"
        r"|\b(EXT[234]|F2FS|FAT)-fs (error|\(\S+\): (error|fail|shut|.*corrupt))"
        r"|\bXFS\b.*(error|corrupt|shut(ting)? ?down)|\bBTRFS:? (error|critical)|\bbcachefs?\b.*error"
        r"|\b(ZFS|GFS2|OCFS2|JFS)\b.*(error|corrupt|withdraw)|aborting journal|\bJBD2: .*error"
        r"|remounting filesystem read-only|filesystem has been shut down"
        r"|\bnfs\d?: server .*(not responding|timed out)|\bCIFS: .*(not responding|timed out)|LustreError"
        r"|\blibceph: .*(down|closed|lost|error)|\bceph: .*hung",
        "a disk or a file system failed", is_severe=True,
    ),
    _kind(
        "link", r"NETDEV WATCHDOG|\blink (is |status )?(now )?(definitely )?(down|lost)\b|lost carrier"
        r"|carrier (is |was )?(lost|down|off)\b|(tx|hardware) unit hang|tx (hang|timeout)"
        r"|transmit .*timed out|\breset(ting)? (the )?adapter|adapter reset",
        "a network interface lost its link", is_severe=True,
    ),
    _kind("warning", r"WARNING: |RT throttling activated", "a warning of the kernel"),
)  # fmt: skip
"""The messages that matter for a measurement. Those of containers that come and go do not."""


def kind_of(line: str) -> MessageKind | None:
    """Return the kind of a line of the log, None for one that does not matter."""
    text = line[:_MAX_CHARACTERS]
    # Compiled with the first line that there is: most measurements have none.
    return next((kind for kind in KINDS if re.search(kind.pattern, text, re.IGNORECASE)), None)


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
