"""A container, made afresh each time it is opened and always removed.

    open:   docker run -d            1 call
    run:    docker exec              1 call; what it costs is around the command, not in it
    close:  docker rm -f -v          1 call, checked

Everything goes through the host's shell, so the timing fields of a job shell's Completed are kept.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from perfctl.environments import docker
from perfctl.environments.limits import OutOfMemory, oom_kills
from perfctl.environments.naming import name_stem, new_name
from perfctl.errors import (
    CommandFailed,
    CommandTimeout,
    EnvironmentDied,
    EnvironmentUnavailable,
    PerfctlError,
)
from perfctl.job import JobTimeout
from perfctl.model import Environment
from perfctl.shell import Completed, Process, Shell
from perfctl.shell.command import checked
from perfctl.shell.files import get_file, put_file

CALL_TIMEOUT_S = 240.0
"""For docker's own work (start, inspect, remove) on a loaded host, or in a guest that is emulated on one."""

# $0 is the file with the process id. `docker exec` gives the command a process group of its own: it and its
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
_ADDRESS = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"


class ContainerProcess:
    """A server inside a container: the docker client on the host, and the real process inside."""

    def __init__(self, shell: ContainerShell, client: Process, pid_file: str) -> None:
        self._shell = shell
        self._client = client
        self._pid_file = pid_file
        self._is_stopped = False

    def is_running(self) -> bool:
        """Return whether it still runs: the client ends with it."""
        return self._client.is_running()

    def stop(self) -> None:
        """End it and its children inside, then the client. Raises CommandFailed when it survives."""
        if self._is_stopped:
            return
        # The client goes in any case, also when ending the inside fails.
        try:
            self._stop_inside()
        finally:
            self._client.stop()
        self._is_stopped = True

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

    def output(self) -> str:
        """Return what it has written so far."""
        return self._client.output()


