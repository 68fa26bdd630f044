"""Parse what a host did while one invocation ran: the difference of two readings of the kernel's counters.

An agent reads the files just before and just after the command; docs/validity.md lists them. A file or
a field that is not there gives None, never 0, and so does a counter that went backwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from perfctl.facts.values import whole_number
from perfctl.validity import counter_files
from perfctl.validity.counter_files import CapturedFiles
from perfctl.validity.kernel_log import messages_of

_CPU_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
"""Of the line `cpu` of /proc/stat, in USER_HZ ticks; see proc(5). user and nice already hold guest time."""
_WHOLE = 8
"""The first eight fields make up all time."""


@dataclass(frozen=True, slots=True)
class LinkDelta:
    """What one interface carried and lost. `errors` and `drops` are of both directions."""

    received_bytes: int
    received_packets: int
    sent_bytes: int
    sent_packets: int
    errors: int
    drops: int

    @property
    def packets(self) -> int:
        """Return the packets of both directions."""
        return self.received_packets + self.sent_packets


@dataclass(frozen=True, slots=True)
class DiskDelta:
    """What one disk did, in bytes."""

    read_bytes: int
    written_bytes: int


@dataclass(frozen=True, slots=True)
class CounterDelta:
    """Differences between two readings. Ticks are USER_HZ of all CPUs, stalls microseconds of wall time."""

    cpu_ticks: int | None
    """All time of all CPUs, idle included."""
    task_ticks: int | None
    """Time that tasks and guests used: user, nice and system. Interrupts are not counted."""
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
    oom_kills: int | None
    kernel_warnings: int | None
    kernel_oopses: int | None
    hung_tasks: int | None
    own_cpu_us: int | None
    """CPU time of the control groups that were read as the benchmark's own, else of its processes."""
    quota_periods: int | None
    """Periods in which a CPU quota stopped the benchmark's own control groups."""
    quota_stopped_us: int | None
    thermal_events: int | None
    """Of the CPU that was throttled most often because of heat."""
    thermal_ms: int | None
    """Of the CPU that was throttled longest."""
    tcp_sent_segments: int | None
    tcp_resent_segments: int | None
    is_own_network: bool
    """Whether TCP's counters are those of the benchmark's own network namespace."""
    clock_step_s: float | None
    """How far the wall clock was set."""
    boot_time_step_s: int | None
    """The same in whole seconds, from the time of boot that the kernel derives from the wall clock."""
    cpus_before: int | None
    cpus_after: int | None
    load_1m_before: float | None
    load_1m_after: float | None
    links: Mapping[str, LinkDelta] = field(default_factory=dict)
    """By interface; one that was not there both times, or whose counters went backwards, is left out."""
    carrier_changes: Mapping[str, int] = field(default_factory=dict)
    disks: Mapping[str, DiskDelta] = field(default_factory=dict)
    messages: tuple[str, ...] | None = None
    """The kernel's log between the readings."""
    is_log_cut: bool = False
    """Whether the log was longer than what was kept."""
    backwards: frozenset[str] = frozenset()
    """Fields (for links and disks their names) that are missing because the counter went backwards."""

    @property
    def steal_fraction(self) -> float | None:
        """The share of all CPU time that the hypervisor gave to others; None where it is not known."""
        if self.steal_ticks is None or not self.cpu_ticks:
            return None
        return self.steal_ticks / self.cpu_ticks


_NO_TRAFFIC = LinkDelta(0, 0, 0, 0, 0, 0)


class _Readings:
    """Both readings, and the counters that went backwards between them."""

    def __init__(self, before: bytes, after: bytes) -> None:
        self.old: CapturedFiles = counter_files.parse_files(before)
        self.new: CapturedFiles = counter_files.parse_files(after)
        self.backwards: set[str] = set()

    def difference(self, name: str, old: int | None, new: int | None) -> int | None:
        """Return new - old, or None when one is missing or the counter was reset."""
        if old is None or new is None:
            return None
        if new < old:
            self.backwards.add(name)
            return None
        return new - old

    def named(self, name: str, path: str, key: str) -> int | None:
        """Return how far the number behind `key` has grown."""
        return self.difference(
            name,
            counter_files.number_after(self.old, path, key),
            counter_files.number_after(self.new, path, key),
        )

    def only(self, name: str, path: str) -> int | None:
        """Return how far the number in a file has grown."""
        return self.difference(
            name, counter_files.single_number(self.old, path), counter_files.single_number(self.new, path)
        )

    def stall(self, resource: str, kind: str) -> int | None:
        """Return how long tasks waited for a resource, in microseconds."""
        old, new = (counter_files.stall_us(files, resource, kind) for files in (self.old, self.new))
        return self.difference(f"{resource}_{kind}_stall_us", old, new)


