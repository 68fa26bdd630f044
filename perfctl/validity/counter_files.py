"""Parse the files of counters that an agent captured around a command. Pure; nothing here judges.

Each file is a line "==> PATH <==" and its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from perfctl.facts.values import whole_number

CapturedFiles = Mapping[str, str]
"""Path -> its text, each line with a newline before it. A file without lines is empty, not missing.

What is wanted of a text is searched for: hundreds of lines, gone through for each number, were half of what
judging an invocation cost.
"""

_HIERARCHY = re.compile(r"^/sys/fs/cgroup(?:/(?:unified|cpuacct|cpu|cpu,cpuacct|cpuacct,cpu)(?=/|$))?(/.*)?$")
_OWN_GROUP = re.compile(r"/(?:perfctl-[^/]+\.service|session-[^/]+\.scope)$")
_PROCESS = re.compile(r"^/proc/\d+/stat$")
_SNMP = re.compile(r"^/proc/\d+/net/snmp$")
_THERMAL = re.compile(r"^/sys/devices/system/cpu/cpu\d+/thermal_throttle/(?:core|package)_throttle_(\w+)$")
_CARRIER = re.compile(r"^/sys/class/net/(?!lo/|veth)([^/]+)/carrier_changes$")
"""Of a cable: a container's end of a link is gone tomorrow, and has none."""
_CPU = re.compile(r"\ncpu\d")
_LINK = re.compile(r"\s*\d{1,20}(?:\s+\d{1,20}){15}\s*", re.ASCII)

USER_HZ = 100
"""Ticks per second in /proc: 100 on every architecture that is in use, whatever the kernel's own HZ."""
_NS_PER_US = 1000
_SECTOR_BYTES = 512
"""Of /proc/diskstats, whatever the disk's own; see iostats in the kernel's documentation."""


def parse_files(captured: bytes) -> CapturedFiles:
    """Return the files of a captured text. Lines before the first head belong to none."""
    files: dict[str, str] = {}
    path = None
    _, *others = ("\n" + captured.decode("utf-8", "replace")).split("\n==> ")
    for part in others:
        head, _, text = part.partition("\n")
        if head.endswith(" <=="):
            path = head.removesuffix(" <==")
            files[path] = f"{files[path]}\n{text}" if path in files else f"\n{text}"
        elif path is not None:
            files[path] += f"\n==> {part}"
    return files


def lines_of(files: CapturedFiles, path: str) -> list[str]:
    """Return the lines of a file without empty ones; none where it is not there."""
    return [line for line in files.get(path, "").split("\n") if line and not line.isspace()]


def words_of(files: CapturedFiles, path: str, key: str) -> list[str]:
    """Return the words behind `key` on the first line that begins with it, or none."""
    text, wanted = files.get(path, ""), f"\n{key}"
    found = text.find(wanted)
    while found >= 0:
        end = text.find("\n", found + 1)
        words = text[found:end].split() if end >= 0 else text[found:].split()
        if words[0] == key:
            return words[1:]
        found = text.find(wanted, found + 1)
    return []


def number_after(files: CapturedFiles, path: str, key: str) -> int | None:
    """Return the number behind `key`."""
    words = words_of(files, path, key)
    return whole_number(words[0]) if words else None


def single_number(files: CapturedFiles, path: str) -> int | None:
    """Return the number that a file of one number holds."""
    return whole_number(files.get(path, "").strip())


def cpu_fields(files: CapturedFiles) -> list[int | None]:
    """Return the fields of the line `cpu` of /proc/stat, in ticks."""
    return [whole_number(word) for word in words_of(files, "/proc/stat", "cpu")]


def cpu_count(files: CapturedFiles) -> int | None:
    """Return how many CPUs /proc/stat lists: those that are online."""
    return len(_CPU.findall(files.get("/proc/stat", ""))) or None


def stall_us(files: CapturedFiles, resource: str, kind: str) -> int | None:
    """Return the total of a line of /proc/pressure/RESOURCE, in microseconds."""
    words = words_of(files, f"/proc/pressure/{resource}", kind)
    if words and words[-1].startswith("total="):
        return whole_number(words[-1].removeprefix("total="))
    return None


def load_1m(files: CapturedFiles) -> float | None:
    """Return the first figure of /proc/loadavg."""
    word = next(iter(files.get("/proc/loadavg", "").split()), "")
    return float(word) if re.fullmatch(r"\d{1,20}(\.\d+)?", word, re.ASCII) else None


def own_groups(files: CapturedFiles) -> dict[str, int]:
    """Return control group -> CPU time in microseconds, of the outermost groups that were read.

    A group is the benchmark's own by its name: a run's unit, or the session of a login. One that is read in
    two hierarchies is one group.
    """
    found: dict[str, int] = {}
    for path in files:
        group, file = _own_group(path)
        if not group:
            continue
        if file == "cpu.stat":
            used = number_after(files, path, "usage_usec")
        elif file == "cpuacct.usage":
            nanoseconds = single_number(files, path)
            used = None if nanoseconds is None else nanoseconds // _NS_PER_US
        else:
            continue
        if used is not None:
            found[group] = used
    return {
        group: used
        for group, used in found.items()
        if not any(group.startswith(f"{other}/") for other in found if other != group)
    }


