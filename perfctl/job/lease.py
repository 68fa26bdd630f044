"""Hold a host while it is measured or changed: one lease per host, whoever asks for it, kept on the host.

    HostLease.take ──> host_lease.py on the host ──> /var/lib/perfctl/lease
    HostLease.terms_of ──> in every job's request: the job holds the host to its own end, if it is still ours

docs/leases.md describes the file, how a lease is renewed, and when it is stale.
"""

from __future__ import annotations

import getpass
import json
import os
import shlex
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfctl.errors import CommandFailed, HostError, HostLeased
from perfctl.model import Host, new_id
from perfctl.model.quantity import duration
from perfctl.shell import Transport

MARGIN_S = 120.0
"""How much longer than a job's own time limit the host is held: what comes between two jobs."""
FIRST_S = 180.0
"""How long a run holds a host before its first job."""

_SCRIPT = Path(__file__).with_name("host_lease.py").read_bytes()
_TIMEOUT_S = 60.0
_LONGEST = 200
_NOT_FOUND = (126, 127)


class LeaseLost(HostError):
    """Another holder has taken the host; nothing more is started there."""

    def __init__(self, *, where: str) -> None:
        super().__init__(
            "the host was taken away from this run",
            where=where,
            hint="who has it now: perfctl hosts; then: perfctl resume",
        )


@dataclass(frozen=True, slots=True)
class LeaseState:
    """A lease as its host judges it: `state` is 'held' or 'stale', and then `why`.

    Times are seconds from now, None when they are of an earlier boot of the host.
    """

    key: str
    state: str
    why: str
    owner: str
    purpose: str
    run_id: str | None
    held_s: float | None
    left_s: float | None
    job_is_running: bool
    controller: Mapping[str, Any]

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> LeaseState:
        """Return the state in a host's answer. Raises LookupError and TypeError for what is none."""
        found = {name: answer[name] for name in cls.__slots__}
        for name, kinds in _KINDS.items():
            if not isinstance(found[name], kinds):
                raise TypeError(f"{name} cannot be {found[name]!r:.80}")
        # Another user may have written it, who must not move the cursor of this one's terminal.
        return cls(**{name: _printable(value) for name, value in found.items()})

    @property
    def controller_is_gone(self) -> bool:
        """Whether its controller was a process of this machine that has ended; of others nothing is known."""
        own, other = _this_controller(), dict(self.controller)
        pid, start = other.get("pid"), other.get("start")
        if not isinstance(pid, int) or {**own, "pid": 0, "start": 0} != {**other, "pid": 0, "start": 0}:
            return False
        return _start_of(pid) != str(start)

    def __str__(self) -> str:
        what = f"{self.purpose} {self.run_id}" if self.run_id else self.purpose
        return f"{what} of {self.owner}"


@dataclass(frozen=True, slots=True)
class HostRuns:
    """The runs of which something is on a host."""

    live: tuple[str, ...]
    """They are measuring, by another lease."""
    dead: tuple[str, ...]
    """Their controllers are gone, and processes are left."""
    results: tuple[str, ...]
    """Results that no controller has collected are all that is left."""

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> HostRuns:
        """Return the runs in a host's answer. Raises LookupError and TypeError for what is none."""
        return cls(*(tuple(_printable(str(run)) for run in list(answer[name])) for name in cls.__slots__))


@dataclass(frozen=True, slots=True)
class Claim:
    """What for and for whom hosts are leased; two leases with one key are one holder's."""

    purpose: str
    run_id: str | None
    key: str

    @classmethod
    def make(cls, purpose: str, run_id: str | None = None) -> Claim:
        """Return a claim that no other has the key of."""
        return cls(purpose, run_id, new_id())


