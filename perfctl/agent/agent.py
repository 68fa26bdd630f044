"""The agent: runs the commands of one run on this host, whether or not a controller is connected.

One file of standard-library Python 3.9 or newer. It is sent once per run and host, and lies compiled in the
run's spool folder from then on; docs/jobs.md draws how a request goes through it.

    start REQUEST            make the spool, start the agent or find it with a job that runs, and be a channel
    serve SPOOL LIFETIME_S   be the agent
    reap REQUEST             end what belongs to a run
    end PID                  end the session of a process, which is no job; exit code 1 if something survives

A channel is a process that has handed its input and output to the agent, and sleeps. Messages are frames: a
prefix, JSON and raw parts. The files of a job lie in `jobs` (ID.job: the request and the process, ID.in,
ID.end: the result) and `output` (ID.out, ID.err) until a controller says that it has stored them. No file is
synced: a host that restarts loses its jobs anyway, and a result that is not whole counts as lost.

In this order:

    frames                     messages, as they are on their way; the controller imports this part, too
    processes                  who is alive, who descends from whom, and how all of them are ended
    what is read around a job  counters, the kernel's log, who uses the processors
    jobs                       what is known of one; where armed ones wait; ports that listen
    channels                   the loop that waits for everything, and a controller's way in
    the agent                  requests, the beginning and end of jobs, also of armed ones, results, the disk
    small things               checks of requests, starting a program, files
    spools, seen from outside  what is running there, and how it is ended and removed
    starting                   the spool, the unit or session, the relay; reaping; `main`
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import stat
import struct
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    # Not there for the hosts, where typing is slow to import.
    import types
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    Record = dict[str, Any]

PROTOCOL = 1
"""Agents of another number speak another language."""

LEASE_LOCK = "/var/tmp"
"""What is locked while a host's lease is changed, by whomever."""
SPAWNED_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
GRACE_S = 2.0
"""How long processes may take to end after SIGTERM before they get SIGKILL."""
_KILL_S = 5.0
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FILE_LIMITS = resource.getrlimit(resource.RLIMIT_NOFILE)
_READ_BYTES = 1 << 16
_PIECE_BYTES = 3072
_SOCKET_LINE_BYTES = 150
_LISTENS = b"0A"
_NETWORK = re.compile(r"/proc/([1-9][0-9]{0,8}/)?net")
_NS = 1_000_000_000


class Failure(Exception):
    """Why a request could not be carried out; `kind` is 'failed', 'full' or 'version'."""

    def __init__(self, message: str, kind: str = "failed") -> None:
        super().__init__(message)
        self.kind = kind


# ---- frames -----------------------------------------------------------------------------------------------

PREFIX = struct.Struct(">4sI")
MAGIC = b"PCA" + bytes([PROTOCOL])
LARGEST_HEADER_BYTES = 8 << 20
LARGEST_PART_BYTES = 1 << 20
"""Of what is sent to the agent; what is longer goes in pieces."""
_MOST_PARTS = 16


class FrameError(Exception):
    """What arrived is no frame of this protocol."""


def pack(header: Mapping[str, Any], sizes: Sequence[int] = ()) -> bytes:
    """Return the beginning of a frame; parts of these sizes in bytes must follow."""
    text = json.dumps({**header, "parts": list(sizes)}).encode("ascii")
    return PREFIX.pack(MAGIC, len(text)) + text


def header_size(prefix: bytes) -> int:
    """Return how many bytes of JSON follow a prefix. Raises FrameError."""
    magic, size = PREFIX.unpack(prefix)
    if magic != MAGIC:
        raise FrameError(f"no frame of protocol {PROTOCOL} begins with {bytes(prefix)!r}")
    if size > LARGEST_HEADER_BYTES:
        raise FrameError(f"a header of {size} bytes is too long")
    return int(size)


