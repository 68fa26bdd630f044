"""A guest as a Shell: each command is one command of its host, OpenSSH's client."""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from perfctl.environments.inside import InsideProcess, InsideShell
from perfctl.environments.limits import OutOfMemory
from perfctl.environments.variables import with_variables
from perfctl.environments.vm.commands import (
    CALL_TIMEOUT_S,
    Guest,
    end_argv,
    host_argv,
    run_argv,
    spawn_argv,
)
from perfctl.environments.vm.host_state import GuestState, console_artifact
from perfctl.errors import CommandFailed, CommandTimeout, EnvironmentDied, PerfctlError
from perfctl.job import JobTimeout
from perfctl.model import Environment, GuestBoot
from perfctl.shell import Completed, Process, Shell
from perfctl.shell.command import MARK, checked, unwrap
from perfctl.shell.session import END_TIMEOUT_S

_ANSWER_TIMEOUT_S = 30.0
"""How long a guest that may be dead is given to answer."""
_START_TIMEOUT_S = 15.0
_END_MARK = f"{MARK}\n".encode()
_NO_SPACE = b"No space left on device"
_SIGKILLED = 128 + 9
_MARK_LINE = re.compile(rf"{MARK}(?: \d+)?\n")
_OUT_OF_MEMORY = re.compile(r"oom-kill:constraint=CONSTRAINT_(?!MEMCG)")
"""The guest itself was short of memory: not a container in it that reached its own limit."""


class DiskFull(EnvironmentDied):
    """A command failed because the guest's disk is full; `completed` is what it left behind."""

    default_reason = "disk_full"

    def __init__(self, failure: EnvironmentDied, completed: Completed) -> None:
        super().__init__(failure.message, artifacts=failure.artifacts, where=failure.where)
        self.completed = completed


@dataclass(frozen=True, slots=True)
class OpenedGuest:
    """What is known of a guest that has just been opened."""

    address: str
    mtu_bytes: int
    boot: GuestBoot
    opening_s: Mapping[str, float]
    xml: str


class GuestProcess(InsideProcess):
    """A server inside a guest, through the ssh client."""

    def __init__(self, shell: GuestShell, client: Process, token: str) -> None:
        super().__init__(client)
        self._shell = shell
        self._token = token

    def output(self) -> str:
        """Return what it has written so far."""
        return _MARK_LINE.sub("", super().output())

    def _stop_inside(self) -> None:
        self._await_start()
        # With its guest it is gone too.
        with suppress(EnvironmentDied):
            self._shell.end(self._token)

    def _await_start(self) -> None:
        # A command that is ended before the guest has started it would still start.
        deadline = time.monotonic() + _START_TIMEOUT_S
        while f"{MARK} " not in self._client.output() and self._client.is_running():
            if time.monotonic() > deadline:
                return
            time.sleep(0.02)


