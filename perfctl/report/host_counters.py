"""What a host's kernel counted while a command ran: twelve families that are tested, and all other counters.

The readings are those that an agent took just before the command and just after it (docs/jobs.md). They are
of the whole host, with what brings the command into its environment; TCP's are of the network namespace of
the command, where that is the host's own or was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from perfctl.facts.values import whole_number
from perfctl.validity import counter_files
from perfctl.validity.counter_files import CapturedFiles

FAMILIES: Mapping[str, str] = {
    "cpu_user": "CPU time of programs",
    "cpu_system": "CPU time of the kernel for programs",
    "cpu_softirq": "CPU time of interrupts and softirqs",
    "cpu_idle": "CPU time with nothing to do",
    "context_switches": "context switches",
    "interrupts": "interrupts",
    "page_faults": "page faults",
    "segments": "TCP segments sent and received",
    "retransmits": "TCP segments sent again",
    "packets": "packets of the busiest link",
    "disk_bytes": "bytes read from and written to disks",
    "throttled_time": "time that a CPU quota took",
}
"""What is tested, by name, and in words. The list is fixed: what looks interesting must not be chosen."""

_SOFTIRQS = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU")
"""The columns of the line `softirq` of /proc/stat, after their sum."""
_NO_COUNTERS = ("nr_", "workingset_nodes", "numa_")
"""Beginnings of lines of /proc/vmstat that are levels, not counters."""


@dataclass(frozen=True, slots=True)
class HostCounters:
    """How far each counter has grown; one that went backwards or was not read is not there."""

    families: Mapping[str, float]
    others: Mapping[str, float]


def grown(before: bytes, after: bytes) -> HostCounters:
    """Return how far the counters of two readings are apart."""
    files = [counter_files.parse_files(text) for text in (before, after)]
    old, new = map(_readings, files)
    first, last = map(_links, files)
    grown = {name: new[name] - old[name] for name in new if name in old and new[name] >= old[name]}
    packets = [last[name] - first[name] for name in last if name in first and last[name] >= first[name]]
    if packets:
        grown["packets"] = max(packets)
    return HostCounters(
        {name: grown[name] for name in FAMILIES if name in grown},
        {name: value for name, value in sorted(grown.items()) if name not in FAMILIES},
    )


def _readings(files: CapturedFiles) -> dict[str, float]:
    return {
        name: value
        for name, value in (
            *_cpu(files).items(),
            *_kernel(files).items(),
            *_memory(files).items(),
            *_network(files).items(),
            ("disk_bytes", _disk_bytes(files)),
            ("throttled_time", counter_files.own_throttling(files)[1]),
        )
        if value is not None
    }


def _cpu(files: CapturedFiles) -> dict[str, float | None]:
    """Return seconds of all CPUs; user and nice already hold the time of guests, see proc(5)."""
    ticks = counter_files.cpu_fields(files)
    if len(ticks) < 8:
        return {}
    user, nice, system, idle, iowait, irq, softirq, steal = ticks[:8]
    parts = {
        "cpu_user": (user, nice),
        "cpu_system": (system,),
        "cpu_softirq": (irq, softirq),
        "cpu_idle": (idle, iowait),
        "CPU time taken by the hypervisor": (steal,),
    }
    return {
        name: None if None in of else sum(filter(None, of)) / counter_files.USER_HZ
        for name, of in parts.items()
    }


def _kernel(files: CapturedFiles) -> dict[str, float | None]:
    whole, *kinds = counter_files.words_of(files, "/proc/stat", "softirq") or [""]
    found: dict[str, float | None] = {
        "context_switches": counter_files.number_after(files, "/proc/stat", "ctxt"),
        "interrupts": counter_files.number_after(files, "/proc/stat", "intr"),
        "processes started": counter_files.number_after(files, "/proc/stat", "processes"),
        "softirqs": whole_number(whole),
    }
    found |= {f"softirq {name}": whole_number(word) for name, word in zip(_SOFTIRQS, kinds, strict=False)}
    return found


def _memory(files: CapturedFiles) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for line in counter_files.lines_of(files, "/proc/vmstat"):
        name, _, number = line.partition(" ")
        if not name.startswith(_NO_COUNTERS):
            found["page_faults" if name == "pgfault" else f"vmstat {name}"] = whole_number(number)
    return found


def _network(files: CapturedFiles) -> dict[str, float | None]:
    _, texts = counter_files.tcp(files)
    numbers = {name: whole_number(text) for name, text in texts.items()}
    received, sent = numbers.get("InSegs"), numbers.get("OutSegs")
    return {
        "segments": None if received is None or sent is None else received + sent,
        "retransmits": numbers.get("RetransSegs"),
    }


def _links(files: CapturedFiles) -> dict[str, float]:
    """Return the packets of each link, both ways."""
    counted = {name: counter_files.link_counters(text) for name, text in counter_files.links(files).items()}
    return {name: numbers[1] + numbers[9] for name, numbers in counted.items() if numbers and name != "lo"}


def _disk_bytes(files: CapturedFiles) -> float | None:
    found = [read + written for _, (read, written) in counter_files.disks(files)]
    return sum(found) if found else None
