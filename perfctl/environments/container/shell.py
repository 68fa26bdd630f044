"""A running container as a Shell: each command is one call of the engine's client on the host."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress

from perfctl.environments.container.engine import OOM_ARGV, Engine
from perfctl.environments.inside import InsideProcess, InsideShell
from perfctl.environments.kinds import traits_of
from perfctl.environments.limits import OutOfMemory, oom_kills
from perfctl.errors import CommandFailed, CommandTimeout, EnvironmentDied, PerfctlError
from perfctl.job import JobTimeout
from perfctl.model import Environment
from perfctl.shell import Completed, Process, Shell
from perfctl.shell.command import checked

CALL_TIMEOUT_S = 240.0
"""For the engine's own work (start, inspect, remove) on a loaded host, or in a guest emulated on one."""

# $0 is the file with the process id. The engine gives the command a process group of its own: it and its
# children. The container's main process reaps dead orphans, so that the group does come to an end.
_STOP = """
n=0
while [ ! -s "$0" ]; do n=$((n + 1)); [ $n -le 50 ] || exit 3; sleep 0.1; done
read -r pid <"$0"
kill -TERM "-$pid" 2>/dev/null || exit 0
n=0
while kill -0 "-$pid" 2>/dev/null; do
  n=$((n + 1)); [ $n -ne 150 ] || kill -KILL "-$pid" 2>/dev/null; [ $n -le 300 ] || exit 4; sleep 0.02
done
exit 0
"""

_SPAWN = 'echo $$ >"$0"; exec "$@"'
# All processes but the main one and the caller: what a command that timed out has left running.
_END_ALL = "kill -KILL -1"

_SIGKILLED = 128 + 9
_PLACE = "{{.State.Pid}} {{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
"""Its main process as the host sees it, and its addresses."""


class ContainerProcess(InsideProcess):
    """A server inside a container, through the engine's client."""

    def __init__(self, shell: ContainerShell, client: Process, pid_file: str) -> None:
        super().__init__(client)
        self._shell = shell
        self._pid_file = pid_file

    def _stop_inside(self) -> None:
        try:
            stopped = self._shell.run(["sh", "-c", _STOP, self._pid_file], timeout_s=CALL_TIMEOUT_S)
        except EnvironmentDied:
            return  # it went with its container
        if stopped.exit_code == 0 or (stopped.exit_code == 3 and not self._client.is_running()):
            return
        why = {3: "its process id never appeared", 4: "it survived SIGKILL"}.get(
            stopped.exit_code, stopped.error_text
        )
        raise CommandFailed(f"the server did not end: {why}", where=self._shell.name)