@dataclass(frozen=True, slots=True)
class InvocationCounters:
    """The counters around one invocation: its own host's, and its server's where they were read."""

    delta: CounterDelta
    duration_s: float | None
    """By the host's clock; None where its start or its end is not known."""
    server_delta: CounterDelta | None = None

    @classmethod
    def parse(
        cls,
        before: bytes,
        after: bytes,
        *,
        started_ns: int | None,
        ended_ns: int | None,
        server_before: bytes = b"",
        server_after: bytes = b"",
    ) -> Self:
        """Return what changed between the texts; `started_ns` and `ended_ns` are the host's CLOCK_MONOTONIC.

        Text that holds no counters is counters that are missing.
        """
        duration_s = None
        if started_ns is not None and ended_ns is not None and ended_ns > started_ns:
            duration_s = (ended_ns - started_ns) / 1e9
        server_delta = parse_counters(server_before, server_after) if server_before and server_after else None
        return cls(parse_counters(before, after), duration_s, server_delta)


def parse_counters(before: bytes, after: bytes) -> CounterDelta:
    """Return what changed from `before` to `after`."""
    both = _Readings(before, after)
    tcp_sent, tcp_resent, is_own_network = _tcp(both)
    periods, stopped_us = _quota(both)
    records, is_log_cut = counter_files.kernel_log(both.new)
    return CounterDelta(
        **_cpu(both),
        context_switches=both.named("context_switches", "/proc/stat", "ctxt"),
        processes_started=both.named("processes_started", "/proc/stat", "processes"),
        cpu_some_stall_us=both.stall("cpu", "some"),
        io_some_stall_us=both.stall("io", "some"),
        io_full_stall_us=both.stall("io", "full"),
        memory_some_stall_us=both.stall("memory", "some"),
        memory_full_stall_us=both.stall("memory", "full"),
        major_faults=both.named("major_faults", "/proc/vmstat", "pgmajfault"),
        swapped_in_pages=both.named("swapped_in_pages", "/proc/vmstat", "pswpin"),
        swapped_out_pages=both.named("swapped_out_pages", "/proc/vmstat", "pswpout"),
        oom_kills=both.named("oom_kills", "/proc/vmstat", "oom_kill"),
        kernel_warnings=both.only("kernel_warnings", "/sys/kernel/warn_count"),
        kernel_oopses=both.only("kernel_oopses", "/sys/kernel/oops_count"),
        hung_tasks=both.only("hung_tasks", "/proc/sys/kernel/hung_task_detect_count"),
        own_cpu_us=_own_cpu_us(both),
        quota_periods=periods,
        quota_stopped_us=stopped_us,
        thermal_events=_thermal(both, "thermal_events", "count"),
        thermal_ms=_thermal(both, "thermal_ms", "total_time_ms"),
        tcp_sent_segments=tcp_sent,
        tcp_resent_segments=tcp_resent,
        is_own_network=is_own_network,
        clock_step_s=_clock_step_s(both),
        boot_time_step_s=_boot_time_step_s(both),
        cpus_before=counter_files.cpu_count(both.old),
        cpus_after=counter_files.cpu_count(both.new),
        load_1m_before=counter_files.load_1m(both.old),
        load_1m_after=counter_files.load_1m(both.new),
        links=_links(both),
        carrier_changes=_carrier_changes(both),
        disks=_disks(both),
        messages=None if records is None else messages_of(records),
        is_log_cut=is_log_cut,
        backwards=frozenset(both.backwards),
    )


def _cpu(both: _Readings) -> dict[str, int | None]:
    old, new = counter_files.cpu_fields(both.old), counter_files.cpu_fields(both.new)

    def ticks(name: str, *places: int) -> int | None:
        pairs = [(old[place], new[place]) for place in places if place < min(len(old), len(new))]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        if not known or len(known) < len(pairs):
            return None
        return both.difference(name, sum(a for a, _ in known), sum(b for _, b in known))

    def one(name: str) -> int | None:
        return ticks(f"{name}_ticks", _CPU_FIELDS.index(name))

    return {
        "cpu_ticks": ticks("cpu_ticks", *range(_WHOLE)),
        "task_ticks": ticks("task_ticks", 0, 1, 2),
        **{f"{name}_ticks": one(name) for name in ("idle", "iowait", "steal", "guest")},
    }