class GuestShell(InsideShell):
    """A Shell inside a running guest."""

    def __init__(self, host: Shell, environment: Environment, guest: Guest, opened: OpenedGuest) -> None:
        super().__init__(host, environment)
        self._guest = guest
        self._opened = opened
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._oom_kills = 0

    @property
    def domain(self) -> str:
        """The guest's name in libvirt."""
        return self._guest.name

    @property
    def address(self) -> str:
        """The guest's own address on the test network."""
        return self._opened.address

    @property
    def mtu_bytes(self) -> int:
        """The MTU of the test network, which is the guest's too."""
        return self._opened.mtu_bytes

    @property
    def boot(self) -> GuestBoot:
        """Its accelerator, its vCPUs, and how often it was booted."""
        return self._opened.boot

    @property
    def opening_s(self) -> Mapping[str, float]:
        """How long it took from the start to the first output, the first program, and the connection."""
        return self._opened.opening_s

    @property
    def host_processes(self) -> str:
        """The threads of the guest's qemu."""
        return f"pidfile:/run/libvirt/qemu/{self._guest.name}.pid"

    @property
    def container_id(self) -> str:
        """'': the host sees nothing of what is inside."""
        return ""

    @property
    def host_network_folder(self) -> None:
        """None: a guest has a kernel of its own."""
        return None

    def artifacts(self) -> Mapping[str, bytes]:
        """Return the console and the domain's XML."""
        with suppress(CommandFailed):
            return {"console": self._host.get(self._guest.console), "domain_xml": self._opened.xml.encode()}
        return {"domain_xml": self._opened.xml.encode()}

    # ---- is it there? ----

    def failure(self) -> EnvironmentDied | None:
        """Return what is wrong with the guest itself, with its console; None when nothing is.

        A guest that is dead or paused, that does not answer, or whose disk is full.
        """
        state = self._state()
        death = state.death() or self._failure_inside(state)
        if death is not None:
            death.where = self.name
        return death

    def is_alive(self) -> bool:
        """Return whether the guest runs, answers and has room on its disks."""
        return self.failure() is None

    def state_report(self) -> str:
        """Return what is wrong with it, or the last line of its console."""
        failure = self.failure()
        return failure.message if failure else f"the guest runs; console: {self._state().last_line}"

    def _state(self) -> GuestState:
        argv = host_argv("state", self._guest.name, self._guest.uuid)
        return GuestState.parse(self._host.run(argv, timeout_s=CALL_TIMEOUT_S).text)

    def _failure_inside(self, state: GuestState) -> EnvironmentDied | None:
        """Return that a running guest does not answer, or that one of its disks is full; else None."""
        kept = console_artifact(state.console)
        printed = self._peek(["df", "-Pk", "/", "/scratch"])
        if printed is None:
            return EnvironmentDied(
                "the guest runs but does not answer", reason="guest_silent", artifacts=kept
            )
        rows = [line.split() for line in printed.splitlines()[1:]]
        full = sorted({row[5] for row in rows if len(row) == 6 and row[3] == "0"})
        if full:
            return EnvironmentDied(
                f"the guest's disk is full: {' and '.join(full)}", reason="disk_full", artifacts=kept
            )
        return None

    def _peek(self, argv: Sequence[str]) -> str | None:
        """Return what a short command inside prints, None when the guest does not answer."""
        command = spawn_argv(self._guest, self.address, self._new_token(), argv)
        with suppress(CommandTimeout):
            completed = self._host.run(command, timeout_s=_ANSWER_TIMEOUT_S)
            own = unwrap(completed.stdout, completed.stderr)
            return None if own.pid is None else own.stdout.decode("utf-8", "backslashreplace")
        return None

    # ---- commands ----

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        """Run `argv` inside. Raises EnvironmentDied when the guest was gone, or went under the command.

        Raises DiskFull and OutOfMemory when that is why it failed. After a CommandTimeout nothing that the
        command started runs inside any more.
        """
        token = self._new_token()
        command = run_argv(self._guest, self.address, token, self._with_variables(argv))
        try:
            completed = self._host.run(command, timeout_s=timeout_s, stdin=stdin)
        except CommandTimeout as error:
            self._end_timed_out(error, token, argv, timeout_s)
            raise
        own = unwrap(completed.stdout, completed.stderr)
        # Where it said too much on stderr, the mark at the end was cut off with the rest.
        is_cut = completed.cut_at_bytes is not None and len(completed.stderr) >= completed.cut_at_bytes
        if own.pid is None or not (is_cut or own.stderr.endswith(_END_MARK)):
            raise self._lost(own.stderr)
        stderr = own.stderr.removesuffix(_END_MARK)
        # What was used is the connection's own, not the command's.
        inside = replace(completed, argv=tuple(argv), stdout=own.stdout, stderr=stderr, usage=None)
        if inside.exit_code:
            self._raise_for_shortage(inside)
        return inside

    def spawn(self, argv: Sequence[str]) -> Process:
        """Start `argv` inside, in the background."""
        token = self._new_token()
        client = self._host.spawn(spawn_argv(self._guest, self.address, token, self._with_variables(argv)))
        return GuestProcess(self, client, token)

    def end(self, token: str) -> Completed:
        """End a command with everything it started; return its output so far.

        Raises CommandFailed when something survives, EnvironmentDied, CommandTimeout.
        """
        argv = end_argv(self._guest, self.address, token)
        completed = self._host.run(argv, timeout_s=END_TIMEOUT_S + _ANSWER_TIMEOUT_S)
        own = unwrap(completed.stdout, completed.stderr)
        if own.pid is None:
            raise self._lost(own.stderr)
        if completed.exit_code != 0:
            raise CommandFailed("a command in the guest survives SIGKILL", where=self.name)
        return replace(completed, stdout=own.stdout, stderr=own.stderr)

    def _with_variables(self, argv: Sequence[str]) -> list[str]:
        return with_variables(self._environment, checked(argv))

    def _new_token(self) -> str:
        # A count, unlike a generator, may be read by several threads at once.
        return f"{self._prefix}-{next(self._numbers)}"

    def _raise_for_shortage(self, failed: Completed) -> None:
        """Raise DiskFull or OutOfMemory when that is why a command failed."""
        if _NO_SPACE in failed.stderr or _NO_SPACE in failed.stdout:
            failure = self.failure()
            if failure is not None and failure.reason == DiskFull.default_reason:
                raise DiskFull(failure, failed)
        if failed.exit_code == _SIGKILLED:
            before = self._oom_kills
            self._oom_kills = len(_OUT_OF_MEMORY.findall(self._peek(["dmesg"]) or ""))
            if self._oom_kills > before:
                raise OutOfMemory(self._environment, failed, where=self.name)

    def _end_timed_out(
        self, error: CommandTimeout, token: str, argv: Sequence[str], timeout_s: float
    ) -> None:
        """End the command inside, describe it in the error. Raises EnvironmentDied when the guest is dead."""
        try:
            ended = self.end(token)
        except CommandTimeout:
            raise self._lost(b"") from error
        except PerfctlError as failure:
            error.add_note(str(failure))
            ended = Completed((), 0, b"", b"")
        error.message = f"{argv[0]} did not end within {timeout_s:g} s"
        error.where = self.name
        if isinstance(error, JobTimeout):
            error.completed = replace(
                error.completed, argv=tuple(argv), stdout=ended.stdout, stderr=ended.stderr, usage=None
            )

    def _lost(self, stderr: bytes) -> EnvironmentDied:
        """Return why the connection broke: what is wrong with the guest, else what the client printed."""
        failure = self.failure()
        if failure is not None:
            return failure
        printed = stderr.decode("utf-8", "backslashreplace").strip()
        return EnvironmentDied(
            f"the connection to the guest broke{': ' + printed if printed else ''}",
            reason="guest_silent",
            artifacts=self.artifacts(),
            where=self.name,
        )
