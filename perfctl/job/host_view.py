"""Which processes used the processors of a host during a job: differences of an agent's raw readings. Pure.

docs/telemetry.md describes the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from perfctl.model import ResourceUsage

_STAT = re.compile(rb"/proc/(\d{1,9})/(?:task/(\d{1,9})/)?stat")
_NUMBER = re.compile(rb"\d{1,19}")
_SESSION, _USER, _SYSTEM, _START, _CPU = 3, 11, 12, 19, 36
"""Fields of /proc/PID/stat behind the name, the first of which is the state."""
_TICKS_PER_S = 100
"""The kernel counts in hundredths of a second on every architecture (USER_HZ)."""
_US_PER_S = 1_000_000
_NO_COLUMNS = str.maketrans("\t\n", "  ")
_COLUMNS = "pid\ttid\tcpu\tuser_s\tsystem_s\town\tname\tgroup"

Files = Mapping[bytes, bytes]
"""Path -> content."""


@dataclass(frozen=True, slots=True)
class ViewReadings:
    """The readings before, half way (b'' where there is none) and after a job."""

    before: bytes
    half: bytes
    after: bytes
    half_ns: int | None
    watched: str
    """Which processes are the environment's: 'cgroup:TEXT', 'pidfile:PATH', '' the command's own."""
    pid: int
    """The command's first process."""

    def text(self, started_ns: int, ended_ns: int, usage: ResourceUsage | None) -> bytes:
        """Return the host's view as it is kept and shown."""
        first, last = _files(self.before), _files(self.after)
        what = self.watched or f"session {self.pid}"
        lines = [
            "# Who used processor time on this host while the command ran "
            f"({(ended_ns - started_ns) / 1e9:.3f} s), since just before it.",
            f"# own: of the environment, which is {what}",
        ]
        if self.half_ns is None or not self.half:
            lines.append("==> half way: not read <==")
        else:
            lines.append(f"==> half way, after {(self.half_ns - started_ns) / 1e9:.3f} s <==")
            lines += self._table(first, _files(self.half))
        lines += ["==> after its end <==", *self._table(first, last)]
        lines += ["==> in all <==", "of\tuser_s\tsystem_s"]
        command = _seconds(usage)
        own = command if not self.watched else self._own_seconds(first, last)
        for name, seconds in (("command", command), ("environment", own)):
            if seconds is not None:
                lines.append(f"{name}\t{seconds[0]:.2f}\t{seconds[1]:.2f}")
        return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")

    def _table(self, first: Files, now: Files) -> Iterator[str]:
        """Yield what used processor time since the first reading, and what is new in the environment."""
        yield _COLUMNS
        leader = _leader(now)
        for pid, tid, path in _in_order(path for path, text in now.items() if first.get(path) != text):
            # Of nearly all that are here the first reading is there, too: each is taken apart once.
            fields, before = _fields(now[path]), _fields(first.get(path, b""))
            if not fields:
                continue
            user, system = int(fields[_USER]), int(fields[_SYSTEM])
            is_known = bool(before) and before[_START] == fields[_START]
            if is_known:
                user, system = user - int(before[_USER]), system - int(before[_SYSTEM])
                if user + system == 0:
                    continue
            group_file = b"/proc/%s/cgroup" % pid
            # Of a process that stood still only the first reading has it.
            groups = _text(now.get(group_file) or first.get(group_file, b""))
            name, process = _name(now[path]), pid.decode()
            is_own = self._is_own(process, name, fields[_SESSION], groups, leader)
            if user + system == 0 and not is_own:
                continue
            numbers = f"{user / _TICKS_PER_S:.2f}\t{system / _TICKS_PER_S:.2f}\t{'yes' if is_own else 'no'}"
            place = f"{process}\t{tid.decode() if tid else '-'}\t{_text(fields[_CPU])}"
            yield f"{place}\t{numbers}\t{name}\t{_group(groups)}"

    def _is_own(self, pid: str, name: str, session: bytes, groups: str, leader: str) -> bool:
        if self.watched.startswith("cgroup:"):
            text = self.watched.removeprefix("cgroup:")
            return bool(text) and text in groups
        if self.watched:
            return bool(leader) and (pid == leader or name == f"vhost-{leader}")
        return session == b"%d" % self.pid

    def group_time_s(self) -> tuple[float, float] | None:
        """Return user and system time of the control group that is watched; None where none is counted."""
        if not self.watched.startswith("cgroup:"):
            return None
        return _group_seconds(_files(self.before), _files(self.after))

    @staticmethod
    def _own_seconds(first: Files, last: Files) -> tuple[float, float] | None:
        """Return user and system time of all of the environment, None where no counter covers it alone."""
        counted = _group_seconds(first, last)
        if counted is not None:
            return counted
        path = f"/proc/{_leader(last)}/stat".encode("utf-8", "surrogateescape")
        was, now = _fields(first.get(path, b"")), _fields(last.get(path, b""))
        if not now:
            return None
        user, system = int(now[_USER]), int(now[_SYSTEM])
        if was and was[_START] == now[_START]:
            user, system = user - int(was[_USER]), system - int(was[_SYSTEM])
        return user / _TICKS_PER_S, system / _TICKS_PER_S