def _own_cpu_us(both: _Readings) -> int | None:
    """Return the growth of everything read as own, or None: a part of it would make the others look big."""
    # The processes of a control group are in it already: they count where no group was read.
    old = counter_files.own_groups(both.old) or counter_files.own_processes(both.old)
    new = counter_files.own_groups(both.new) or counter_files.own_processes(both.new)
    if not old or old.keys() != new.keys():
        return None
    grown = [both.difference("own_cpu_us", old[name], new[name]) for name in old]
    known = [value for value in grown if value is not None]
    return sum(known) if len(known) == len(grown) else None


def _quota(both: _Readings) -> tuple[int | None, int | None]:
    old, new = counter_files.own_throttling(both.old), counter_files.own_throttling(both.new)
    return (
        both.difference("quota_periods", old[0], new[0]),
        both.difference("quota_stopped_us", old[1], new[1]),
    )


def _thermal(both: _Readings, name: str, kind: str) -> int | None:
    """Return the growth at the CPU where it is largest: a package's counter is repeated at each CPU."""
    old, new = counter_files.thermal(both.old, kind), counter_files.thermal(both.new, kind)
    grown = [both.difference(name, old[path], new[path]) for path in old if path in new]
    known = [value for value in grown if value is not None]
    return max(known) if known and len(known) == len(grown) else None


def _tcp(both: _Readings) -> tuple[int | None, int | None, bool]:
    (old_path, old), (new_path, new) = counter_files.tcp(both.old), counter_files.tcp(both.new)
    if old_path != new_path:
        return None, None, False

    def grown(name: str, counter: str) -> int | None:
        return both.difference(name, *(whole_number(found.get(counter, "")) for found in (old, new)))

    sent, resent = grown("tcp_sent_segments", "OutSegs"), grown("tcp_resent_segments", "RetransSegs")
    return sent, resent, new_path != "/proc/net/snmp"


def _clock_step_s(both: _Readings) -> float | None:
    old, new = counter_files.wall_ahead_ns(both.old), counter_files.wall_ahead_ns(both.new)
    return None if old is None or new is None else abs(new - old) / 1e9


def _boot_time_step_s(both: _Readings) -> int | None:
    old, new = (counter_files.number_after(files, "/proc/stat", "btime") for files in (both.old, both.new))
    return None if old is None or new is None else abs(new - old)


def _links(both: _Readings) -> dict[str, LinkDelta]:
    old, found = counter_files.links(both.old), {}
    for name, text in counter_files.links(both.new).items():
        was = old.get(name, "")
        if was == text:
            # As most interfaces of a host with many containers.
            if counter_files.has_link_counters(text):
                found[name] = _NO_TRAFFIC
            continue
        before, counters = counter_files.link_counters(was), counter_files.link_counters(text)
        if counters is None or before is None:
            continue
        known = [new - old for old, new in zip(before, counters, strict=True)]
        if min(known) < 0:
            both.backwards.add(f"links.{name}")
            continue
        # Received: bytes packets errs drop fifo frame compressed multicast. Sent: bytes packets errs drop
        # fifo colls carrier compressed. errs of a driver hold fifo, frame and carrier.
        found[name] = LinkDelta(
            received_bytes=known[0],
            received_packets=known[1],
            sent_bytes=known[8],
            sent_packets=known[9],
            errors=known[2] + known[10],
            drops=known[3] + known[11],
        )
    return found


def _carrier_changes(both: _Readings) -> dict[str, int]:
    old, new = counter_files.carrier_changes(both.old), counter_files.carrier_changes(both.new)
    grown = {
        name: both.difference(f"carrier_changes.{name}", old[name], new[name]) for name in old if name in new
    }
    return {name: value for name, value in grown.items() if value is not None}


def _disks(both: _Readings) -> dict[str, DiskDelta]:
    old, found = dict(counter_files.disks(both.old)), {}
    for name, (read, written) in counter_files.disks(both.new):
        if name not in old:
            continue
        read_bytes = both.difference(f"disks.{name}", old[name][0], read)
        written_bytes = both.difference(f"disks.{name}", old[name][1], written)
        if read_bytes is not None and written_bytes is not None:
            found[name] = DiskDelta(read_bytes, written_bytes)
    return found