class HostLease:
    """The lease of one host, held by this process until `release`."""

    def __init__(
        self, transport: Transport, host: Host, claim: Claim, answer: Mapping[str, Any], asked_at: float
    ) -> None:
        """Use the answer to `take`, and when that was asked for. `HostLease.take` is what callers want."""
        self._transport = transport
        self._host = host
        self._claim = claim
        self._path = str(answer["path"])
        self._token = int(answer["token"])
        # The host's clock against ours: what is sent later need not ask for the time.
        self._offset_s = float(answer["now"]) - asked_at
        self._renewed_until = 0.0
        self.is_given_back = False
        """Whether the agent has given the host back as it ended."""
        self.freed = tuple(LeaseState.parse(item) for item in answer["freed"])
        """The holders that it was taken from."""
        self.runs = HostRuns.parse(answer)
        """What other runs have left there."""

    @classmethod
    def take(
        cls,
        transport: Transport,
        host: Host,
        claim: Claim,
        *,
        seconds: float = FIRST_S,
        steal: bool = False,
    ) -> HostLease:
        """Take the host for `seconds`; every job that is begun under the lease renews it.

        A holder whose controller was a process of this machine and is gone is replaced, unless a job of
        another run is still running. With `steal` any holder is. Raises HostLeased, CommandFailed,
        HostUnreachable.
        """
        holder = {
            "key": claim.key,
            "purpose": claim.purpose,
            "run_id": claim.run_id,
            "owner": f"{_user()}@{socket.gethostname()}",
            "controller": _this_controller(),
        }
        request: dict[str, Any] = {"verb": "take", "holder": holder, "seconds": seconds, "steal": steal}
        request["replace"] = []
        while True:
            asked_at = _now()
            answer = _ask(transport, host, request)
            with _readable(host):
                if "held_by" not in answer:
                    return cls(transport, host, claim, answer, asked_at)
                other = LeaseState.parse(answer["held_by"])
            if not (steal or other.controller_is_gone) or other.key in request["replace"]:
                raise _refusal(host, other)
            request["replace"].append(other.key)

    def terms_of(self, timeout_s: float) -> tuple[str, int, float]:
        """Return what the request of a job with that time limit needs: path, token and the new end."""
        return self._path, self._token, _now() + self._offset_s + timeout_s + MARGIN_S

    def renew(self, seconds: float) -> None:
        """Hold the host for `seconds` from now on, if it is not already. Raises LeaseLost."""
        if self._renewed_until >= _now() + seconds:
            return
        request = {"verb": "renew", "key": self._claim.key, "seconds": seconds}
        if _ask(self._transport, self._host, request).get("lost"):
            raise LeaseLost(where=self._host.name)
        self._renewed_until = _now() + seconds

    def release(self) -> None:
        """Give the host back; again is harmless."""
        if self.is_given_back:
            return
        _ask(self._transport, self._host, {"verb": "release", "key": self._claim.key})


def read_leases(transport: Transport, host: Host) -> tuple[tuple[LeaseState, ...], HostRuns]:
    """Return who holds a host, nobody or usually one, and what runs have left there."""
    answer = _ask(transport, host, {"verb": "show"})
    with _readable(host):
        return tuple(LeaseState.parse(item) for item in answer["leases"]), HostRuns.parse(answer)


@contextmanager
def _readable(host: Host) -> Iterator[None]:
    """Turn what no answer of a host should make happen into CommandFailed."""
    try:
        yield
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        text = f"{type(error).__name__}: {error}"
        raise CommandFailed(f"its lease's answer cannot be read: {text:.200}", where=host.name) from error


def _ask(transport: Transport, host: Host, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the host's answer to a request. Raises CommandFailed."""
    text = json.dumps({**request, "folder": host.state_dir})
    done = transport.run([*shlex.split(host.python), "-I", "-", text], timeout_s=_TIMEOUT_S, stdin=_SCRIPT)
    if done.exit_code in _NOT_FOUND:
        raise CommandFailed(
            f"its lease needs Python: {done.error_text}",
            where=host.name,
            hint="name an interpreter of the host in the inventory: ansible_python_interpreter",
        )
    try:
        answer = dict(json.loads(done.stdout))
    except (ValueError, TypeError, RecursionError):
        answer = {"error": done.error_text or f"exit code {done.exit_code}"}
    if "error" in answer:
        raise CommandFailed(f"its lease cannot be had: {answer['error']}", where=host.name)
    return answer


def _refusal(host: Host, other: LeaseState) -> HostLeased:
    held = f"held by {other} for {duration(other.held_s)}"
    if other.job_is_running and other.controller_is_gone:
        text, todo = "; its controller is gone, but a job of it still runs", "resume it, or end it"
        hint = f"{todo}: perfctl resume {other.run_id}, perfctl reap {other.run_id}"
    else:
        text = f", at least {duration(other.left_s)} more"
        hint = "wait for it, or stop it; if its controller is gone: perfctl hosts --steal"
    return HostLeased(f"{held}{text}", where=host.name, hint=hint)


def _this_controller() -> dict[str, Any]:
    """Return this process's name: machine, boot, process ids' namespace, id and start."""
    pid = os.getpid()
    return {
        "machine": socket.gethostname(),
        "boot_id": _read("/proc/sys/kernel/random/boot_id").strip(),
        # A container has the machine's boot id, and process ids of its own.
        "namespace": str(Path("/proc/self/ns/pid").readlink()),
        "pid": pid,
        "start": _start_of(pid),
    }


def _start_of(pid: int) -> str:
    """Return when a process started, '' when it has ended."""
    # proc(5): field 2 is the name, which may hold spaces and brackets; 3 is the state, 22 the start.
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return "" if not fields or fields[0] in "ZX" else fields[19]


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


_KINDS: Mapping[str, Any] = {
    **dict.fromkeys(("key", "state", "why", "owner", "purpose"), str),
    **dict.fromkeys(("held_s", "left_s"), (int, float, type(None))),
    "run_id": (str, type(None)),
    "job_is_running": bool,
    "controller": Mapping,
}
"""What the fields of a lease may be in a host's answer."""


def _printable(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return "".join(letter if letter.isprintable() else "?" for letter in value)[:_LONGEST]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _now() -> float:
    # A suspended controller must not believe that its leases are still there.
    return time.clock_gettime(time.CLOCK_BOOTTIME)
