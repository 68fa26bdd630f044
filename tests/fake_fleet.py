"""A fleet without machines, below the shell seam: this machine answers once, and every host repeats it.

What a run asks of a host (facts, commands of environments, jobs) is carried out here the first time, and
answered from memory for all other hosts. So a thousand hosts cost what the controller costs. What would say
more of this machine than of a host is left out: the network of its labs, and its many processes; the counters
around a job are those that were captured on a real host.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from perfctl.agent import Agent, Answer
from perfctl.agent import agent as host_agent
from perfctl.errors import HostTurnedAway, HostUnreachable
from perfctl.facts import host_reader, on_host
from perfctl.job import host_lease
from perfctl.model import Host, new_id
from perfctl.shell import Completed, Process
from perfctl.shell.local import LocalShell
from tests.captured_facts import DATA

_LEASE = Path(host_lease.__file__).read_bytes()
_READER = Path(host_reader.__file__).read_bytes()
_COUNTERS = DATA / "counters-host"
_MARK = re.compile(r"perfctl-[0-9a-f]{32}")
_TIMEOUT_S = 60.0

Answered = TypeVar("Answered", Completed, Answer)


class FakeFleet:
    """Makes connections to hosts that are not there, and counts them."""

    def __init__(self, folder: Path, *, job_s: float = 0.0) -> None:
        """Use a folder for what is carried out here; each measured job takes `job_s` at least."""
        self.job_s = job_s
        self.dials: Counter[str] = Counter()
        """How often each host was connected to."""
        self.refusals: Counter[str] = Counter()
        """How often each host still hangs up instead of answering."""
        self.open_count = 0
        self.dialling = 0
        self.most_dialling = 0
        """How many hosts were being connected to at a time, at most."""
        self._lock = threading.Lock()
        self._here = LocalShell("here")
        self._kept: dict[tuple[object, ...], Any] = {}
        self._agent, self._channel = Agent.start(
            self._here, f"fake-{new_id()}", python="python3", lifetime_s=3600, spool_root=str(folder)
        )

    def close(self) -> None:
        """End what was started here."""
        self._channel.stop_agent((), timeout_s=_TIMEOUT_S)
        self._channel.close()

    def hosts(self, count: int) -> tuple[Host, ...]:
        """Return hosts to measure on."""
        return tuple(
            Host(f"f{number}", f"192.0.2.{number % 250}", port=number + 1, state_dir="/nowhere")
            for number in range(count)
        )

    def connect(self, host: Host) -> FakeTransport:
        """Return a connection, as `perfctl.ssh.connect` does."""
        with self._lock:
            self.dialling += 1
            self.most_dialling = max(self.most_dialling, self.dialling)
        # Long enough for others to begin.
        time.sleep(0.001)
        with self._lock:
            self.dialling -= 1
            self.dials[host.name] += 1
            if self.refusals[host.name]:
                self.refusals[host.name] -= 1
                raise HostTurnedAway("it hung up", where=host.name)
            self.open_count += 1
        return FakeTransport(self, host.name)

    def closed(self) -> None:
        """Count a connection that has ended."""
        with self._lock:
            self.open_count -= 1

    def done(self, argv: Sequence[str], stdin: bytes) -> Completed:
        """Return what a command prints."""
        return self._once(
            ("command", tuple(argv), stdin),
            lambda: _without_labs(self._here.run(argv, timeout_s=_TIMEOUT_S, stdin=stdin), stdin),
        )

    def job(self, request: dict[str, Any]) -> Answer:
        """Return the result of a job."""
        argv = tuple(_MARK.sub("MARK", word) for word in request["argv"])
        wanted = {**request, "id": f"auto-{len(self._kept)}", "lease": None, "stored": []}
        return self._once(("job", argv), lambda: self._carried_out(wanted))

    def _carried_out(self, request: dict[str, Any]) -> Answer:
        found = self._channel.request(request, timeout_s=_TIMEOUT_S)
        stdout, stderr, _, _, *view = found.parts
        counters = [(_COUNTERS / name).read_bytes() for name in ("before", "after")]
        return replace(found, parts=(stdout, stderr, *counters, *(view and _view(found.header))))

    def _once(self, key: tuple[object, ...], action: Callable[[], Answered]) -> Answered:
        found: Answered | None = self._kept.get(key)
        if found is None:
            with self._lock:
                found = self._kept.get(key)
                if found is None:
                    found = self._kept[key] = action()
        return found


class FakeTransport:
    """A connection to a host that is not there. It holds one descriptor, as one by ssh does."""

    def __init__(self, fleet: FakeFleet, name: str) -> None:
        self._fleet = fleet
        self.name = name
        self._socket = socket.socket()

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        if stdin == _LEASE:
            now = time.clock_gettime(time.CLOCK_BOOTTIME)
            answer = {"path": "/nowhere/lease", "token": 1, "now": now, "freed": []}
            answer |= {"live": [], "dead": [], "results": []}
            return Completed(tuple(argv), 0, json.dumps(answer).encode(), b"")
        return self._fleet.done(argv, stdin)

    def spawn(self, argv: Sequence[str]) -> Process:
        raise AssertionError(f"nothing is to be spawned there: {argv}")

    def put(self, local: Path, remote: str, *, mode: int) -> None:
        raise AssertionError(f"nothing is to be copied there: {remote}")

    def get(self, remote: str) -> bytes:
        raise AssertionError(f"nothing is to be read there: {remote}")

    def stream(self, argv: Sequence[str]) -> FakeStream:
        return FakeStream(self._fleet, argv)

    def close(self) -> None:
        self._socket.close()
        self._fleet.closed()


class FakeStream:
    """A channel to an agent that is not there."""

    def __init__(self, fleet: FakeFleet, argv: Sequence[str]) -> None:
        self._fleet = fleet
        is_start = "start" in argv
        mark = json.loads(argv[-1])["mark"] if is_start else argv[-1]
        greeting = host_agent.pack({"protocol": 1, "python": "3.11.2", "jobs": {}})
        self._unread = f'{mark}{{"spool": "/nowhere/spool"}}\n'.encode() + greeting
        self._is_started = not is_start
        self._decoder = host_agent.Decoder()
        self._wait_s = 0.0

    def write(self, data: bytes) -> None:
        if not self._is_started:
            # The agent's own program.
            self._is_started = True
            return
        self._decoder.feed(data)
        while (frame := self._decoder.next()) is not None:
            self._unread += self._answer(frame[0])

    def _answer(self, request: dict[str, Any]) -> bytes:
        if request["verb"] != "run":
            return host_agent.pack({})
        known = self._fleet.job(request)
        header = {**known.header, "id": request["id"]}
        header["started_ns"] = time.monotonic_ns()
        header["ended_ns"] = header["started_ns"] + 1_000_000_000
        del header["parts"]
        mine, theirs = _mark_in(request["argv"]), _mark_in(known.header["argv"])
        parts = [part.replace(theirs, mine) for part in known.parts] if mine else list(known.parts)
        if not host_agent.is_unnamed(request["id"]):
            self._wait_s = self._fleet.job_s
        return host_agent.pack(header, [len(part) for part in parts]) + b"".join(parts)

    def read_line(self, *, timeout_s: float) -> bytes:
        return self.read_until(b"\n", timeout_s=timeout_s) + b"\n"

    def read_exactly(self, size_bytes: int, *, timeout_s: float) -> bytes:
        if self._wait_s:
            time.sleep(self._wait_s)
            self._wait_s = 0.0
        if len(self._unread) < size_bytes:
            raise HostUnreachable("the other end is gone", where="a host that is not there")
        found, self._unread = self._unread[:size_bytes], self._unread[size_bytes:]
        return found

    def read_until(self, mark: bytes, *, timeout_s: float) -> bytes:
        found, _, self._unread = self._unread.partition(mark)
        return found

    def close(self) -> None:
        """Nothing is open."""


def _mark_in(argv: Sequence[str]) -> bytes:
    return next((word.encode() for word in argv if _MARK.fullmatch(word)), b"")


def _view(header: Mapping[str, Any]) -> tuple[bytes, bytes, bytes]:
    """Return the readings of a host on which a command and ten other processes have used time."""

    def reading(number: int) -> bytes:
        lines = []
        for pid in (header["pid"], *range(101, 111)):
            ticks = number * (100 if pid == header["pid"] else 1)
            times = [0] * 7 + [ticks, ticks] + [0] * 6 + [pid]
            rest = " ".join(map(str, [1, pid, pid, 0, -1, 0, *times[3:], *[0] * 30]))
            if number or pid != header["pid"]:
                lines.append(f"==> /proc/{pid}/stat <==\n{pid} (a-process) S {rest}\n")
            if number:
                lines.append(f"==> /proc/{pid}/cgroup <==\n0::/system.slice/a-{pid}.service\n")
        return "".join(lines).encode()

    return reading(0), b"" if header["half_ns"] is None else reading(1), reading(2)


def _without_labs(done: Completed, stdin: bytes) -> Completed:
    """Return an answer of facts without the interfaces of this machine's containers."""
    if stdin != _READER:
        return done
    index, content = on_host.unpack(done.stdout)
    kept, at = [], 0
    for _, found in index["files"]:
        for item in list(found):
            size = item[1] if isinstance(item[1], int) else 0
            if _is_of_lab(item[0]):
                found.remove(item)
            else:
                kept.append(content[at : at + size])
            at += size
    kept.append(content[at:])
    there = [path for path in index["there"] if not _is_of_lab(path)]
    text = json.dumps({**index, "there": there}).encode()
    whole = struct.pack(">I", len(text)) + text + b"".join(kept)
    return replace(done, stdout=zlib.compress(whole))


def _is_of_lab(path: str) -> bool:
    return path.startswith(("/sys/class/net/veth", "/sys/class/net/br-"))
