"""What the machine did while one invocation ran: the difference of two readings of the kernel's counters.

The job script reads the files just before and just after the command with `tail -n +1`, which writes each as
a line "==> PATH <==" and its text. A file or a field that is not there gives None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_CPU_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
"""Of the line `cpu` of /proc/stat, in USER_HZ ticks; see proc(5). user and nice already hold guest time."""


@dataclass(frozen=True, slots=True)
class CounterDelta:
    """Differences between two readings. Ticks are USER_HZ of all CPUs, stalls microseconds of wall time."""

    cpu_ticks: int | None
    """All time of all CPUs, idle included."""
    idle_ticks: int | None
    iowait_ticks: int | None
    steal_ticks: int | None
    guest_ticks: int | None
    context_switches: int | None
    processes_started: int | None
    cpu_some_stall_us: int | None
    io_some_stall_us: int | None
    io_full_stall_us: int | None
    memory_some_stall_us: int | None
    memory_full_stall_us: int | None
    major_faults: int | None
    swapped_in_pages: int | None
    swapped_out_pages: int | None
    load_1m_before: float | None
    load_1m_after: float | None

    @property
    def steal_fraction(self) -> float | None:
        """The share of all CPU time that the hypervisor kept for others; None where it cannot be told."""
        if self.steal_ticks is None or not self.cpu_ticks:
            return None
        return self.steal_ticks / self.cpu_ticks


def parse_counters(before: bytes, after: bytes) -> CounterDelta:
    """Return what changed from `before` to `after`."""
    old, new = _files(before), _files(after)
    ticks = {
        name: _difference(_cpu_field(old, place), _cpu_field(new, place))
        for place, name in enumerate(_CPU_FIELDS)
    }
    # The first eight fields make up all time; guest time is part of user and nice.
    whole = [ticks[name] for name in _CPU_FIELDS[:8]]
    known = [value for value in whole if value is not None]

    def stall(resource: str, kind: str) -> int | None:
        return _difference(_stall(old, resource, kind), _stall(new, resource, kind))

    def named(key: str, path: str = "/proc/stat") -> int | None:
        return _difference(_named(old, path, key), _named(new, path, key))

    return CounterDelta(
        cpu_ticks=sum(known) if known else None,
        idle_ticks=ticks["idle"],
        iowait_ticks=ticks["iowait"],
        steal_ticks=ticks["steal"],
        guest_ticks=ticks["guest"],
        context_switches=named("ctxt"),
        processes_started=named("processes"),
        cpu_some_stall_us=stall("cpu", "some"),
        io_some_stall_us=stall("io", "some"),
        io_full_stall_us=stall("io", "full"),
        memory_some_stall_us=stall("memory", "some"),
        memory_full_stall_us=stall("memory", "full"),
        major_faults=named("pgmajfault", "/proc/vmstat"),
        swapped_in_pages=named("pswpin", "/proc/vmstat"),
        swapped_out_pages=named("pswpout", "/proc/vmstat"),
        load_1m_before=_load(old),
        load_1m_after=_load(new),
    )


def _files(captured: bytes) -> Mapping[str, list[list[str]]]:
    """Return path -> lines -> words."""
    files: dict[str, list[list[str]]] = {}
    lines: list[list[str]] = []
    for line in captured.decode("utf-8", "replace").split("\n"):
        if line.startswith("==> ") and line.endswith(" <=="):
            lines = files.setdefault(line[4:-4], [])
        elif line.strip():
            lines.append(line.split())
    return files


def _difference(old: int | None, new: int | None) -> int | None:
    return None if old is None or new is None else new - old


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _words(files: Mapping[str, list[list[str]]], path: str, key: str) -> list[str]:
    return next((words[1:] for words in files.get(path, []) if words[0] == key), [])


def _cpu_field(files: Mapping[str, list[list[str]]], place: int) -> int | None:
    words = _words(files, "/proc/stat", "cpu")
    return _number(words[place]) if place < len(words) else None


def _named(files: Mapping[str, list[list[str]]], path: str, key: str) -> int | None:
    words = _words(files, path, key)
    return _number(words[0]) if words else None


def _stall(files: Mapping[str, list[list[str]]], resource: str, kind: str) -> int | None:
    for words in files.get(f"/proc/pressure/{resource}", []):
        if words[0] == kind and words[-1].startswith("total="):
            return _number(words[-1].removeprefix("total="))
    return None


def _load(files: Mapping[str, list[list[str]]]) -> float | None:
    words = next(iter(files.get("/proc/loadavg", [])), [])
    try:
        return float(words[0]) if words else None
    except ValueError:
        return None