def parse_header(text: bytes, largest_part_bytes: int) -> Record:
    """Return a frame's header, whose `parts` are sizes. Raises FrameError."""
    try:
        header = json.loads(text.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise FrameError(f"a header cannot be read: {error!s:.80}") from error
    if not isinstance(header, dict):
        raise FrameError("a header is no object")
    sizes = header.get("parts")
    if not isinstance(sizes, list) or len(sizes) > _MOST_PARTS:
        raise FrameError("a header does not name its parts")
    if not all(type(size) is int and 0 <= size <= largest_part_bytes for size in sizes):
        raise FrameError("a part's size is none, or too large")
    return header


class Decoder:
    """Makes frames out of bytes as they come."""

    def __init__(self, largest_part_bytes: int = LARGEST_PART_BYTES) -> None:
        self._largest_part_bytes = largest_part_bytes
        self._buffer = bytearray()
        self._header: Record | None = None

    def feed(self, data: bytes) -> None:
        """Add bytes that have arrived."""
        self._buffer += data

    def next(self) -> tuple[Record, list[bytes]] | None:
        """Return the next frame's header and parts, None until it is whole. Raises FrameError."""
        if self._header is None:
            if len(self._buffer) < PREFIX.size:
                return None
            end = PREFIX.size + header_size(bytes(self._buffer[: PREFIX.size]))
            if len(self._buffer) < end:
                return None
            self._header = parse_header(bytes(self._buffer[PREFIX.size : end]), self._largest_part_bytes)
            del self._buffer[:end]
        sizes = self._header["parts"]
        if len(self._buffer) < sum(sizes):
            return None
        parts = []
        for size in sizes:
            parts.append(bytes(self._buffer[:size]))
            del self._buffer[:size]
        header, self._header = self._header, None
        return header, parts


# ---- processes --------------------------------------------------------------------------------------------


def content(path: str, most_bytes: int = _READ_BYTES) -> bytes:
    """Return the beginning of a small file, b'' where it cannot be read."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return b""
    try:
        return os.read(file, most_bytes)
    except OSError:
        return b""
    finally:
        os.close(file)


class Process:
    """A living process, from /proc/PID/stat; see proc(5)."""

    __slots__ = ("group", "parent", "pid", "session", "start")

    def __init__(self, pid: int, fields: Sequence[bytes]) -> None:
        self.pid = pid
        self.parent, self.group, self.session = map(int, fields[1:4])
        self.start = int(fields[19])
        """In clock ticks since the boot."""


def process(pid: int) -> Process | None:
    """Return a process, None when it has ended."""
    fields = content(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return Process(pid, fields) if len(fields) > 19 and fields[0] not in b"ZX" else None


def processes() -> dict[int, Process]:
    """Return the living processes that this login can see, by their ids."""
    found = (process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {each.pid: each for each in found if each is not None}


def mark_of(run: str, job_id: str) -> bytes:
    """Return what each process of a job has in its environment, unless it hides."""
    return f"PERFCTL_JOB={run}/{job_id};".encode()


def is_marked(pid: int, *marks: bytes) -> bool:
    """Return whether a process began with one of these in its environment."""
    text = content(f"/proc/{pid}/environ", 2 << 20)
    return any(mark in text for mark in marks)


def with_descendants(table: Mapping[int, Process], roots: Iterable[int]) -> set[int]:
    """Return the roots and all that they have started, and so on, that still has its parent."""
    children: dict[int, list[int]] = {}
    for each in table.values():
        children.setdefault(each.parent, []).append(each.pid)
    found: set[int] = set()
    todo = list(roots)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo += children.get(pid, ())
    return found


def signal_all(pids: Iterable[int], number: int) -> None:
    """Send a signal to processes that may be gone, or somebody else's."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


class Ending:
    """Ends what `find` finds step by step: SIGTERM, SIGKILL after a while, giving up at last."""

    def __init__(self, find: Callable[[], set[int]]) -> None:
        self._find = find
        self._told: set[int] = set()
        self._pause_ns = 5_000_000
        self._kill_ns = time.monotonic_ns() + int(GRACE_S * _NS)
        self.next_ns = 0
        """When the next step is due."""

    def step(self) -> bool | None:
        """Do what is due now; return whether all are gone, None as long as it goes on."""
        now = time.monotonic_ns()
        pids = self._find()
        if not pids:
            return True
        if now > self._kill_ns + int(_KILL_S * _NS):
            return False
        if now >= self._kill_ns:
            signal_all(pids, signal.SIGKILL)
        else:
            signal_all(pids - self._told, signal.SIGTERM)
            self._told |= pids
        self._pause_ns = min(2 * self._pause_ns, 100_000_000)
        self.next_ns = now + self._pause_ns
        if now < self._kill_ns:
            self.next_ns = min(self.next_ns, self._kill_ns)
        return None


def end_all(find: Callable[[], set[int]]) -> bool:
    """End what `find` finds, wait for it, and return whether nothing of it is left."""
    ending = Ending(find)
    while True:
        are_gone = ending.step()
        if are_gone is not None:
            return are_gone
        time.sleep(max(0, ending.next_ns - time.monotonic_ns()) / _NS)


def end_session(pid: int) -> bool:
    """End the session of a process, and return whether nothing of it is left.

    One that is gone is taken for the leader of its own.
    """
    found = process(pid)
    session = found.session if found else pid
    return end_all(lambda: {each.pid for each in processes().values() if each.session == session})


# ---- what is read around a job ----------------------------------------------------------------------------

_COUNTERS = (
    "/proc/stat",
    "/proc/loadavg",
    "/proc/pressure/cpu",
    "/proc/pressure/memory",
    "/proc/pressure/io",
    "/proc/vmstat",
    "/proc/net/snmp",
    "/proc/net/dev",
    "/proc/diskstats",
    "/sys/kernel/warn_count",
    "/sys/kernel/oops_count",
    "/proc/sys/kernel/hung_task_detect_count",
    "/sys/class/net/*/carrier_changes",
    "/sys/devices/system/cpu/cpu*/thermal_throttle/*_throttle_count",
    "/sys/devices/system/cpu/cpu*/thermal_throttle/*_total_time_ms",
)


class Counters:
    """The kernel's counters: descriptors that stay open, so that reading them costs little."""

    def __init__(self) -> None:
        patterns = [*_COUNTERS, *group_counters(content("/proc/self/cgroup"))]
        # Where no group counts the jobs' time, this process does, which waits for them.
        patterns.append(f"/proc/{os.getpid()}/stat")
        self._files: list[tuple[bytes, int]] = []
        for path in existing(patterns):
            try:
                file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                # Of some the kernel says only now that it does not have them.
                os.pread(file, 1, 0)
            except OSError:
                os.close(file)
                continue
            self._files.append((b"==> %s <==\n" % os.fsencode(path), file))

    def read(self) -> bytes:
        """Return all files' text, each below a line `==> PATH <==`."""
        found: list[bytes] = []
        for head, file in self._files:
            try:
                text = piece = os.pread(file, _READ_BYTES, 0)
                # The kernel gives some in pieces of up to a page; no line is longer than a quarter of one.
                while len(piece) > _PIECE_BYTES:
                    piece = os.pread(file, _READ_BYTES, len(text))
                    text += piece
            except OSError:
                # Of an interface or a processor that has gone.
                continue
            found += (head, text, b"\n")
        return b"".join(found)


def group_counters(text: bytes) -> list[str]:
    """Return patterns of the files that count the time of the control groups in a /proc/PID/cgroup.

    In version 1 each controller has a tree of its own, and a process may be in a unit's group in one and in
    the whole machine's in another. The root's counters say nothing of a process.
    """
    found = []
    for line in text.decode("utf-8", "surrogateescape").splitlines():
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        if group in ("", "/"):
            continue
        group = glob.escape(group)
        if not controllers:
            found += [f"/sys/fs/cgroup{group}/cpu.stat", f"/sys/fs/cgroup/unified{group}/cpu.stat"]
        elif {"cpu", "cpuacct"}.intersection(controllers.split(",")):
            folder = f"/sys/fs/cgroup/{controllers}{group}"
            found += [f"{folder}/cpu.stat", f"{folder}/cpuacct.usage", f"{folder}/cpuacct.stat"]
    return found


def read_clock() -> bytes:
    """Return how far the wall clock is ahead of the monotonic one, in nanoseconds, as a counter.

    Right to a fraction of a microsecond: of several readings the one counts that took the least time.
    """
    best_ns, ahead_ns = _NS, 0
    for _ in range(4):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        wall = time.clock_gettime_ns(time.CLOCK_REALTIME)
        took_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - before
        if took_ns < best_ns:
            best_ns, ahead_ns = took_ns, wall - before - took_ns // 2
    return b"==> clock <==\n%d\n" % ahead_ns


class KernelLog:
    """What the kernel writes into its log after `begin`. Nobody is woken up by it."""

    _KEPT_BYTES = 1 << 16
    _DEVICE = os.makedev(1, 11)

    def __init__(self) -> None:
        self._file = -1
        try:
            status = os.lstat("/dev/kmsg")
            # In some containers it is a link to a console, whose input is not ours to take.
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == self._DEVICE:
                self._file = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            pass

    def begin(self) -> None:
        """Skip what the kernel has written until now."""
        if self._file >= 0:
            os.lseek(self._file, 0, os.SEEK_END)

    def read(self) -> bytes:
        """Return the records that came, as a section of the counters; b'' where they cannot be read."""
        if self._file < 0:
            return b""
        records: list[bytes] = []
        size = 0
        is_cut = False
        while True:
            try:
                record = os.read(self._file, 8192)
            except BlockingIOError:
                break
            except BrokenPipeError:
                # The kernel has written over what was not read yet; the next one is the oldest it has.
                is_cut = True
                continue
            except OSError:
                is_cut = True
                break
            if not record:
                break
            size += len(record)
            if size > self._KEPT_BYTES:
                is_cut = True
                break
            records.append(record)
        return b"\n==> kernel log%s <==\n%s" % (b", cut" if is_cut else b"", b"".join(records))


class ProcessView:
    """Raw readings of all processes around and during a job; the controller subtracts them.

    `watched` says which are the environment's: 'cgroup:TEXT', 'pidfile:PATH', '' the command's own.
    """

    def __init__(self, watched: str) -> None:
        kind, _, text = watched.partition(":")
        self._group_text = os.fsencode(text) if kind == "cgroup" else b""
        self._pid_file = text if kind == "pidfile" else ""
        self._first: dict[str, bytes] = {}
        self._used: set[str] = set()
        """Who has changed since the first reading: of all others nothing is kept."""
        self._counters: list[str] = []
        self._rest: list[bytes] = []
        self.readings = [b"", b"", b""]
        """Before, half way and after; the first one is there after the last."""
        self.half_ns: int | None = None

    def read(self, number: int) -> None:
        """Take the reading of this number."""
        found: list[bytes] = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            text = content(f"/proc/{name}/stat")
            if not text:
                continue
            if number == 0:
                self._first[name] = text
                if self._group_text:
                    self._find_counters(content(f"/proc/{name}/cgroup"))
            elif self._first.get(name) != text:
                self._used.add(name)
                group = content(f"/proc/{name}/cgroup")
                _add(found, f"/proc/{name}/stat", text)
                _add(found, f"/proc/{name}/cgroup", group)
                self._find_counters(group)
        self._add_leader(found)
        for path in self._counters:
            _add(found, path, content(path))
        if number == 0:
            self._rest = found
            return
        self.readings[number] = b"".join(found)
        if number == 2:
            before: list[bytes] = []
            for name in self._used:
                _add(before, f"/proc/{name}/stat", self._first.get(name, b""))
            self.readings[0] = b"".join([*before, *self._rest])
            self._first = {}

    def read_half_way(self) -> None:
        """Take the reading half way."""
        self.half_ns = time.monotonic_ns()
        self.read(1)

    def _find_counters(self, group: bytes) -> None:
        if self._group_text and not self._counters:
            lines = [line for line in group.splitlines(True) if self._group_text in line]
            self._counters = existing(group_counters(b"".join(lines)))

    def _add_leader(self, found: list[bytes]) -> None:
        # Such a file may lack the end of its line.
        words = content(self._pid_file).split() if self._pid_file else []
        if words and words[0].isdigit():
            _add(found, "leader", words[0])
            folder = f"/proc/{os.fsdecode(words[0])}"
            for path in existing([f"{folder}/stat", f"{folder}/task/*/stat"]):
                _add(found, path, content(path))


def existing(patterns: Iterable[str]) -> list[str]:
    """Return the files that patterns stand for."""
    return [path for pattern in patterns for path in sorted(glob.glob(pattern))]


def _add(found: list[bytes], path: str, text: bytes) -> None:
    if text:
        found += (b"==> %s <==\n" % os.fsencode(path), text, b"" if text.endswith(b"\n") else b"\n")


# ---- jobs -------------------------------------------------------------------------------------------------


def is_unnamed(job_id: str) -> bool:
    """Return whether a job is one whose result nobody but its own controller asks for."""
    return job_id.startswith("auto-")


class Job:
    """A command: requested, running, ending, ended."""

    def __init__(self, job_id: str, request: Record) -> None:
        self.id = job_id
        self.request = request
        self.argv = [word.encode("utf-8", "surrogateescape") for word in request["argv"]]
        self.limit_bytes = int(request["limit_bytes"])
        self.view = None if request["watched"] is None else ProcessView(request["watched"])
        self.is_background = request["verb"] == "spawn"
        self.was_started = False
        self.log: KernelLog | None = None
        self.pid = 0
        self.started_ns = 0
        self.ended_ns = 0
        self.exit_code: int | None = None
        """None while its process runs."""
        self.usage: Record | None = None
        self.why = "exited"
        self.before = b""
        self.after = b""
        self.gate: Gate | None = None
        """Where it waits, armed, until it is released."""
        self.report = -1
        """Of a job that was armed: by this its process says when it went on."""
        self.used: Sequence[float] = ()
        """What its process had used by the time it waited."""
        self.left_behind: list[str] = []
        self.is_over = False
        """Whether everything that it started has ended, or been let be."""
        self.survives = False
        self.at_end: list[Callable[[], None]] = []


class Gate:
    """Where the processes of armed jobs wait: it opens for all at once.

    A pipe whose other end they poll and nobody reads: a byte in it wakes them all. Without a writer they end:
    when the gate is closed, and when this process is killed.
    """

    def __init__(self, channel: Channel, wait_s: float) -> None:
        self.reader, self._writer = os.pipe2(os.O_CLOEXEC)
        self.channel = channel
        self.jobs: list[Job] = []
        self.wait_s = wait_s

    def open(self) -> None:
        """Let all go on at once."""
        write_if_possible(self._writer, b"+")

    def close(self) -> None:
        """Let none go on that has not yet."""
        os.close(self.reader)
        os.close(self._writer)
        for job in self.jobs:
            job.gate = None


def listens(folder: str, port: int) -> bool:
    """Return whether a TCP socket listens on a port in a network, e.g. that of /proc/net. Raises OSError."""
    for name in ("tcp", "tcp6"):
        try:
            file = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if name == "tcp6":
                break  # Without IPv6 there is none.
            raise
        try:
            if b"%04X" % port in listening_ports(file):
                return True
        finally:
            os.close(file)
    return False


def listening_ports(file: int) -> Iterator[bytes]:
    """Yield the ports that listen, as the kernel writes them, from /proc/net/tcp or tcp6; see proc(5).

    The kernel lists them first, and then all connections, for which it goes through a table that is large
    on a large host. So little is read at a time, and no more than up to the first connection.
    """
    rest = b""
    while True:
        piece = os.read(file, _SOCKET_LINE_BYTES)
        *lines, rest = (rest + piece).split(b"\n")
        for fields in map(bytes.split, lines):
            if len(fields) > 3 and fields[3] == _LISTENS:
                yield fields[1].rpartition(b":")[2]
            elif fields[:1] != [b"sl"]:
                return
        if not piece:
            return


# ---- channels ---------------------------------------------------------------------------------------------


class Loop:
    """Waits for descriptors and for times, and calls who waits for them."""

    def __init__(self) -> None:
        self._poller = select.poll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._timers: dict[object, tuple[int, Callable[[], None]]] = {}

    def watch(self, file: int, events: int, handler: Callable[[], None]) -> None:
        """Call `handler` whenever the events are there; instead of what was said for this file before."""
        self._handlers[file] = handler
        self._poller.register(file, events)

    def forget(self, file: int) -> None:
        """Wait for this file no longer; again is harmless."""
        if self._handlers.pop(file, None):
            self._poller.unregister(file)

    def call_at(self, key: object, at_ns: int, action: Callable[[], None]) -> None:
        """Call `action` once at a time of CLOCK_MONOTONIC; instead of what was said for this key before."""
        self._timers[key] = (at_ns, action)

    def call_off(self, key: object) -> None:
        """Do not wait for this key's time any longer; again is harmless."""
        self._timers.pop(key, None)

    def turn(self, most_ms: int = 1 << 30) -> None:
        """Wait for events or a time, not longer than `most_ms`, and handle what is there."""
        wait_ns = min((at_ns for at_ns, _ in self._timers.values()), default=1 << 62) - time.monotonic_ns()
        for file, _ in self._poller.poll(min(max(0, -(-wait_ns // 1_000_000)), most_ms)):
            handler = self._handlers.get(file)
            # One handler may close what another one waits for.
            if handler:
                handler()
        now = time.monotonic_ns()
        for key, timer in list(self._timers.items()):
            if timer[0] <= now and self._timers.get(key) is timer:
                del self._timers[key]
                timer[1]()


class Channel:
    """A controller's way in: the input and output of a process that sleeps beside its link."""

    def __init__(self, link: socket.socket, loop: Loop, agent: Agent) -> None:
        self._link = link
        self._loop = loop
        self._agent = agent
        self._input = -1
        self._output = -1
        self._decoder = Decoder()
        self._waiting: list[bytes | tuple[int, int]] = []
        """What was not written yet: bytes, or a file and how many bytes of it."""
        self._pending = memoryview(b"")
        loop.watch(link.fileno(), select.POLLIN, self._link_has_news)

    def _link_has_news(self) -> None:
        """Take the two descriptors; later news is that the process at the other end has ended."""
        try:
            _, files, _, _ = socket.recv_fds(self._link, 1, 2)
        except OSError:
            files = []
        for file in files:
            # A job that had them would keep the channel open when this process is gone.
            os.set_inheritable(file, False)
        if self._input >= 0 or len(files) != 2:
            for file in files:
                os.close(file)
            self.close()
            return
        self._input, self._output = files
        for file in files:
            os.set_blocking(file, False)
        self._loop.watch(self._input, select.POLLIN, self._receive)
        self.send(pack(self._agent.greeting()))

    def _receive(self) -> None:
        try:
            data = os.read(self._input, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._decoder.feed(data)
        while self._input >= 0:
            try:
                frame = self._decoder.next()
            except FrameError as error:
                self.send(pack({"error": str(error), "kind": "failed"}))
                self.close()
                return
            if frame is None:
                return
            try:
                self._agent.handle(self, *frame)
            except Failure as error:
                self.send(pack({"error": str(error), "kind": error.kind}))
            except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
                # Whatever one request was, the other jobs go on.
                self.send(pack({"error": f"{type(error).__name__}: {error}", "kind": "failed"}))

    def send(self, *pieces: bytes | tuple[int, int]) -> None:
        """Send bytes, and files as (descriptor, number of bytes), which are closed."""
        self._waiting += pieces
        if self._input < 0:
            self.close()
        elif not self._pending:
            self._flush()

    def _flush(self) -> None:
        try:
            is_whole = self._write()
        except OSError:
            self.close()
            return
        # Input and output may be one socket under two numbers: each is waited for by itself.
        if is_whole:
            self._loop.forget(self._output)
        else:
            self._loop.watch(self._output, select.POLLOUT, self._flush)

    @property
    def is_idle(self) -> bool:
        """Whether everything has been written."""
        return not self._pending and not self._waiting

    def _write(self) -> bool:
        while True:
            if not self._pending:
                self._pending = memoryview(self._next_bytes())
                if not self._pending:
                    return True
            try:
                self._pending = self._pending[os.write(self._output, self._pending) :]
            except BlockingIOError:
                return False

    def _next_bytes(self) -> bytes:
        """Return what is sent in one go: each write wakes up who reads."""
        found: list[bytes] = []
        size = 0
        while self._waiting and size < _READ_BYTES:
            piece = self._waiting.pop(0)
            if isinstance(piece, tuple):
                file, left = piece
                piece = os.read(file, min(left, _READ_BYTES - size))
                if left and not piece:
                    os.close(file)
                    raise OSError(errno.EIO, "an output has become shorter")
                if left > len(piece):
                    self._waiting.insert(0, (file, left - len(piece)))
                else:
                    os.close(file)
            found.append(piece)
            size += len(piece)
        return b"".join(found)

    def close(self) -> None:
        """Close everything, by which its process ends; again is harmless."""
        for file in (self._input, self._output):
            if file >= 0:
                self._loop.forget(file)
                os.close(file)
        self._input = self._output = -1
        for piece in self._waiting:
            if isinstance(piece, tuple):
                os.close(piece[0])
        self._waiting = []
        self._pending = memoryview(b"")
        if self._link.fileno() >= 0:
            self._loop.forget(self._link.fileno())
            self._link.close()
        self._agent.channels.discard(self)
        self._agent.disarm(self)


# ---- the agent --------------------------------------------------------------------------------------------

_PORT_PAUSE_NS = 1_000_000
"""Until the first look at a port: no server listens sooner, and to see that nothing listens takes longer."""
_OUTPUT_PAUSE_NS = 20_000_000
"""From a write to the look at the outputs: who prints without end must not be slowed down much by this."""
_ARMING_MS = 10_000
_STARTED = struct.Struct("=q")
_USED = struct.Struct("=ddqqqqq")
_USED_FIELDS = ("ru_utime", "ru_stime", "ru_minflt", "ru_majflt", "ru_nvcsw", "ru_nivcsw", "ru_maxrss")
_USED_NAMES = (
    *("user_s", "system_s", "minor_faults", "major_faults"),
    *("voluntary_switches", "involuntary_switches"),
)
_BLOCK = b"x" * 8192
_PARTS = ("out", "err")


class Agent:
    """Runs jobs and serves channels, in one thread that sleeps in between."""

    def __init__(self, spool: str, lifetime_s: float) -> None:
        self.spool = spool
        self.run = os.path.basename(spool)
        self.identity = identity_of(os.getpid())
        self.channels: set[Channel] = set()
        self._loop = Loop()
        self._jobs: dict[str, Job] = {}
        self._running: dict[int, Job] = {}
        """By the id of the process that was started."""
        self._strays: dict[int, str | None] = {}
        """Children that were not started here but left behind, with the job that did."""
        self._endings: dict[Ending, Callable[[bool], None]] = {}
        self._gates: dict[Channel, Gate] = {}
        """What is armed goes with the channel that it was armed by."""
        self._cancelled: set[str] = set()
        self._at_stop: list[Callable[[], None]] = []
        self._logs: list[KernelLog] = []
        self._is_stopping = False
        self._end_ns = time.monotonic_ns() + int(lifetime_s * _NS)
        os.umask(0o022)
        os.environ["LC_ALL"] = "C"
        os.environ["PATH"] = SPAWNED_PATH
        self._environment = dict(os.environb)
        self._no_input = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self._reserve = os.open(f"{spool}/reserve", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        """Room on the disk that is put by for results."""
        self._outputs = os.open(f"{spool}/output", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._children = f"/proc/self/task/{os.getpid()}/children"
        become_subreaper()
        # The counters of several hundred processors are more files than a login may open.
        resource.setrlimit(resource.RLIMIT_NOFILE, (_FILE_LIMITS[1], _FILE_LIMITS[1]))
        self._has_room()
        self._counters = Counters()
        self._listen_to_signals()
        self._watch_outputs()
        self._socket = self._listen()

    # ---- waiting ----

    def _listen_to_signals(self) -> None:
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGIO, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        # A login's end is not ours.
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        self._loop.watch(reader, select.POLLIN, lambda: self._signalled(reader))

    def _signalled(self, reader: int) -> None:
        now = time.monotonic_ns()
        numbers = os.read(reader, 4096)
        if signal.SIGCHLD in numbers:
            self._reap(now)
        if signal.SIGIO in numbers:
            self._loop.call_at("outputs", now + _OUTPUT_PAUSE_NS, self._look_at_outputs)
        if signal.SIGTERM in numbers:
            self.stop()

    def _listen(self) -> socket.socket:
        # By a name that is short: the whole path may be longer than a socket's can be.
        os.chdir(self.spool)
        remove("agent.sock")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        listener.bind("agent.sock")
        os.chmod("agent.sock", 0o600)
        listener.listen(16)
        self._loop.watch(listener.fileno(), select.POLLIN, self._accept)
        write_file("agent.new", json.dumps({"protocol": PROTOCOL, "agent": self.identity}).encode("ascii"))
        os.rename("agent.new", "agent.json")
        os.chdir("work")
        return listener

    def _accept(self) -> None:
        try:
            link, _ = self._socket.accept()
            _, uid, _ = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        except OSError:
            return
        if uid not in (0, os.geteuid()):
            link.close()
            return
        link.setblocking(False)
        self.channels.add(Channel(link, self._loop, self))

    def serve(self) -> None:
        """Serve until the run is stopped or the lifetime is over."""
        self._loop.call_at("lifetime", self._end_ns, lambda: self.stop("lost"))
        while not (self._is_stopping and not self._endings):
            self._loop.turn()
        limit = time.monotonic() + 5.0
        while any(not channel.is_idle for channel in self.channels) and time.monotonic() < limit:
            self._loop.turn(100)

    # ---- requests ----

    def greeting(self) -> Record:
        """Return what a channel begins with."""
        return {"protocol": PROTOCOL, "python": sys.version.split()[0], "jobs": self._list()}

    def handle(self, channel: Channel, request: Record, parts: list[bytes]) -> None:
        """Carry out a request. Raises Failure, which is the answer then."""
        for job_id in request.get("stored") or ():
            self._forget(str(job_id))
        verb = str(request.get("verb"))
        of_agent: dict[str, Callable[[], None]] = {
            "list": lambda: channel.send(pack({"jobs": self._list()})),
            "clock": lambda: channel.send(
                pack({"monotonic_ns": time.monotonic_ns(), "wall_ns": time.time_ns()})
            ),
            "counters": lambda: self._send_counters(channel, request),
            "listens": lambda: self._await_port(channel, request),
            "arm": lambda: self._arm(channel, request),
            "release": lambda: self._release(channel),
            "cancel": lambda: self._cancel(channel, list(map(checked_name, request.get("ids") or ()))),
            "stop": lambda: self._stop_for(channel, request),
        }
        if verb in of_agent:
            of_agent[verb]()
        elif verb in ("run", "spawn", "wait", "input", "is_running", "end", "output"):
            job_id = checked_name(request.get("id"))
            getattr(self, f"_{verb}")(channel, job_id, request, parts)
        else:
            raise Failure(f"no request is called {verb!r:.40}")

    def _run(self, channel: Channel, job_id: str, request: Record, parts: list[bytes]) -> None:
        if self._is_known(job_id):
            # It is not run again, not even when an earlier agent did.
            self._wait(channel, job_id, request, parts)
            return
        job = self._begun(job_id, request)
        self._when_over([job], lambda: self._send_result(channel, job))

    def _spawn(self, channel: Channel, job_id: str, request: Record, _: list[bytes]) -> None:
        job = self._jobs.get(job_id) or self._begun(job_id, request)
        channel.send(pack({"state": "started" if job.why == "exited" else job.why}))

    def _send_counters(self, channel: Channel, request: Record) -> None:
        """Read what is read around a job, while nothing is started; the lease is renewed as by a job."""
        lease = request.get("lease")
        if lease is not None and not is_lease(lease):
            raise Failure("a request for counters has no lease that can be read")
        if lease and not hold(*lease):
            channel.send(pack({"state": "fenced"}))
            return
        text = self._counters.read() + read_clock()
        channel.send(pack({"state": "read"}, [len(text)]), text)

    def _await_port(self, channel: Channel, request: Record) -> None:
        """Answer as soon as a TCP port listens, or after `wait_s`."""
        folder = str(request.get("folder"))
        is_right = (
            _NETWORK.fullmatch(folder)
            and type(request.get("port")) is int
            and is_number(request.get("wait_s"))
        )
        if not is_right or not 0 < request["port"] < 1 << 16:
            raise Failure("a request to wait for a port has not all it needs")

        # One learns at once that nothing can be seen there.
        os.stat(f"{folder}/tcp")
        end_ns = time.monotonic_ns() + int(request["wait_s"] * _NS)
        self._look_at_port(channel, folder, request["port"], end_ns, _PORT_PAUSE_NS)

    def _look_at_port(self, channel: Channel, folder: str, port: int, end_ns: int, pause_ns: int) -> None:
        """Look whether the port listens, after a pause and again and again, and answer at last."""

        def look() -> None:
            is_there = is_gone = False
            try:
                is_there = listens(folder, port)
            except OSError:
                # A container's network goes with it.
                is_gone = True
            if is_there or is_gone or time.monotonic_ns() >= end_ns:
                channel.send(pack({"listens": is_there}))
            else:
                self._look_at_port(channel, folder, port, end_ns, min(2 * pause_ns, 100_000_000))

        self._loop.call_at((channel, "port"), min(time.monotonic_ns() + pause_ns, end_ns), look)

    def _wait(self, channel: Channel, job_id: str, request: Record, _: list[bytes]) -> None:
        job = self._jobs.get(job_id)
        if job is None:
            self._send_stored(channel, job_id)
        else:
            self._when_over([job], lambda: self._send_result(channel, job))

    def _input(self, channel: Channel, job_id: str, request: Record, parts: list[bytes]) -> None:
        """Keep a piece of a command's standard input; there is no answer unless it cannot be kept."""
        if job_id in self._jobs:
            return  # The connection broke when it had been sent.
        path = self._path(job_id, "in")
        is_first = bool(request.get("is_first"))
        # After a piece that could not be kept there is no file, and those that follow are dropped.
        flags = os.O_CREAT | os.O_TRUNC if is_first else os.O_APPEND
        try:
            write_file(path, b"".join(parts), flags)
        except OSError as error:
            # The request that needs it finds nothing, and is refused.
            remove(path)
            if error.errno not in _FULL and (is_first or error.errno != errno.ENOENT):
                raise Failure(f"its input cannot be kept: {error.strerror}") from error

    def _is_running(self, channel: Channel, job_id: str, request: Record, _: list[bytes]) -> None:
        job = self._jobs.get(job_id)
        channel.send(pack({"is_running": job is not None and job.exit_code is None}))

    def _end(self, channel: Channel, job_id: str, request: Record, _: list[bytes]) -> None:
        """End a command, and answer with what it has written."""
        job = self._jobs.get(job_id)
        if job is None:
            channel.send(pack({"is_gone": True}))
            return

        def ended() -> None:
            header = {"is_gone": not job.survives}
            channel.send(*self._frame(header, job.limit_bytes, job_id, []))

        self._force(job, "cancelled")
        self._when_over([job], ended)

    def _output(self, channel: Channel, job_id: str, request: Record, _: list[bytes]) -> None:
        job = self._jobs.get(job_id)
        if job is None:
            raise Failure(f"there is no command {job_id}")
        channel.send(*self._frame({}, job.limit_bytes, job_id, []))

    def _cancel(self, channel: Channel, job_ids: list[str]) -> None:
        jobs = [self._jobs[job_id] for job_id in job_ids if job_id in self._jobs]
        # The requests of the others may still be under way.
        self._cancelled.update(set(job_ids) - set(self._jobs))
        for job in jobs:
            self._force(job, "cancelled")
        self._when_over(jobs, lambda: channel.send(pack({})))

    def _when_over(self, jobs: Iterable[Job], action: Callable[[], None]) -> None:
        """Call `action` as soon as all these jobs are over."""
        left = [job for job in jobs if not job.is_over]
        if left:
            left[0].at_end.append(lambda: self._when_over(left, action))
        else:
            action()

    def _list(self) -> Record:
        """Return state and time limit of the named jobs here: 'running', 'ended' or 'lost'."""
        found: Record = {}
        names = {name.rpartition(".")[::2] for name in names_in(f"{self.spool}/jobs")}
        for job_id in {job_id for job_id, kind in names if kind in ("job", "end") and not is_unnamed(job_id)}:
            job = self._jobs.get(job_id)
            if job is not None and not job.is_over:
                found[job_id] = ["running", job.request["timeout_s"]]
            else:
                found[job_id] = ["ended" if (job_id, "end") in names else "lost", 0.0]
        return found

    def _path(self, job_id: str, kind: str) -> str:
        return f"{self.spool}/{'output' if kind in _PARTS else 'jobs'}/{job_id}.{kind}"

    def _is_known(self, job_id: str) -> bool:
        """Return whether a job was asked for before, here or of an earlier agent."""
        return job_id in self._jobs or any(
            os.path.exists(self._path(job_id, kind)) for kind in ("job", "end")
        )

    def _forget(self, job_id: str) -> None:
        job = self._jobs.get(job_id)
        if not _NAME.fullmatch(job_id) or (job is not None and not job.is_over):
            return
        self._jobs.pop(job_id, None)
        for kind in ("job", "in", "end", *_PARTS):
            remove(self._path(job_id, kind))

    # ---- a job's beginning ----

    def _begun(self, job_id: str, request: Record) -> Job:
        """Return a job that was started, or one that is over because it could not be."""
        job = Job(job_id, checked_request(request))
        refusal = self._refusal(job)
        files = None if refusal else self._make_files(job)
        if files is None:
            job.why, job.is_over, job.exit_code = refusal or "unstarted", True, 0
            if refusal:
                self._jobs[job_id] = job
            # Else it is not known here: once there is room it may be asked for again.
            if refusal == "fenced" and not is_unnamed(job_id):
                self._store(job)
            return job
        self._jobs[job_id] = job
        note, stdin, outputs = files
        if not job.is_background:
            self._begin_reading(job)
            job.before = self._counters.read() + read_clock()
        self._start(job, (stdin, *outputs))
        self._set_timers(job)
        # By this a host's lease and a later agent find its processes; on a full disk by their mark alone.
        if job.exit_code is None:
            write_if_possible(note, b"%d\n" % job.pid)
        for file in {note, stdin, *outputs} - {self._no_input}:
            os.close(file)
        if job.exit_code is not None:
            self._ended(job, time.monotonic_ns())
        return job

    def _begin_reading(self, job: Job) -> None:
        """Read what is read before a job, except the counters."""
        if job.view:
            job.view.read(0)
        # One for each job at a time, kept: to open it costs as much as all the rest.
        job.log = self._logs.pop() if self._logs else KernelLog()
        job.log.begin()

    def _set_timers(self, job: Job) -> None:
        if job.is_background or job.exit_code is not None:
            return
        deadline_ns = job.started_ns + int(job.request["timeout_s"] * _NS)
        self._loop.call_at((job, "deadline"), deadline_ns, lambda: self._force(job, "timeout"))
        if job.view and job.request["half_after_s"] is not None:
            half_ns = job.started_ns + int(job.request["half_after_s"] * _NS)
            self._loop.call_at((job, "half way"), half_ns, job.view.read_half_way)

    def _refusal(self, job: Job) -> str:
        if job.id in self._cancelled or self._is_stopping:
            self._cancelled.discard(job.id)
            return "cancelled"
        if job.request["lease"] and not hold(*job.request["lease"]):
            return "fenced"
        return ""

    def _note(self, job: Job) -> int:
        """Write down the request; return the file, in which the process follows. Raises OSError."""
        request = job.request
        timeout_s = None if job.is_background else request["timeout_s"]
        lease = request["lease"][0] if request["lease"] else None
        line = {"agent": self.identity, "timeout_s": timeout_s, "lease": lease, "argv": request["argv"]}
        # As long as a result is not written, this says that it was asked for: never is it run twice.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        note = os.open(self._path(job.id, "job"), flags, 0o600)
        write_all(note, json.dumps(line).encode("ascii") + b"\n")
        return note

    def _make_files(self, job: Job) -> tuple[int, int, list[int]] | None:
        """Return the files of the note, of the input and of both outputs, None where there is no room."""
        opened: list[int] = []
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        try:
            opened.append(self._note(job))
            opened += [os.open(self._path(job.id, kind), flags, 0o600) for kind in _PARTS]
            stdin = self._no_input
            if job.request["has_input"]:
                stdin = os.open(self._path(job.id, "in"), os.O_RDONLY | os.O_CLOEXEC)
                opened.append(stdin)
            if self._has_room():
                return opened[0], stdin, opened[1:3]
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            for file in opened:
                os.close(file)
            is_input_lost = error.errno == errno.ENOENT and len(opened) == 3
            if error.errno not in _FULL and not is_input_lost:
                raise Failure(f"{error.filename or self.spool}: {error.strerror}") from error
        self._forget(job.id)
        return None

    def _start(self, job: Job, files: Sequence[int]) -> None:
        name, _, mark = mark_of(self.run, job.id).partition(b"=")
        environment = {**self._environment, name: mark}
        job.was_started = True
        job.started_ns = time.monotonic_ns()
        try:
            try:
                job.pid = spawn(job.argv, environment, files)
            except OSError as error:
                if error.errno != errno.ENOEXEC:
                    raise
                # A script without a first line that says by what: as execvp has it.
                program = shutil.which(job.argv[0]) or job.argv[0]
                job.pid = spawn([b"/bin/sh", program, *job.argv[1:]], environment, files)
        except OSError as error:
            job.exit_code = 127 if error.errno == errno.ENOENT else 126
            write_if_possible(files[2], b"%s: %s\n" % (job.argv[0], str(error.strerror).encode()))
            return
        self._running[job.pid] = job

    # ---- jobs that start together ----

    def _arm(self, channel: Channel, request: Record) -> None:
        """Start all jobs of a request up to their programs; the answer says that they wait. All or none."""
        wait_s, items = request.get("wait_s"), request.get("jobs")
        if not is_number(wait_s) or not isinstance(items, list) or not items or channel in self._gates:
            raise Failure("a request to arm jobs has not all it needs, or comes twice")
        gate = self._gates[channel] = Gate(channel, float(wait_s or 0))
        until_ns = time.monotonic_ns() + int(gate.wait_s * _NS)
        self._loop.call_at(gate, until_ns, lambda: self.disarm(channel))
        try:
            for item in items:
                self._arm_job(gate, item)
            before = self._counters.read() + read_clock()
        except BaseException:
            self.disarm(channel)
            raise
        for job in gate.jobs:
            job.before = before
        channel.send(pack({}))

    def _arm_job(self, gate: Gate, request: Record) -> None:
        """Start a job's process, which waits at the gate. Raises Failure."""
        job = Job(checked_name(request.get("id")), checked_request(request))
        known = self._jobs.get(job.id)
        if known is not None and known.is_over and known.why == "unreleased":
            self._forget(job.id)
        elif self._is_known(job.id):
            raise Failure(f"{job.id} was requested before")
        refusal = self._refusal(job)
        if refusal:
            raise Failure(f"{job.id} is not started", refusal)
        files = self._make_files(job)
        if files is None:
            raise Failure(f"{job.id} is not started", "full")
        note, stdin, outputs = files
        self._jobs[job.id] = job
        gate.jobs.append(job)
        job.gate = gate
        try:
            self._begin_reading(job)
            self._fork(job, gate, (stdin, *outputs))
            write_if_possible(note, b"%d\n" % job.pid)
        finally:
            for file in {note, stdin, *outputs} - {self._no_input}:
                os.close(file)
        # On a busy host that may take a while, and nobody may be released before.
        ready = self._read_from(job, _STARTED.size + _USED.size)
        job.used = _USED.unpack(ready[_STARTED.size :])

    @staticmethod
    def _read_from(job: Job, size: int) -> bytes:
        """Return so many bytes of what the process of a job says. Raises Failure."""
        poller = select.poll()
        poller.register(job.report, select.POLLIN)
        found = b""
        while len(found) < size:
            piece = os.read(job.report, size - len(found)) if poller.poll(_ARMING_MS) else b""
            if not piece:
                raise Failure(f"{job.id} ended before it could wait for its start")
            found += piece
        return found

    def _fork(self, job: Job, gate: Gate, files: Sequence[int]) -> None:
        name, _, mark = mark_of(self.run, job.id).partition(b"=")
        environment = {**self._environment, name: mark}
        # Looked for now: what is done after the release comes between the jobs' starts.
        program = shutil.which(os.fsdecode(job.argv[0])) or ""
        job.report, report = os.pipe2(os.O_CLOEXEC)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _DEFAULT_SIGNALS)
        try:
            job.pid = os.fork()
            if job.pid == 0:
                wait_at_gate(gate, report, files, os.fsencode(program), job.argv, environment)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(report)
        job.was_started = True
        self._running[job.pid] = job

    def _release(self, channel: Channel) -> None:
        """Let the jobs that were armed by this channel go on; the answer comes when all are over."""
        gate = self._gates.pop(channel, None)
        if gate is None:
            raise Failure("no jobs are armed: it was too late, or one of them has ended", "unreleased")
        lease = gate.jobs[0].request["lease"]
        if lease and not hold(*lease):
            self._end_armed(gate, "fenced")
            raise Failure("the host was taken away", "fenced")
        now = time.monotonic_ns()
        gate.open()
        gate.close()
        self._loop.call_off(gate)
        for job in gate.jobs:
            # Until its process tells more exactly.
            job.started_ns = now
            self._set_timers(job)
        self._when_over(gate.jobs, lambda: channel.send(pack({})))

    def disarm(self, channel: Channel) -> None:
        """End the jobs that were armed by this channel and not released; again is harmless."""
        gate = self._gates.pop(channel, None)
        if gate:
            self._end_armed(gate, "unreleased")

    def _end_armed(self, gate: Gate, why: str) -> None:
        gate.close()
        self._loop.call_off(gate)
        for job in gate.jobs:
            if job.pid:
                self._force(job, why)
                continue
            # There was no process to be had for it.
            if job.report >= 0:
                os.close(job.report)
            job.is_over = True
            self._forget(job.id)

    def _read_report(self, job: Job) -> None:
        """Learn from the process of an armed job, which has ended, when it went on, if it did."""
        text = os.read(job.report, 64)
        os.close(job.report)
        job.report = -1
        if job.used and len(text) >= _STARTED.size:
            (job.started_ns,) = _STARTED.unpack(text[: _STARTED.size])
            if job.usage is not None:
                job.usage = without_waiting(job.usage, job.used)
            if len(text) > _STARTED.size:
                with contextlib.suppress(OSError), open(self._path(job.id, "err"), "ab") as file:
                    file.write(b"%s: %s\n" % (job.argv[0], text[_STARTED.size :]))
            return
        is_first = job.why == "exited"
        if is_first:
            job.why = "unreleased"
        if job.gate:
            # Without this one the others must not start.
            self.disarm(job.gate.channel)
        if is_first:
            self._over(job)

    # ---- a job's end ----

    def _reap(self, now: int) -> None:
        ended = []
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            self._strays.pop(pid, None)
            job = self._running.pop(pid, None)
            if job is not None:
                code = os.waitstatus_to_exitcode(status)
                job.exit_code = 128 - code if code < 0 else code
                job.usage = usage_of(usage)
                ended.append(job)
        for job in ended:
            self._ended(job, now)
        for ending in list(self._endings):
            self._step(ending)

    def _ended(self, job: Job, now: int) -> None:
        """Read what is read after the end, and end what the job has left behind."""
        job.ended_ns = now
        self._loop.call_off((job, "deadline"))
        self._loop.call_off((job, "half way"))
        if job.report >= 0:
            self._read_report(job)
        if job.why != "unreleased" and not job.is_background:
            job.after = self._counters.read() + read_clock()
            if job.view:
                job.view.read(2)
        if job.why != "exited":
            return  # It is being ended, with everything that it started.
        left = self._left_behind(job) if job.pid else set()
        if left:
            job.left_behind = sorted(filter(None, map(name_of, left)))
            self._end_job(job)
        else:
            self._over(job)

    def _left_behind(self, job: Job) -> set[int]:
        """Return processes that a job which has ended has left, and that must not run during the next one.

        What has left its parents has become a child of this process. Those in sessions of their own are let
        be when the command has no name: such as a container's, which was made by it.
        """
        text = content(self._children)
        new = [int(word) for word in text.split() if int(word) not in self._running]
        for pid in new:
            if pid not in self._strays:
                self._strays[pid] = self._owner_of(pid, job)
        if job.is_background:
            return set()
        found = {pid for pid in new if self._strays[pid] == job.id}
        if is_unnamed(job.id):
            found = {pid for pid in found if is_in_session(pid, job.pid)}
        if not found:
            # Where this process adopts nothing they are in its group at least.
            with contextlib.suppress(OSError):
                os.killpg(job.pid, 0)
                found = {job.pid}
        return found

    def _owner_of(self, pid: int, ended: Job) -> str | None:
        """Return the job that has left a process behind, as far as that is known."""
        if is_in_session(pid, ended.pid) or not self._running:
            return ended.id
        found = re.search(rb"PERFCTL_JOB=[^/\0;]+/([^/\0;]+);", content(f"/proc/{pid}/environ", 2 << 20))
        return found[1].decode("ascii", "replace") if found else None

    def _force(self, job: Job, why: str) -> None:
        """End a job with everything that it started."""
        if job.is_over and not job.is_background:
            return
        if job.why == "exited" and job.exit_code is None:
            job.why = why
        elif not job.is_over:
            return  # It is being ended already.
        job.is_over = False
        self._end_job(job)

    def _end_job(self, job: Job) -> None:
        def then(are_gone: bool) -> None:
            job.survives = not are_gone
            self._over(job)

        self._end_found(lambda: self._members(job), then)

    def _end_found(self, find: Callable[[], set[int]], then: Callable[[bool], None]) -> None:
        """End what `find` finds; afterwards `then` is called with whether all are gone."""
        ending = Ending(find)
        self._endings[ending] = then
        self._step(ending)

    def _step(self, ending: Ending) -> None:
        if ending not in self._endings:
            return
        are_gone = ending.step()
        if are_gone is None:
            self._loop.call_at(ending, ending.next_ns, lambda: self._step(ending))
        else:
            self._loop.call_off(ending)
            self._endings.pop(ending)(are_gone)

    def _members(self, job: Job) -> set[int]:
        """Return the living processes of a job: of its session, with its mark, left behind, and their own."""
        table = processes()
        mark = mark_of(self.run, job.id)
        roots: set[int] = set()
        if job.pid:
            # Zero is whoever has its session outside of this process's namespace.
            roots = {each.pid for each in table.values() if job.pid in (each.pid, each.session, each.group)}
        others = set(self._running) - {job.pid} | {os.getpid()}
        roots |= {pid for pid in table if pid not in others and is_marked(pid, mark)}
        roots |= {pid for pid, owner in self._strays.items() if owner == job.id and pid in table}
        if job.exit_code is None and job.pid:
            # Dead already, and not waited for yet.
            roots.add(job.pid)
        if len(others) == 1 and not is_unnamed(job.id):
            # Nobody else is there who could have started them.
            known = {*self._strays, *others}
            children = {pid for pid, each in table.items() if each.parent == os.getpid()}
            roots |= children - known
        return with_descendants(table, roots) - others

    def _over(self, job: Job) -> None:
        """Keep the result and answer who waits for it."""
        if job.log:
            # Last, for the log comes a tick of the kernel's clock after what it tells of.
            job.after += job.log.read()
            self._logs.append(job.log)
            job.log = None
        if job.was_started and not job.is_over:
            # What has printed nothing has found no disk full.
            if self._cut_outputs(job) and not self._has_room() and job.why == "exited":
                job.why = "full"
            if job.why in ("cancelled", "unreleased"):
                # It is no result.
                remove(self._path(job.id, "job"))
            elif not is_unnamed(job.id) and job.why != "lost":
                self._store(job)
        job.is_over = True
        actions, job.at_end = job.at_end, []
        for action in actions:
            action()

    # ---- results ----

    @staticmethod
    def _header(job: Job) -> Record:
        return {
            **{name: job.request[name] for name in ("argv", "watched", "limit_bytes")},
            **{name: getattr(job, name) for name in ("id", "why", "pid", "started_ns", "ended_ns")},
            "exit_code": 128 + signal.SIGKILL if job.exit_code is None else job.exit_code,
            "usage": job.usage,
            "half_ns": job.view.half_ns if job.view else None,
            "left_behind": job.left_behind,
        }

    @staticmethod
    def _tail(job: Job) -> list[bytes]:
        return [job.before, job.after, *(job.view.readings if job.view else ())]

    def _store(self, job: Job) -> None:
        """Keep a result in the spool, if need be in the room that was reserved for it."""
        tail = self._tail(job)
        path = self._path(job.id, "end")
        # On a full disk what was reserved is free after the first attempt; then all but the counters is kept.
        for number in range(3):
            kept = tail if number < 2 else [b""] * len(tail)
            try:
                header = pack(self._header(job), [len(part) for part in kept])
                write_file(f"{path}.new", b"".join([header, *kept]))
                os.rename(f"{path}.new", path)
                return
            except OSError:
                os.ftruncate(self._reserve, 0)
                if job.why == "exited":
                    job.why = "full"
        # It is known as long as this process lives.
        remove(f"{path}.new")

    def _send_stored(self, channel: Channel, job_id: str) -> None:
        """Send a result that lies in the spool; one that is not whole is lost."""
        decoder = Decoder(1 << 40)
        try:
            with open(self._path(job_id, "end"), "rb") as file:
                decoder.feed(file.read())
            frame = decoder.next()
            if frame is None:
                raise FrameError("it is not whole")
            header, parts = frame
            limit_bytes = int(header["limit_bytes"])
        except (OSError, FrameError, LookupError, TypeError, ValueError):
            channel.send(pack({"id": job_id, "why": "lost"}))
            return
        channel.send(*self._frame(header, limit_bytes, job_id, parts))

    def _send_result(self, channel: Channel, job: Job) -> None:
        channel.send(*self._frame(self._header(job), job.limit_bytes, job.id, self._tail(job)))

    def _frame(
        self, header: Record, limit_bytes: int, job_id: str, tail: Sequence[bytes]
    ) -> list[bytes | tuple[int, int]]:
        """Return a frame with both outputs, as far as they are kept, and what follows them."""
        outputs: list[bytes | tuple[int, int]] = []
        sizes: list[int] = []
        is_cut = False
        for kind in _PARTS:
            path = self._path(job_id, kind)
            size = 0
            with contextlib.suppress(OSError):
                whole = os.stat(path).st_size
                if whole:
                    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                    size = min(whole, limit_bytes)
                    outputs.append((file, size))
                is_cut = is_cut or whole > limit_bytes
            sizes.append(size)
        sizes += [len(part) for part in tail]
        return [pack({**header, "is_cut": is_cut}, sizes), *outputs, *tail]

    # ---- the spool's disk ----

    def _has_room(self) -> bool:
        """Return whether the disk takes a block besides the one that is put by; else that is free now."""
        try:
            is_there = os.pwrite(self._reserve, 2 * _BLOCK, 0) == 2 * len(_BLOCK)
        except OSError:
            is_there = False
        os.ftruncate(self._reserve, len(_BLOCK) if is_there else 0)
        return is_there

    # ---- the limit of outputs ----

    def _watch_outputs(self) -> None:
        """Have the kernel say once when an output is written to; where it cannot, they are cut at the end."""
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._outputs, fcntl.F_NOTIFY, fcntl.DN_MODIFY)

    def _look_at_outputs(self) -> None:
        # First, so that what is written from now on is told.
        self._watch_outputs()
        for job in self._running.values():
            self._cut_outputs(job)

    def _cut_outputs(self, job: Job) -> int:
        """Cut off what is over the job's limit; return the size of both outputs before.

        One byte more than the limit stays, by which a cut is known.
        """
        sum_bytes = 0
        for kind in _PARTS:
            path = self._path(job.id, kind)
            with contextlib.suppress(OSError):
                size = os.stat(path).st_size
                sum_bytes += size
                if size > job.limit_bytes + 1:
                    os.truncate(path, job.limit_bytes + 1)
        return sum_bytes

    # ---- the end of it all ----

    def _stop_for(self, channel: Channel, request: Record) -> None:
        """End everything, give the host back if that is asked for, answer, and end."""
        lease = request.get("give_back")
        if lease is not None and not is_lease(lease):
            raise Failure("a request to stop has no lease that can be read")

        def answer() -> None:
            channel.send(pack({"is_given_back": lease is not None and give_back(lease[0], lease[1])}))

        self.stop(then=answer)

    def stop(self, why: str = "cancelled", then: Callable[[], None] | None = None) -> None:
        """End everything that was started here; afterwards `then` is called, and the agent ends."""
        if then:
            self._at_stop.append(then)
        if self._is_stopping:
            return
        self._is_stopping = True
        if time.monotonic_ns() >= self._end_ns:
            why = "lost"
        jobs = [job for job in self._jobs.values() if not job.is_over]
        for job in jobs:
            job.why = why if job.exit_code is None else job.why

        def over(_: bool) -> None:
            for job in jobs:
                if not job.is_over:
                    self._over(job)
            self._socket.close()
            leave(self.spool)
            for action in self._at_stop:
                action()

        self._endings.clear()
        self._end_found(self._everything, over)

    def _everything(self) -> set[int]:
        own = os.getpid()
        table = processes()
        marks = [mark_of(self.run, job_id) for job_id in self._jobs]
        marked = {pid for pid in table if is_marked(pid, *marks)}
        # Those that are dead and not waited for yet, too.
        return with_descendants(table, {own, *marked, *self._running}) - {own}


def wait_at_gate(
    gate: Gate,
    report: int,
    files: Sequence[int],
    program: bytes,
    argv: list[bytes],
    environment: Mapping[bytes, bytes],
) -> None:
    """Be the process of an armed job, which was just forked: wait at the gate, then become its program.

    Does not return. By `report` it says what it has used until it waits, when it went on, and why it could
    not become its program.
    """
    code = 126
    try:
        leave_agent(files, {gate.reader, report})
        poller = select.poll()
        poller.register(gate.reader, select.POLLIN)
        policy, nice = (os.sched_getscheduler(0), os.sched_getparam(0)), os.nice(0)

        def begin(program: bytes) -> None:
            os.write(report, _STARTED.pack(time.monotonic_ns()))
            os.sched_setscheduler(0, *policy)
            os.setpriority(os.PRIO_PROCESS, 0, nice)
            os.sched_yield()
            if program:
                os.execve(program, argv, environment)
            # Nobody has found it; it fails as it would without waiting.
            os.execvpe(argv[0], argv, environment)

        # Once in vain: what is written to on the way is this process's own then, and not copied later.
        with contextlib.suppress(OSError):
            poller.poll(0)
            begin(b"/dev/null/none")
        hurry()
        used = resource.getrusage(resource.RUSAGE_SELF)
        os.write(report, _USED.pack(*(getattr(used, name) for name in _USED_FIELDS)))
        # The agent ends it before that, if it can.
        events = poller.poll(min(int(1000 * (gate.wait_s + GRACE_S)), 1 << 30))
        if not events or not events[0][1] & select.POLLIN:
            return
        try:
            begin(program)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script without a first line that says by what: as execvp has it.
            os.execve(b"/bin/sh", [b"/bin/sh", program, *argv[1:]], environment)
    except OSError as error:
        code = 127 if error.errno == errno.ENOENT else 126
        write_if_possible(report, str(error.strerror).encode())
    finally:
        os._exit(code)


def hurry() -> None:
    """Have this process go before others, as far as that is allowed.

    All must have gone on before the first program runs, and there may be more of them than processors.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    # In a container that may be refused though nothing else is.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def leave_agent(files: Sequence[int], kept: set[int]) -> None:
    """Be a process that was just forked, and keep nothing of the agent's but these files. Raises OSError."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_NOFILE, _FILE_LIMITS)
    signal.set_wakeup_fd(-1)
    for number in _DEFAULT_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    for number, file in enumerate(files):
        os.dup2(file, number)
    # Above all the writing ends of this gate and of others: they must have no writer but the agent.
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def without_waiting(usage: Record, used: Sequence[float]) -> Record:
    """Return what a process has used since it waited at a gate, when it had used so much; see `usage_of`."""
    found = {name: max(0, usage[name] - used[number]) for number, name in enumerate(_USED_NAMES)}
    # Its program may well be smaller than what it was.
    size = usage["max_rss_bytes"]
    found["max_rss_bytes"] = size if size is not None and size > used[-1] * 1024 else None
    return found


def hold(path: str, token: int, until: float) -> bool:
    """Return whether a lease is still this run's; then the host is held until that time."""
    words = content(path, 100).split()
    if not words or words[0] != b"%d" % token:
        return False
    with contextlib.suppress(OSError):
        # In place: some file systems write a file out that was cut and closed.
        write_file(f"{path}.until", b"%d %.3f\n" % (token, until), os.O_CREAT, 0o644)
    return True


def give_back(path: str, token: int) -> bool:
    """Give a host back that is still held under this token; return whether it is nobody's of it any more.

    As host_lease.py does it, under the lock that all changes are made under; not where that takes long.
    """
    folder = os.open(LEASE_LOCK, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        words = content(path, 100).split()
        if words and words[0] == b"%d" % token:
            write_file(
                f"{path}.new", b"%d\nnull\n" % (token + 1), os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644
            )
            os.rename(f"{path}.new", path)
        return True
    except OSError:
        return False
    finally:
        os.close(folder)


# ---- small things -----------------------------------------------------------------------------------------

_DEFAULT_SIGNALS = tuple(sorted(map(int, signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})))
_MOST_SECONDS = 1e9


def names_in(folder: str) -> list[str]:
    """Return the names in a folder, [] where it cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def checked_name(name: Any) -> str:
    """Return the id of a run or a job. Raises Failure for what cannot be part of a file's name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Failure(f"{str(name)[:120]!r} cannot name a run or a job")
    return name


def checked_request(request: Record) -> Record:
    """Return a request to run a command. Raises Failure for what is none."""
    lease = request.get("lease")
    argv = request.get("argv")
    is_right = (
        isinstance(argv, list)
        and bool(argv)
        and all(isinstance(word, str) and "\0" not in word for word in argv)
        and is_number(request.get("timeout_s"))
        and (request.get("half_after_s") is None or is_number(request["half_after_s"]))
        and isinstance(request.get("watched"), (str, type(None)))
        and type(request.get("limit_bytes")) is int
        and 0 <= request["limit_bytes"] < 1 << 60
        and isinstance(request.get("has_input"), bool)
        and (lease is None or is_lease(lease))
    )
    if not is_right:
        raise Failure("a request to run a command has not all it needs")
    return {"half_after_s": None, "watched": None, "lease": None, **request}


def is_lease(value: Any) -> bool:
    """Return whether this is a lease's file, token and time."""
    if not isinstance(value, list) or len(value) != 3:
        return False
    path, token, until = value
    return isinstance(path, str) and "\0" not in path and type(token) is int and is_number(until)


def is_number(value: Any) -> bool:
    """Return whether this is a number of seconds."""
    return type(value) in (int, float) and 0 <= value <= _MOST_SECONDS


def usage_of(usage: Any) -> Record:
    """Return what a process and its waited-for descendants have used, by wait4.

    A process that is spawned begins with the size of who spawned it: a size that is not larger than this
    process's own is not known (None).
    """
    own_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "user_s": usage.ru_utime,
        "system_s": usage.ru_stime,
        "max_rss_bytes": usage.ru_maxrss * 1024 if usage.ru_maxrss > own_kib else None,
        "minor_faults": usage.ru_minflt,
        "major_faults": usage.ru_majflt,
        "voluntary_switches": usage.ru_nvcsw,
        "involuntary_switches": usage.ru_nivcsw,
    }


def spawn(argv: list[Any], environment: Mapping[Any, Any], files: Sequence[int]) -> int:
    """Start a program with these standard streams in a session of its own; return its id. Raises OSError."""
    actions = [(os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(files)]
    own_limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, _FILE_LIMITS)
    try:
        return os.posix_spawnp(
            *(argv[0], argv, environment),
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULT_SIGNALS,
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, own_limits)


def become_subreaper() -> None:
    """Become the parent of all descendants that lose theirs, where Python can call this function at all."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def is_in_session(pid: int, leader: int) -> bool:
    """Return whether a process is in a session, or a group, that another one leads."""
    try:
        return leader in (os.getsid(pid), os.getpgid(pid))
    except OSError:
        return False


def name_of(pid: int) -> str:
    """Return the name of a process, '' when it is gone."""
    text = content(f"/proc/{pid}/stat").decode("utf-8", "backslashreplace")
    return text.partition("(")[2].rpartition(")")[0]


def remove(path: str) -> None:
    """Remove a file, if it is there."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def write_all(file: int, data: bytes) -> None:
    """Write all of `data`. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def write_file(path: str, data: bytes, flags: int = os.O_CREAT | os.O_TRUNC, mode: int = 0o600) -> None:
    """Write a file. Raises OSError."""
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC | flags, mode)
    try:
        write_all(file, data)
    finally:
        os.close(file)


def write_if_possible(file: int, data: bytes) -> None:
    """Write what nothing depends on."""
    with contextlib.suppress(OSError):
        os.write(file, data)


# ---- spools, seen from outside ----------------------------------------------------------------------------


def identity_of(pid: int) -> str:
    """Return a name of a process that no other has ever: boot, id and start; '' when it is gone."""
    found = process(pid)
    boot = content("/proc/sys/kernel/random/boot_id").strip().decode("ascii", "replace")
    return f"{boot}:{pid}:{found.start}" if found else ""


def live_agent(spool: str) -> Record | None:
    """Return the agent of a spool that is alive: its `protocol`, `agent` and `pid`."""
    try:
        found = json.loads(content(f"{spool}/agent.json"))
        pid = int(found["agent"].split(":")[1])
        if found["agent"] == identity_of(pid):
            return {"protocol": found["protocol"], "agent": found["agent"], "pid": pid}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass
    return None


def noted_jobs(spool: str) -> dict[str, tuple[Record, int]]:
    """Return the requests in a spool, with the process that each became (0: none is noted)."""
    found = {}
    for name in names_in(f"{spool}/jobs"):
        job_id, _, kind = name.rpartition(".")
        if kind != "job":
            continue
        lines = content(f"{spool}/jobs/{name}", 16 << 20).split(b"\n")
        try:
            request = json.loads(lines[0])
        except (ValueError, RecursionError):
            request = None
        pid = int(lines[1]) if len(lines) > 2 and lines[1].isdigit() and len(lines[1]) < 10 else 0
        found[job_id] = (request if isinstance(request, dict) else {}, pid)
    return found


def running_jobs(spool: str) -> list[str]:
    """Return the jobs of a spool whose process is alive."""
    run = os.path.basename(spool)
    noted = noted_jobs(spool).items()
    return [job for job, (_, pid) in noted if pid and process(pid) and is_marked(pid, mark_of(run, job))]


def has_running_job(spool: str, agent: str) -> bool:
    """Return whether a named job of a live agent has not ended."""
    return any(
        request.get("agent") == agent
        and not is_unnamed(job_id)
        and not os.path.exists(f"{spool}/jobs/{job_id}.end")
        for job_id, (request, _) in noted_jobs(spool).items()
    )


def members_of_run(spool: str) -> set[int]:
    """Return what is left of a run: jobs, and agents that have no spool any more, or none yet."""
    run = os.path.basename(spool)
    table = processes()
    noted = noted_jobs(spool)
    leaders = {
        pid for job_id, (_, pid) in noted.items() if pid in table and is_marked(pid, mark_of(run, job_id))
    }
    roots = {each.pid for each in table.values() if each.session in leaders}
    # One machine may be several hosts of a run: other spools' jobs have other ids.
    marks = [mark_of(run, job_id) for job_id in noted]
    roots |= {pid for pid in table if is_marked(pid, *marks) or is_agent_of(pid, spool)}
    return with_descendants(table, roots) - {os.getpid(), os.getppid()}


def is_agent_of(pid: int, spool: str) -> bool:
    """Return whether a process is an agent of a spool, here and not in a container of this machine."""
    if b"\0serve\0%s\0" % os.fsencode(spool) not in content(f"/proc/{pid}/cmdline"):
        return False
    try:
        return os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid")
    except OSError:
        return False


def end_run(spool: str) -> None:
    """End the agent of a spool and everything that it has started."""
    agent = live_agent(spool)
    unit = f"perfctl-{os.path.basename(spool)}.service"
    if agent:
        limit = time.monotonic() + GRACE_S + _KILL_S + 3.0
        signal_all([agent["pid"]], signal.SIGTERM)
        while live_agent(spool) == agent and time.monotonic() < limit:
            time.sleep(0.005)
    if is_booted_by_systemd() and agent:
        run_program(["systemctl", "stop", unit])
    end_all(lambda: members_of_run(spool))


def leave(spool: str, *, discard: bool = False) -> list[str]:
    """Remove a spool unless it holds results that a controller still wants; return those it removed."""
    results = [name[: -len(".end")] for name in names_in(f"{spool}/jobs") if name.endswith(".end")]
    if results and not discard:
        remove(f"{spool}/agent.json")
        remove(f"{spool}/agent.sock")
        return []
    try:
        lock = os.open(f"{spool}/lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        lock = -1
    try:
        if lock >= 0:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(spool, ignore_errors=True)
    except BlockingIOError:
        # Somebody starts another agent there, and makes its own order.
        pass
    finally:
        if lock >= 0:
            os.close(lock)
    return results


def is_booted_by_systemd() -> bool:
    """Return whether a unit is made: systemd ends it in its time, with whatever hides from us.

    A user's own systemd ends with the login.
    """
    return os.path.isdir("/run/systemd/system") and os.geteuid() == 0


def run_program(argv: list[str]) -> tuple[int, str]:
    """Return exit code and output of a program of the system, 127 where there is none."""
    import subprocess

    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60
        )
    except OSError as error:
        return 127, str(error)
    except subprocess.TimeoutExpired:
        return 124, f"{argv[0]} did not end within 60 s"
    return done.returncode, done.stdout.decode("utf-8", "backslashreplace").strip()


# ---- starting ---------------------------------------------------------------------------------------------


def spool_roots() -> list[str]:
    """Return the folders in which this login's runs have their spools."""
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    first = "/var/lib/perfctl/spool" if os.geteuid() == 0 else f"{home}/perfctl/spool"
    return [first, f"/var/tmp/perfctl-{os.geteuid()}/spool"]


def make_spool(run: str, root: str | None) -> str:
    """Return a folder that only we can enter, on a disk that can be written. Raises Failure."""
    reasons = []
    umask = os.umask(0o077)
    try:
        for folder in [root] if root else spool_roots():
            spool = f"{folder}/{run}"
            try:
                for name in ("jobs", "work", "output"):
                    os.makedirs(f"{spool}/{name}", exist_ok=True)
                # In /var/tmp another user may have made it before us.
                found = [os.stat(os.path.dirname(folder)), os.stat(folder), os.lstat(spool)]
                are_own = all(stat.S_ISDIR(item.st_mode) and item.st_uid == os.geteuid() for item in found)
                if are_own and os.access(spool, os.W_OK):
                    return spool
                reasons.append(f"{spool}: it is another user's, or cannot be written to")
            except OSError as error:
                if error.errno in _FULL:
                    raise disk_failure(spool, error) from error
                reasons.append(f"{spool}: {error.strerror}")
    finally:
        os.umask(umask)
    raise Failure(f"no place for a spool folder: {'; '.join(reasons)}")


def disk_failure(path: str, error: OSError) -> Failure:
    """Return why something could not be written."""
    return Failure(f"{path}: {error.strerror}", "full" if error.errno in _FULL else "failed")


def take_turn(run: str, root: str | None) -> tuple[str, int]:
    """Return the spool and its lock, held: one start after another. Raises Failure.

    Whoever asked for an earlier one may be dead, but it goes on here.
    """
    limit = time.monotonic() + 20.0
    while True:
        spool = make_spool(run, root)
        path = f"{spool}/lock"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise disk_failure(path, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who had it before may have removed the folder with it.
            if os.path.exists(path) and os.path.samestat(os.stat(path), os.fstat(lock)):
                return spool, lock
        except BlockingIOError:
            if time.monotonic() > limit:
                raise Failure(f"another start of {run} does not end") from None
        except FileNotFoundError:
            pass
        os.close(lock)
        time.sleep(0.02)


def start(request: Record, code: types.CodeType) -> None:
    """Start a run's agent anew, or find it with a job that still runs; then be a channel to it.

    Raises Failure.
    """
    run = checked_name(request["run"])
    spool, lock = take_turn(run, request.get("root"))
    agent = live_agent(spool)
    if agent and not has_running_job(spool, agent["agent"]):
        # Its lifetime was counted for an earlier controller.
        end_run(spool)
        agent = None
    if agent is None:
        end_run(spool)
        clean_up(spool)
        try:
            write_program(spool, code)
        except OSError as error:
            raise disk_failure(spool, error) from error
        launch(spool, float(request["lifetime_s"]))
    elif agent["protocol"] != PROTOCOL:
        versions = f"protocol {agent['protocol']}, not {PROTOCOL}"
        raise Failure(f"an agent of another version runs a job there ({versions})", "version")
    # Else: it may need commands without a name, such as a connection into a guest. They are ended after it.
    os.close(lock)
    attach(spool, request["mark"], json.dumps({"spool": spool}))


def clean_up(spool: str) -> None:
    """Remove what an earlier agent has left besides results; nobody asks for unnamed commands again."""
    for name in ("agent.json", "agent.sock", "reserve"):
        remove(f"{spool}/{name}")
    for folder in ("jobs", "output"):
        for name in names_in(f"{spool}/{folder}"):
            if is_unnamed(name):
                remove(f"{spool}/{folder}/{name}")


def write_program(spool: str, code: types.CodeType) -> None:
    """Write the agent's program into its spool, if there is room for it and for results. Raises OSError.

    Compiled, by which it starts in a quarter of the time and stays a third smaller.
    """
    import importlib.util
    import marshal

    # The format of PEP 552.
    program = importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)
    write_file(f"{spool}/agent.pyc", program)
    write_file(f"{spool}/reserve", 2 * _BLOCK)


def launch(spool: str, lifetime_s: float) -> None:
    """Start the agent, and wait until it serves. Raises Failure."""
    python = sys.executable or "/usr/bin/python3"
    argv = [python, "-I", "-S", f"{spool}/agent.pyc", "serve", spool, f"{lifetime_s:.3f}"]
    pid = 0
    if is_booted_by_systemd():
        launch_unit(spool, argv, lifetime_s)
    else:
        log = os.open(f"{spool}/log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        no_input = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        pid = spawn(argv, os.environ, (no_input, log, log))
    limit = time.monotonic() + 20.0
    while live_agent(spool) is None:
        has_ended = pid != 0 and os.waitpid(pid, os.WNOHANG) != (0, 0)
        if has_ended or time.monotonic() > limit:
            text = content(f"{spool}/log").decode("utf-8", "backslashreplace").strip()
            raise Failure(f"it ended at once: {text}" if has_ended else f"it does not answer: {text}")
        time.sleep(0.002)


def launch_unit(spool: str, argv: list[str], lifetime_s: float) -> None:
    """Start the agent as a transient unit of systemd. Raises Failure."""
    unit = f"perfctl-{os.path.basename(spool)}"
    # One process that runs out of memory must not end all the others; systemd before 243 never ends them.
    policy = ["--property=OOMPolicy=continue"]
    text = ""
    for _ in range(50):
        code, text = run_program(
            [
                *("systemd-run", "--quiet", "--collect", f"--unit={unit}"),
                f"--description=perfctl run {os.path.basename(spool)}",
                f"--setenv=HOME={os.environ.get('HOME', '/root')}",
                f"--property=RuntimeMaxSec={max(1, round(lifetime_s))}",
                *("--property=KillMode=control-group", "--property=TasksMax=infinity"),
                *("--property=TimeoutStopSec=10", *policy),
                *argv,
            ]
        )
        if code == 0:
            return
        if policy and "OOMPolicy" in text:
            policy = []
        elif "already" in text:
            # Of a start that was killed half way, or ended and not yet forgotten by systemd.
            run_program(["systemctl", "stop", f"{unit}.service"])
            time.sleep(0.1)
        else:
            break
    raise Failure(f"systemd does not start it: {text}")


def attach(spool: str, mark: str, answer: str) -> None:
    """Be a channel: hand input and output to the agent, and wait until it is done with them."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # By a name that is short: the whole path may be longer than a socket's can be.
        os.chdir(spool)
        link.connect("agent.sock")
    except OSError:
        os.write(1, f'{mark}{{"gone": true}}\n'.encode())
        return
    os.write(1, f"{mark}{answer}\n".encode())
    socket.send_fds(link, [b"+"], [0, 1])
    link.recv(1)


def reap(request: Record) -> Record:
    """End what belongs to a run (None: any), and say what that was. Raises Failure."""
    run = request.get("run")
    roots = [*spool_roots(), *([request["root"]] if request.get("root") else [])]
    ended = []
    for root in dict.fromkeys(roots):
        for name in [checked_name(run)] if run else names_in(root):
            spool = f"{root}/{name}"
            # Of a run that is named the agent is found even when its spool is gone.
            if not run and not (_NAME.fullmatch(name) and os.path.isdir(f"{spool}/jobs")):
                continue
            for job_id in request.get("stored") or ():
                for path in (f"{spool}/jobs/{job_id}.end", f"{spool}/jobs/{job_id}.job"):
                    remove(path)
            ended += [f"job {job_id}" for job_id in running_jobs(spool)]
            if any(is_agent_of(pid, spool) for pid in processes()):
                ended.append(f"server perfctl-{name}")
            end_run(spool)
            ended += [f"result {job_id}" for job_id in leave(spool, discard=bool(request.get("discard")))]
    # A unit that has just ended may still be listed.
    return {"ended": list(dict.fromkeys(ended + reap_units(run)))}


def reap_units(run: str | None) -> list[str]:
    """End the units of a run, or of any, whose spool is gone."""
    if not is_booted_by_systemd():
        return []
    pattern = f"perfctl-{run or '*'}.service"
    _, text = run_program(["systemctl", "list-units", "--plain", "--no-legend", pattern])
    units = [line.split()[0] for line in text.splitlines() if line.split()]
    for unit in units:
        run_program(["systemctl", "stop", unit])
    return [f"server {unit[: -len('.service')]}" for unit in units]


def main(arguments: list[str], code: types.CodeType | None = None) -> None:
    """Do what the arguments say; `code` is this file's own, which is kept for the agent."""
    if arguments[0] == "serve":
        log = os.open(f"{arguments[1]}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        for number in (1, 2):
            os.dup2(log, number)
        Agent(arguments[1], float(arguments[2])).serve()
        return
    if arguments[0] == "end":
        sys.exit(0 if end_session(int(arguments[1])) else 1)
    request = json.loads(arguments[1])
    os.environ["LC_ALL"] = "C"
    os.environ["PATH"] = SPAWNED_PATH
    try:
        if arguments[0] == "start" and code:
            start(request, code)
        else:
            os.write(1, f"{request['mark']}{json.dumps(reap(request))}\n".encode())
    except Failure as error:
        answer = json.dumps({"error": str(error), "kind": error.kind})
        os.write(1, f"{request['mark']}{answer}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1:])