class ContainerShell:
    """A Shell inside a running container."""

    def __init__(
        self, host: Shell, environment: Environment, container: str, host_address: str, made: Completed
    ) -> None:
        self._host = host
        self._made = made
        self._environment = environment
        self._container = container
        self._host_address = host_address
        self._address: str | None = None
        self._oom_kills = 0
        self._pid_files = (f"/dev/shm/perfctl-{number}.pid" for number in itertools.count())

    @property
    def name(self) -> str:
        """The host's name and the environment's."""
        return f"{self._host.name}/{self._environment.name}"

    @property
    def container(self) -> str:
        """The container's name in the engine."""
        return self._container

    @property
    def address(self) -> str:
        """The container's own address, or the host's where it shares the host's network. Asked for once."""
        if self._environment.network == "host":
            return self._host_address
        if self._address is None:
            said = self._docker(docker.inspect_argv(_ADDRESS, self._container))
            if not said.text.strip():
                raise EnvironmentDied(f"it has no address: {self.last_words()}", where=self.name)
            self._address = said.text.split()[0]
        return self._address

    def is_alive(self) -> bool:
        """Return whether the container runs."""
        said = self._docker(docker.inspect_argv("{{.State.Running}}", self._container))
        return said.exit_code == 0 and said.text.strip() == "true"

    def last_words(self) -> str:
        """Return the container's state, exit code and log, in docker's words."""
        said = self._docker(docker.inspect_argv("{{json .State}}", self._container))
        if said.exit_code:
            return said.error_text
        log = self._docker(docker.logs_argv(self._container))
        return _last_words(json.loads(said.text), (log.text + log.error_text).strip())

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

    def artifacts(self) -> Mapping[str, bytes]:
        """Return nothing: what docker says of it is in the snapshot of the environment."""
        return {}

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        """Run `argv` inside. Raises EnvironmentDied when the container was gone before it began.

        After a CommandTimeout nothing that this shell started runs inside any more.
        """
        command = docker.exec_argv(self._container, docker.carried(checked(argv)), has_stdin=bool(stdin))
        try:
            completed = self._host.run(command, timeout_s=timeout_s, stdin=stdin)
        except CommandTimeout as error:
            self._end_all()
            error.message = f"{argv[0]} did not end within {timeout_s:g} s"
            error.where = self.name
            if isinstance(error, JobTimeout):
                error.completed = docker.as_native(error.completed, argv)
            raise
        if docker.is_gone(completed):
            raise EnvironmentDied(f"the container ended: {self.last_words()}", where=self.name)
        own = docker.as_native(completed, argv)
        if own.exit_code and self._has_run_out_of_memory(own.exit_code):
            raise OutOfMemory(self._environment, own, where=self.name)
        return own

    def spawn(self, argv: Sequence[str]) -> Process:
        """Start `argv` inside, in the background."""
        pid_file = next(self._pid_files)
        inside = docker.carried(["sh", "-c", _SPAWN, pid_file, *checked(argv)])
        return ContainerProcess(self, self._host.spawn(docker.exec_argv(self._container, inside)), pid_file)

    def put(self, local: Path, remote: str, *, mode: int) -> None:
        """Copy a file into the container. Raises CommandFailed, or UsageError when `local` cannot be read."""
        put_file(self, local, remote, mode=mode)

    def get(self, remote: str) -> bytes:
        """Return a file of the container. Raises CommandFailed."""
        return get_file(self, remote)

    def _has_run_out_of_memory(self, exit_code: int) -> bool:
        if self._environment.memory_mib is None and exit_code != _SIGKILLED:
            return False
        counted = self._docker(docker.exec_argv(self._container, docker.OOM_ARGV))
        if not docker.is_gone(counted):
            before, self._oom_kills = self._oom_kills, oom_kills(counted.text)
            return self._oom_kills > before
        return (
            self._docker(docker.inspect_argv("{{.State.OOMKilled}}", self._container)).text.strip() == "true"
        )

    def _end_all(self) -> None:
        # Ending the docker client on the host has left the command running inside.
        with suppress(PerfctlError):
            self._docker(docker.exec_argv(self._container, ["sh", "-c", _END_ALL]))

    def _docker(self, argv: Sequence[str]) -> Completed:
        return self._host.run(argv, timeout_s=CALL_TIMEOUT_S)


def _last_words(state: dict[str, object], log: str) -> str:
    said = [f"state {state.get('Status')}", f"exit code {state.get('ExitCode')}"]
    if state.get("OOMKilled"):
        said.append("killed for lack of memory")
    if state.get("Error"):
        said.append(str(state["Error"]))
    said.append(f"log: {log}" if log else "its log is empty")
    return ", ".join(said)