@lru_cache(maxsize=1024)
def _own_group(path: str) -> tuple[str, str]:
    """Return the benchmark's own control group that a file is of ('': of none), and the file's name."""
    folder, _, file = path.rpartition("/")
    match = _HIERARCHY.match(folder)
    group = (match[1] if match else None) or ""  # the root's is the whole machine's
    return group if _OWN_GROUP.search(group) else "", file


def own_processes(files: CapturedFiles) -> dict[str, int]:
    """Return path of /proc/PID/stat -> CPU time of the process and of its waited-for children, in us.

    Fields 14 to 17 of proc(5): utime, stime, cutime, cstime. The name in field 2 may hold anything.
    """
    found = {}
    for path in files:
        if not _PROCESS.match(path):
            continue
        fields = files[path].rpartition(")")[2].split()
        times = [whole_number(word) for word in fields[11:15]]
        known = [value for value in times if value is not None]
        if len(known) == 4:
            found[path] = sum(known) * (1_000_000 // USER_HZ)
    return found


def own_throttling(files: CapturedFiles) -> tuple[int | None, int | None]:
    """Return how many periods, and for how many microseconds, a CPU quota stopped the own groups."""
    periods: list[int] = []
    stopped_us: list[int] = []
    for path in files:
        if not (path.startswith("/sys/fs/cgroup/") and path.endswith("/cpu.stat")):
            continue
        count, microseconds = (
            number_after(files, path, "nr_throttled"),
            number_after(files, path, "throttled_usec"),
        )
        nanoseconds = number_after(files, path, "throttled_time")  # version 1
        if microseconds is None and nanoseconds is not None:
            microseconds = nanoseconds // _NS_PER_US
        periods += [] if count is None else [count]
        stopped_us += [] if microseconds is None else [microseconds]
    return (sum(periods) if periods else None), (sum(stopped_us) if stopped_us else None)


def thermal(files: CapturedFiles, kind: str) -> dict[str, int]:
    """Return path -> number of each CPU's thermal counters of a kind: `count` or `total_time_ms`."""
    found = {path: single_number(files, path) for path in files if _thermal_kind(path) == kind}
    return {path: value for path, value in found.items() if value is not None}


@lru_cache(maxsize=8192)
def _thermal_kind(path: str) -> str:
    match = _THERMAL.match(path)
    return match[1] if match else ""


def tcp(files: CapturedFiles) -> tuple[str, Mapping[str, str]]:
    """Return the file of TCP's counters and the text of the counters by name.

    A benchmark in a network namespace of its own has counters of its own: /proc/PID/net/snmp comes first.
    """
    path = next(
        (path for path in files if path.endswith("/net/snmp") and _SNMP.match(path)), "/proc/net/snmp"
    )
    _, *parts = files.get(path, "").split("\nTcp:")
    if len(parts) != 2:
        return path, {}
    names, values = (part.partition("\n")[0].split() for part in parts)
    return path, dict(zip(names, values, strict=False))


def links(files: CapturedFiles) -> dict[str, str]:
    """Return each interface of /proc/net/dev with the text of its counters."""
    found = (line.partition(":") for line in files.get("/proc/net/dev", "").split("\n"))
    return {name.strip(): text for name, colon, text in found if colon}


def link_counters(text: str) -> tuple[int, ...] | None:
    """Return the sixteen counters of an interface, None where they are not all there."""
    return tuple(map(int, text.split())) if has_link_counters(text) else None


def has_link_counters(text: str) -> bool:
    """Return whether the sixteen counters of an interface are all there."""
    return _LINK.fullmatch(text) is not None


def carrier_changes(files: CapturedFiles) -> dict[str, int]:
    """Return interface -> how often its link came or went since it was made."""
    found = {name: single_number(files, path) for path in files if (name := _cabled(path))}
    return {name: value for name, value in found.items() if value is not None}


@lru_cache(maxsize=8192)
def _cabled(path: str) -> str:
    """Return the interface whose changes of the carrier a file counts, '' for any other file."""
    match = _CARRIER.match(path)
    return match[1] if match else ""


def disks(files: CapturedFiles) -> Iterator[tuple[str, tuple[int, int]]]:
    """Return each disk of /proc/diskstats with the bytes read from it and written to it."""
    for line in files.get("/proc/diskstats", "").split("\n"):
        words = line.split(None, 10)
        if len(words) < 10:
            continue
        read, written = whole_number(words[5]), whole_number(words[9])
        if read is not None and written is not None:
            yield words[2], (read * _SECTOR_BYTES, written * _SECTOR_BYTES)


def wall_ahead_ns(files: CapturedFiles) -> int | None:
    """Return how far the kernel keeps the wall clock ahead of the monotonic one, in nanoseconds.

    Both are slowed down and sped up alike: this changes only when the wall clock is set.
    """
    return single_number(files, "clock")


def kernel_log(files: CapturedFiles) -> tuple[list[str] | None, bool]:
    """Return the records of /dev/kmsg that came while the command ran, and whether some are missing.

    None where the log could not be read.
    """
    for name, is_cut in (("kernel log, cut", True), ("kernel log", False)):
        if name in files:
            return lines_of(files, name), is_cut
    return None, False