def _seconds(usage: ResourceUsage | None) -> tuple[float, float] | None:
    if usage is None or usage.user_s is None or usage.system_s is None:
        return None
    return usage.user_s, usage.system_s


def _group_seconds(first: Files, last: Files) -> tuple[float, float] | None:
    """Return the seconds of user and system time between two readings that control groups have counted."""
    was, now = _counted(first), _counted(last)
    return None if was is None or now is None else (now[0] - was[0], now[1] - was[1])


def _files(reading: bytes) -> Files:
    """Return what a reading holds. What a process's name does to lines concerns that process alone."""
    _, *parts = b"\n".join((b"", reading.removesuffix(b"\n"))).split(b"\n==> ")
    return {path: text for path, end, text in (part.partition(b" <==\n") for part in parts) if end}


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def _leader(files: Files) -> str:
    return _text(files.get(b"leader", b"")).strip()


def _in_order(paths: Iterable[bytes]) -> list[tuple[bytes, bytes | None, bytes]]:
    """Return process, thread and path of the files of processes, then of threads of the one that is named."""
    found = (match for path in paths if (match := _STAT.fullmatch(path)))
    ordered = sorted(found, key=lambda match: (bool(match[2]), int(match[1]), int(match[2] or 0)))
    return [(match[1], match[2], match[0]) for match in ordered]


def _fields(content: bytes) -> list[bytes]:
    """Return what follows the name in /proc/PID/stat (see proc(5)), [] where its times are not there."""
    # The name may hold spaces and brackets: it ends at the last bracket.
    fields = content.rpartition(b")")[2].split(None, _CPU + 1)
    if len(fields) <= _CPU or not (_NUMBER.fullmatch(fields[_USER]) and _NUMBER.fullmatch(fields[_SYSTEM])):
        return []
    return fields


def _name(content: bytes) -> str:
    return _text(content).partition("(")[2].rpartition(")")[0].translate(_NO_COLUMNS)


@lru_cache(maxsize=256)
def _group(groups: str) -> str:
    """Return the path that says most: of version 2 or of systemd's own tree, else any but the root."""
    found = "-"
    for line in groups.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        is_main = number == "0" or controllers == "name=systemd"
        if path not in ("", "/") and (found == "-" or is_main):
            found = path
    return found


def _counted(files: Files) -> tuple[float, float] | None:
    """Return the seconds of user and system time that a control group has used, also by what has ended."""
    for path, content in files.items():
        if not path.startswith(b"/sys/fs/cgroup/"):
            continue
        pairs = [line.split() for line in content.splitlines()]
        values = {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and _NUMBER.fullmatch(pair[1])}
        if b"user_usec" in values and b"system_usec" in values:
            return values[b"user_usec"] / _US_PER_S, values[b"system_usec"] / _US_PER_S
        if b"user" in values and b"system" in values:
            return values[b"user"] / _TICKS_PER_S, values[b"system"] / _TICKS_PER_S
    return None
