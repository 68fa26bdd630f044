"""Parse the files of counters that an agent captured around a command. Pure; nothing here judges.

Each file is a line "==> PATH <==" and its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from perfctl.facts.values import whole_number

CapturedFiles = Mapping[str, list[str]]
"""Path -> its lines without empty ones. A file without lines is empty, not missing."""

_HIERARCHY = re.compile(r"^/sys/fs/cgroup(?:/(?:unified|cpuacct|cpu|cpu,cpuacct|cpuacct,cpu)(?=/|$))?(/.*)?$")
_OWN_GROUP = re.compile(r"/(?:perfctl-[^/]+\.service|session-[^/]+\.scope)$")
_PROCESS = re.compile(r"^/proc/\d+/stat$")
_SNMP = re.compile(r"^/proc/\d+/net/snmp$")
_THERMAL = re.compile(r"^/sys/devices/system/cpu/cpu\d+/thermal_throttle/(?:core|package)_throttle_(\w+)$")
_CARRIER = re.compile(r"^/sys/class/net/(?!lo/|veth)([^/]+)/carrier_changes$")
"""Of a cable: a container's end of a link is gone tomorrow, and has none."""

USER_HZ = 100
"""Ticks per second in /proc: 100 on every architecture that is in use, whatever the kernel's own HZ."""
_NS_PER_US = 1000
_SECTOR_BYTES = 512
"""Of /proc/diskstats, whatever the disk's own; see iostats in the kernel's documentation."""


def parse_files(captured: bytes) -> CapturedFiles:
    """Return the files of a captured text. Lines before the first head belong to none."""
    # Piece by piece: line by line this was a third of what judging an invocation costs.
    files: dict[str, list[str]] = {}
    lines: list[str] = []
    _, *others = ("\n" + captured.decode("utf-8", "replace")).split("\n==> ")
    for part in others:
        head, _, text = part.partition("\n")
        if head.endswith(" <=="):
            lines = files.setdefault(head.removesuffix(" <=="), [])
        else:
            lines.append(f"==> {head}")
        lines += filter(str.strip, text.split("\n"))
    return files


def words_of(files: CapturedFiles, path: str, key: str) -> list[str]:
    """Return the words behind `key` on the line that begins with it, or none."""
    for line in files.get(path, []):
        # Nearly all lines are other keys': a file of 190 is gone through for each of them.
        if line.startswith(key) and (words := line.split())[0] == key:
            return words[1:]
    return []


def number_after(files: CapturedFiles, path: str, key: str) -> int | None:
    """Return the number behind `key`."""
    words = words_of(files, path, key)
    return whole_number(words[0]) if words else None


def single_number(files: CapturedFiles, path: str) -> int | None:
    """Return the number that a file of one number holds."""
    lines = files.get(path, [])
    return whole_number(lines[0].strip()) if len(lines) == 1 else None


def cpu_fields(files: CapturedFiles) -> list[int | None]:
    """Return the fields of the line `cpu` of /proc/stat, in ticks."""
    return [whole_number(word) for word in words_of(files, "/proc/stat", "cpu")]


def cpu_count(files: CapturedFiles) -> int | None:
    """Return how many CPUs /proc/stat lists: those that are online."""
    return sum(1 for line in files.get("/proc/stat", []) if re.match(r"cpu\d", line)) or None


def stall_us(files: CapturedFiles, resource: str, kind: str) -> int | None:
    """Return the total of a line of /proc/pressure/RESOURCE, in microseconds."""
    words = words_of(files, f"/proc/pressure/{resource}", kind)
    if words and words[-1].startswith("total="):
        return whole_number(words[-1].removeprefix("total="))
    return None


def load_1m(files: CapturedFiles) -> float | None:
    """Return the first figure of /proc/loadavg."""
    lines = files.get("/proc/loadavg", [])
    word = lines[0].split()[0] if lines else ""
    return float(word) if re.fullmatch(r"\d{1,20}(\.\d+)?", word, re.ASCII) else None


def own_groups(files: CapturedFiles) -> dict[str, int]:
    """Return control group -> CPU time in microseconds, of the outermost groups that were read.

    A group is the benchmark's own by its name: a run's unit, or the session of a login. One that is read in
    two hierarchies is one group.
    """
    found: dict[str, int] = {}
    for path in files:
        folder, _, file = path.rpartition("/")
        match = _HIERARCHY.match(folder)
        group = match[1] if match else None
        if group is None or not _OWN_GROUP.search(group):  # the root's is the whole machine's
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


def own_processes(files: CapturedFiles) -> dict[str, int]:
    """Return path of /proc/PID/stat -> CPU time of the process and of its waited-for children, in us.

    Fields 14 to 17 of proc(5): utime, stime, cutime, cstime. The name in field 2 may hold anything.
    """
    found = {}
    for path in files:
        if not _PROCESS.match(path):
            continue
        fields = " ".join(files[path]).rpartition(")")[2].split()
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
    matches = ((path, _THERMAL.match(path)) for path in files)
    found = {path: single_number(files, path) for path, match in matches if match and match[1] == kind}
    return {path: value for path, value in found.items() if value is not None}


def tcp(files: CapturedFiles) -> tuple[str, Mapping[str, int]]:
    """Return the file of TCP's counters and the counters by name.

    A benchmark in a network namespace of its own has counters of its own: /proc/PID/net/snmp comes first.
    """
    path = next((path for path in files if _SNMP.match(path)), "/proc/net/snmp")
    lines = [line.split()[1:] for line in files.get(path, []) if line.startswith("Tcp:")]
    if len(lines) != 2:
        return path, {}
    pairs = zip(lines[0], map(whole_number, lines[1]), strict=False)
    return path, {name: value for name, value in pairs if value is not None}


def links(files: CapturedFiles) -> dict[str, str]:
    """Return each interface of /proc/net/dev with the text of its counters."""
    found = (line.partition(":") for line in files.get("/proc/net/dev", []))
    return {name.strip(): text for name, colon, text in found if colon}


def link_counters(text: str) -> tuple[int, ...] | None:
    """Return the sixteen counters of an interface, None where they are not all there."""
    words = text.split()
    digits = "".join(words)
    if len(words) != 16 or not (digits.isascii() and digits.isdigit()) or len(max(words, key=len)) > 20:
        return None
    return tuple(map(int, words))


def carrier_changes(files: CapturedFiles) -> dict[str, int]:
    """Return interface -> how often its link came or went since it was made."""
    matches = ((_CARRIER.match(path), path) for path in files)
    found = {match[1]: single_number(files, path) for match, path in matches if match}
    return {name: value for name, value in found.items() if value is not None}


def disks(files: CapturedFiles) -> Iterator[tuple[str, tuple[int, int]]]:
    """Return each disk of /proc/diskstats with the bytes read from it and written to it."""
    for line in files.get("/proc/diskstats", []):
        words = line.split()
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
    cut = files.get("kernel log, cut")
    return (files.get("kernel log"), False) if cut is None else (cut, True)