class ContainerDriver:
    """Makes containers of one environment, named and labelled after one invocation of one run."""

    def __init__(
        self,
        environment: Environment,
        *,
        run_id: str,
        invocation_id: str,
        host_address: str,
        image: str | None = None,
    ) -> None:
        self._environment = replace(environment, image=image) if image else environment
        self._labels = {docker.RUN_LABEL: run_id, docker.INVOCATION_LABEL: invocation_id}
        self._stem = name_stem(run_id, invocation_id)
        self._host_address = host_address

    def check(self, host: Shell) -> None:
        """Start `true` once with the very options that will be used. Raises EnvironmentUnavailable."""
        name = self._new_name()
        argv = docker.probe_argv(self._environment, name, self._labels)
        try:
            completed = host.run(argv, timeout_s=CALL_TIMEOUT_S)
        except BaseException as error:
            self._remove_after(error, host, name)
            raise
        if completed.exit_code:
            raise self._unavailable(host, completed)
        self._refuse_lost_limits(host, completed)

    def describe(self, host: Shell) -> dict[str, str]:
        """Return engine, image, network and container options as docker reports them; '' unknown.

        Raises EnvironmentUnavailable when the container cannot even be made.
        """
        name = self._new_name()
        names = [name, str(self._environment.image), *self._networks()]
        with self._made(host, name, docker.create_argv(self._environment, name, self._labels)):
            inspected = host.run(docker.inspect_argv("{{json .}}", *names), timeout_s=CALL_TIMEOUT_S)
            info = host.run(docker.info_argv(), timeout_s=CALL_TIMEOUT_S)
        return docker.description(inspected.text, info.text)

    @contextmanager
    def open(self, host: Shell) -> Iterator[ContainerShell]:
        """Start a container, give its shell, remove it.

        Raises EnvironmentUnavailable when it cannot be started, CommandFailed (naming it) when it cannot be
        removed; if the body has failed already, that failure goes on, with a note about the container.
        """
        name = self._new_name()
        with self._made(host, name, docker.run_argv(self._environment, name, self._labels)) as made:
            yield ContainerShell(host, self._environment, name, self._host_address, made)

    @contextmanager
    def _made(self, host: Shell, name: str, argv: Sequence[str]) -> Iterator[Completed]:
        try:
            made = host.run(argv, timeout_s=CALL_TIMEOUT_S)
            if made.exit_code:
                raise self._unavailable(host, made)
            self._refuse_lost_limits(host, made)
            yield made
        except BaseException as error:
            # Also for Ctrl-C and for a start that failed half way: docker may have made it all the same.
            self._remove_after(error, host, name)
            raise
        _remove(host, name)

    def _remove_after(self, error: BaseException, host: Shell, name: str) -> None:
        try:
            _remove(host, name)
        except PerfctlError as failure:
            error.add_note(str(failure))

    def _refuse_lost_limits(self, host: Shell, made: Completed) -> None:
        """Docker goes on without a limit that the kernel cannot hold, and only warns."""
        lost = docker.lost_limit(self._environment, made)
        if lost is None:
            return
        if docker.is_about_swap(lost) and not _has_swap(host):
            return
        raise EnvironmentUnavailable(
            f"a limit would not hold: {lost}",
            where=f"{host.name}/{self._environment.name}",
            hint="boot the host with cgroup_enable=memory swapaccount=1, or leave it out with --env",
        )

    def _unavailable(self, host: Shell, completed: Completed) -> EnvironmentUnavailable:
        message, hint = docker.why_unavailable(self._environment, completed)
        return EnvironmentUnavailable(message, where=f"{host.name}/{self._environment.name}", hint=hint)

    def _networks(self) -> list[str]:
        return [] if self._environment.network == "host" else ["bridge"]

    def _new_name(self) -> str:
        return new_name(self._stem)


def _has_swap(host: Shell) -> bool:
    # The first line is a heading.
    return len(host.run(["cat", "/proc/swaps"], timeout_s=CALL_TIMEOUT_S).text.splitlines()) != 1


def _remove(host: Shell, *names: str) -> None:
    """Remove containers; one that is not there is no failure. Raises CommandFailed that names them."""
    for _ in range(2):  # overlay2 now and then is still busy at the first try
        removed = host.run(docker.remove_argv(*names), timeout_s=CALL_TIMEOUT_S)
        if (
            removed.exit_code == 0
            or "No such container" in removed.error_text
            or docker.has_no_client(removed)
        ):
            return
    raise CommandFailed(
        f"container {' '.join(names)} was not removed: {removed.error_text}",
        where=host.name,
        hint=f"remove it by hand: docker rm -f -v {' '.join(names)}",
    )


def remove_all(host: Shell, run_id: str) -> list[str]:
    """Remove every container of a run on this host, running or not; return their names.

    A host without a docker client has none; nor has one whose engine does not run any container that runs.
    Raises CommandFailed.
    """
    listed = host.run(docker.list_argv(run_id), timeout_s=CALL_TIMEOUT_S)
    if docker.has_no_client(listed) or docker.has_no_daemon(listed):
        return []
    if listed.exit_code:
        raise CommandFailed(f"cannot list containers: {listed.error_text}", where=host.name)
    names = listed.text.split()
    if names:
        _remove(host, *names)
    return names
