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
_NUMBER = re.compile(r"\d{1,19}", re.ASCII)
_TICKS_PER_S = 100
"""The kernel counts in hundredths of a second on every architecture (USER_HZ)."""
_US_PER_S = 1_000_000
_NO_COLUMNS = str.maketrans("\t\n", "  ")
_COLUMNS = "pid\ttid\tcpu\tuser_s\tsystem_s\town\tname\tgroup"

Files = Mapping[bytes, bytes]
"""Path -> content."""


@dataclass(frozen=True, slots=True)
class _Task:
    """A process, or a thread of one: /proc/PID/stat, see proc(5)."""

    pid: str
    tid: str
    name: str
    session: str
    user: int
    system: int
    start: str
    cpu: str


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
        for path in _in_order(path for path, text in now.items() if not _stood_still(first.get(path), text)):
            task = _task(path, now[path])
            if task is None:
                continue
            before = _times(first.get(path, b""))
            user, system = task.user, task.system
            is_known = before is not None and before[2] == task.start
            if before is not None and is_known:
                user, system = user - before[0], system - before[1]
            group_file = f"/proc/{task.pid}/cgroup".encode()
            # Of a process that stood still only the first reading has it.
            groups = _text(now.get(group_file) or first.get(group_file, b""))
            is_own = self._is_own(task, groups, leader)
            if (user + system == 0) and (is_known or not is_own):
                continue
            own = "yes" if is_own else "no"
            numbers = f"{user / _TICKS_PER_S:.2f}\t{system / _TICKS_PER_S:.2f}"
            yield f"{task.pid}\t{task.tid}\t{task.cpu}\t{numbers}\t{own}\t{task.name}\t{_group(groups)}"

    def _is_own(self, task: _Task, groups: str, leader: str) -> bool:
        if self.watched.startswith("cgroup:"):
            text = self.watched.removeprefix("cgroup:")
            return bool(text) and text in groups
        if self.watched:
            return bool(leader) and (task.pid == leader or task.name == f"vhost-{leader}")
        return task.session == str(self.pid)

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
        was_task, now_task = (_task(path, files.get(path, b"")) for files in (first, last))
        if now_task is None:
            return None
        user, system = now_task.user, now_task.system
        if was_task is not None and was_task.start == now_task.start:
            user, system = user - was_task.user, system - was_task.system
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


def _stood_still(before: bytes | None, now: bytes) -> bool:
    """Return whether a file is of a process that is not new and has used no time, as most of a host's."""
    if before is None or before == now:
        return before == now
    was, fields = (text.rpartition(b")")[2].split(None, 20) for text in (before, now))
    return len(was) > 20 < len(fields) and (was[11], was[12], was[19]) == (fields[11], fields[12], fields[19])


def _in_order(paths: Iterable[bytes]) -> list[bytes]:
    """Return the paths of processes, and then those of the threads of the one that is named."""
    found = ((match, path) for path in paths if (match := _STAT.fullmatch(path)))
    ordered = sorted(found, key=lambda item: (bool(item[0][2]), int(item[0][1]), int(item[0][2] or 0)))
    return [path for _, path in ordered]


def _times(content: bytes) -> tuple[int, int, str] | None:
    """Return user time, system time and start of a process or thread, in ticks; None where it holds none."""
    fields = _text(content).rpartition(")")[2].split(None, 20)
    if len(fields) <= 20 or not (_NUMBER.fullmatch(fields[11]) and _NUMBER.fullmatch(fields[12])):
        return None
    return int(fields[11]), int(fields[12]), fields[19]


def _task(path: bytes, content: bytes) -> _Task | None:
    """Return the process or thread in a file, None where it holds none."""
    match = _STAT.fullmatch(path)
    text = _text(content)
    # The name may hold spaces and brackets: it ends at the last bracket.
    name = text.partition("(")[2].rpartition(")")[0].translate(_NO_COLUMNS)
    fields = text.rpartition(")")[2].split()
    if not (match and len(fields) > 36 and _NUMBER.fullmatch(fields[11]) and _NUMBER.fullmatch(fields[12])):
        return None
    return _Task(
        pid=match[1].decode(),
        tid=match[2].decode() if match[2] else "-",
        name=name,
        session=fields[3],
        user=int(fields[11]),
        system=int(fields[12]),
        start=fields[19],
        cpu=fields[36],
    )


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
        pairs = [line.split() for line in _text(content).splitlines()]
        values = {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and _NUMBER.fullmatch(pair[1])}
        if "user_usec" in values and "system_usec" in values:
            return values["user_usec"] / _US_PER_S, values["system_usec"] / _US_PER_S
        if "user" in values and "system" in values:
            return values["user"] / _TICKS_PER_S, values["system"] / _TICKS_PER_S
    return None