class ContainerShell(InsideShell):
    """A Shell inside a running container."""

    def __init__(
        self,
        host: Shell,
        engine: Engine,
        environment: Environment,
        container: str,
        host_address: str,
        made: Completed,
    ) -> None:
        super().__init__(host, environment)
        self._engine = engine
        self._made = made
        self._container = container
        self._host_address = host_address
        self._place: list[str] = []
        self._oom_kills = 0
        self._pid_files = (f"/dev/shm/perfctl-{number}.pid" for number in itertools.count())

    @property
    def container(self) -> str:
        """The container's name in the engine."""
        return self._container

    @property
    def address(self) -> str:
        """The container's own address, or the host's where it shares the host's network. Read once."""
        if self._environment.network == "host":
            return self._host_address
        place = self._read_place()
        if len(place) < 2:
            raise EnvironmentDied(f"it has no address: {self.state_report()}", where=self.name)
        return place[1]

    @property
    def host_network_folder(self) -> str | None:
        """The network of its main process; None where that is not known, or under a kernel of its own."""
        if traits_of(self._environment).has_own_kernel:
            return None
        if self._environment.network == "host":
            return "/proc/net"
        pid = next(iter(self._read_place()), "0")
        return f"/proc/{pid}/net" if pid.isdecimal() and pid != "0" else None

    def _read_place(self) -> list[str]:
        if len(self._place) < 2:
            self._place = self._call(self._engine.inspect_argv(_PLACE, self._container)).text.split()
        return self._place

    def is_alive(self) -> bool:
        """Return whether the container runs."""
        inspected = self._call(self._engine.inspect_argv("{{.State.Running}}", self._container))
        return inspected.exit_code == 0 and inspected.text.strip() == "true"

    def state_report(self) -> str:
        """Return the container's state, exit code and log, as the engine reports them."""
        inspected = self._call(self._engine.inspect_argv("{{json .State}}", self._container))
        if inspected.exit_code:
            return inspected.error_text
        log = self._call(self._engine.logs_argv(self._container))
        return _state_report(inspected.text, (log.text + log.error_text).strip())

    @property
    def boot(self) -> None:
        """None: a container runs on the kernel and the processor of where it is."""
        return None

    @property
    def opening_s(self) -> Mapping[str, float]:
        """When the engine had started it."""
        if self._made.started_ns is None or self._made.ended_ns is None:
            return {}
        return {"made": (self._made.ended_ns - self._made.started_ns) / 1e9}

    @property
    def host_processes(self) -> str:
        """Those whose control group carries the container's id."""
        return f"cgroup:{self._made.text.strip()}"

    @property
    def container_id(self) -> str:
        """The engine's id of it; '' under a runtime that has a kernel of its own."""
        return "" if traits_of(self._environment).has_own_kernel else self._made.text.strip()

    def artifacts(self) -> Mapping[str, bytes]:
        """Return nothing: what the engine reports of it is in the environment's snapshot."""
        return {}

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        """Run `argv` inside. Raises EnvironmentDied when the container was gone before it began.

        After a CommandTimeout nothing that this shell started runs inside any more.
        """
        command = self._engine.exec_argv(self._container, carried(checked(argv)), has_stdin=bool(stdin))
        try:
            completed = self._host.run(command, timeout_s=timeout_s, stdin=stdin)
        except CommandTimeout as error:
            self._end_all()
            error.message = f"{argv[0]} did not end within {timeout_s:g} s"
            error.where = self.name
            if isinstance(error, JobTimeout):
                error.completed = self._engine.as_native(error.completed, argv)
            raise
        if self._engine.is_gone(completed):
            raise EnvironmentDied(f"the container ended: {self.state_report()}", where=self.name)
        own = self._engine.as_native(completed, argv)
        if own.exit_code and self._has_run_out_of_memory(own.exit_code):
            raise OutOfMemory(self._environment, own, where=self.name)
        return own

    def spawn(self, argv: Sequence[str]) -> Process:
        """Start `argv` inside, in the background."""
        pid_file = next(self._pid_files)
        inside = carried(["sh", "-c", _SPAWN, pid_file, *checked(argv)])
        return ContainerProcess(
            self, self._host.spawn(self._engine.exec_argv(self._container, inside)), pid_file
        )

    def _has_run_out_of_memory(self, exit_code: int) -> bool:
        if self._environment.memory_mib is None and exit_code != _SIGKILLED:
            return False
        counted = self._call(self._engine.exec_argv(self._container, OOM_ARGV))
        if not self._engine.is_gone(counted):
            before, self._oom_kills = self._oom_kills, oom_kills(counted.text)
            return self._oom_kills > before
        return (
            self._call(self._engine.inspect_argv("{{.State.OOMKilled}}", self._container)).text.strip()
            == "true"
        )

    def _end_all(self) -> None:
        # Ending the client on the host has left the command running inside.
        with suppress(PerfctlError):
            self._call(self._engine.exec_argv(self._container, ["sh", "-c", _END_ALL]))

    def _call(self, argv: Sequence[str]) -> Completed:
        return self._host.run(argv, timeout_s=CALL_TIMEOUT_S)


def _state_report(text: str, log: str) -> str:
    try:
        state = json.loads(text)
    except (ValueError, RecursionError):
        state = None
    if not isinstance(state, dict):
        return f"state {text.strip()!r}"
    parts = [f"state {state.get('Status')}", f"exit code {state.get('ExitCode')}"]
    if state.get("OOMKilled"):
        parts.append("OOM-killed")
    if state.get("Error"):
        parts.append(str(state["Error"]))
    parts.append(f"log: {log}" if log else "no log")
    return ", ".join(parts)


def carried(argv: Sequence[str]) -> list[str]:
    """Return a command that runs `argv` and is valid UTF-8: the engine's JSON carries nothing else."""
    try:
        "".join(argv).encode()
    except UnicodeEncodeError:
        return ["sh", "-c", _DECODE, "sh", *(_encoded(argument) for argument in argv)]
    return list(argv)


# Takes each argument back from octal; the x keeps newlines at its end from being cut off.
_DECODE = 'n=$#; for a; do a=$(printf "$a"x); set -- "$@" "${a%x}"; done; shift "$n"; exec "$@"'


def _encoded(argument: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in argument.encode("utf-8", "surrogateescape"))
