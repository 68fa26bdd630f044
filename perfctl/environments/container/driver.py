"""A container, made afresh each time it is opened and always removed.

    open:   run      1 call
    run:    exec     1 call; what it costs is around the command, not in it
    close:  remove   1 call, checked

Everything goes through the host's shell, so the timing fields of a job shell's Completed are kept. The
engine (`engine.Engine`) has the command lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType

from perfctl.environments.container.docker import Docker
from perfctl.environments.container.engine import INVOCATION_LABEL, RUN_LABEL, Engine
from perfctl.environments.container.shell import CALL_TIMEOUT_S, ContainerShell
from perfctl.environments.kinds import traits_of
from perfctl.environments.limits import CONTAINER_LIMITS_ARGV, is_limited, not_in_force
from perfctl.environments.naming import PREFIX, name_stem, new_name
from perfctl.environments.scope import key_values
from perfctl.errors import CommandFailed, EnvironmentFailure, EnvironmentUnavailable, PerfctlError
from perfctl.model import Environment
from perfctl.shell import Completed, Shell

ENGINES: Mapping[str, Engine] = MappingProxyType({"docker": Docker()})
"""The engines by the name that an environment's field `engine` has."""
DEFAULT_ENGINE = "docker"

_NO_LIMIT_HINT = (
    "leave it out with --env, or boot the host with that controller of its control groups; version 1: "
    "cgroup_enable=memory swapaccount=1"
)


def start_argv(environment: Environment) -> list[str]:
    """Return the command that makes a container of this environment, labels left out."""
    return ENGINES[environment.engine or DEFAULT_ENGINE].run_argv(environment, "NAME", {})


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
        self._engine = ENGINES[environment.engine or DEFAULT_ENGINE]
        self._labels = {RUN_LABEL: run_id, INVOCATION_LABEL: invocation_id}
        self._stem = name_stem(run_id, invocation_id)
        self._host_address = host_address

    def check(self, host: Shell) -> None:
        """Start a command once with the very options that will be used: `true`, or one that reads the limits.

        Raises EnvironmentFailure, also where a limit is not in force: engines only warn, or not even that.
        """
        name = self._new_name()
        # A kernel of its own has control groups of its own, which say nothing of the limits around it.
        reads_limits = is_limited(self._environment) and not traits_of(self._environment).has_own_kernel
        command = CONTAINER_LIMITS_ARGV if reads_limits else ("true",)
        argv = self._engine.probe_argv(self._environment, name, self._labels, command)
        try:
            completed = self._start(host, argv)
        except BaseException as error:
            self._remove_after(error, host, name)
            raise
        if completed.exit_code:
            raise self._failure(host, completed)
        self._refuse_lost_limits(host, completed)
        wrong = not_in_force(self._environment, key_values(completed.text)) if reads_limits else None
        if wrong:
            raise EnvironmentUnavailable(wrong, where=self._place(host), hint=_NO_LIMIT_HINT)

    def describe(self, host: Shell) -> dict[str, str]:
        """Return engine, image, network and container options as the engine reports them; '' unknown.

        Raises EnvironmentFailure when the container cannot even be made, or the engine's words are not its
        own.
        """
        name = self._new_name()
        names = [name, str(self._environment.image), *self._networks()]
        with self._made(host, name, self._engine.create_argv(self._environment, name, self._labels)):
            inspected = host.run(self._engine.inspect_argv("{{json .}}", *names), timeout_s=CALL_TIMEOUT_S)
            info = host.run(self._engine.info_argv(), timeout_s=CALL_TIMEOUT_S)
        try:
            found = self._engine.description(inspected.text, info.text)
        except EnvironmentUnavailable as failure:
            failure.where = self._place(host)
            raise
        digest = self._environment.seccomp_profile_sha256
        return {**found, "seccomp_profile.sha256": digest} if digest else found

    @contextmanager
    def open(self, host: Shell) -> Iterator[ContainerShell]:
        """Start a container, give its shell, remove it.

        Raises EnvironmentFailure when it cannot be started, CommandFailed (naming it) when it cannot be
        removed; if the body has failed already, its error is raised, with a note about the container.
        """
        name = self._new_name()
        with self._made(host, name, self._engine.run_argv(self._environment, name, self._labels)) as made:
            yield ContainerShell(host, self._engine, self._environment, name, self._host_address, made)

    @contextmanager
    def _made(self, host: Shell, name: str, argv: Sequence[str]) -> Iterator[Completed]:
        try:
            made = self._start(host, argv)
            if made.exit_code:
                raise self._failure(host, made)
            self._refuse_lost_limits(host, made)
            yield made
        except BaseException as error:
            # Also for Ctrl-C and for a start that failed half way: the engine may have made it anyway.
            self._remove_after(error, host, name)
            raise
        _remove(host, self._engine, name)

    def _start(self, host: Shell, argv: Sequence[str]) -> Completed:
        """Run a command that makes a container; its client reads a seccomp profile from standard input."""
        profile = self._environment.seccomp_profile
        if profile is None:
            return host.run(argv, timeout_s=CALL_TIMEOUT_S)
        # What ssh gives a command for its input is no file that the client could open by its name.
        piped = ["sh", "-c", 'cat | "$@"', "sh", *argv]
        done = host.run(piped, timeout_s=CALL_TIMEOUT_S, stdin=profile.encode())
        return replace(done, argv=tuple(argv))

    def _remove_after(self, error: BaseException, host: Shell, name: str) -> None:
        try:
            _remove(host, self._engine, name)
        except PerfctlError as failure:
            error.add_note(str(failure))

    def _refuse_lost_limits(self, host: Shell, made: Completed) -> None:
        """Raise EnvironmentUnavailable for a limit that the kernel cannot hold: engines only warn."""
        lost = self._engine.lost_limit(self._environment, made)
        if lost is None:
            return
        if self._engine.is_about_swap(lost) and not _has_swap(host):
            return
        raise EnvironmentUnavailable(
            f"a limit is not in force: {lost}",
            where=self._place(host),
            hint=_NO_LIMIT_HINT,
        )

    def _failure(self, host: Shell, completed: Completed) -> EnvironmentFailure:
        failure = self._engine.failure(self._environment, completed)
        failure.where = self._place(host)
        if self._engine.lacks_runtime(completed):
            info = host.run(self._engine.info_argv(), timeout_s=CALL_TIMEOUT_S)
            failure.hint = f"it has: {', '.join(self._engine.runtimes(info.text)) or 'none that it names'}"
        return failure

    def _place(self, host: Shell) -> str:
        return f"{host.name}/{self._environment.name}"

    def _networks(self) -> list[str]:
        return [] if self._environment.network == "host" else ["bridge"]

    def _new_name(self) -> str:
        return new_name(self._stem)


def _has_swap(host: Shell) -> bool:
    # The first line is a heading.
    return len(host.run(["cat", "/proc/swaps"], timeout_s=CALL_TIMEOUT_S).text.splitlines()) != 1


def _remove(host: Shell, engine: Engine, *names: str) -> None:
    """Remove containers; one that is not there is no failure. Raises CommandFailed that names them."""
    for _ in range(2):  # overlay2 now and then is still busy at the first try
        removed = host.run(engine.remove_argv(*names), timeout_s=CALL_TIMEOUT_S)
        if removed.exit_code == 0 or engine.is_missing(removed) or engine.has_no_client(removed):
            return
    raise CommandFailed(
        f"container {' '.join(names)} was not removed: {removed.error_text}",
        where=host.name,
        hint=f"remove it by hand: {' '.join(engine.remove_argv(*names))}",
    )


def remove_all(host: Shell, run_id: str) -> list[str]:
    """Remove every container of a run on this host, running or not; return their names.

    A host without an engine's client has none; one whose engine does not run has none that runs. Raises
    CommandFailed.
    """
    removed: list[str] = []
    for engine in ENGINES.values():
        # A stand-in for the engine prints notices here, too.
        names = [
            name
            for name in _listed(host, engine, engine.list_argv(run_id)).split()
            if name.startswith(PREFIX)
        ]
        if names:
            _remove(host, engine, *names)
        removed += names
    return removed


def runs_with_containers(host: Shell) -> set[str]:
    """Return the ids of the runs that have containers on this host, older than two minutes.

    What a run is making just now is not taken for what one has left. Raises CommandFailed.
    """
    found = set()
    for engine in ENGINES.values():
        for line in _listed(host, engine, engine.list_runs_argv()).splitlines():
            run, _, age = line.partition(" ")
            if not any(young in age for young in ("second", "a minute")):
                found.add(run)
    return found


def _listed(host: Shell, engine: Engine, argv: Sequence[str]) -> str:
    listed = host.run(argv, timeout_s=CALL_TIMEOUT_S)
    if engine.has_no_client(listed) or engine.has_no_daemon(listed):
        return ""
    if listed.exit_code:
        raise CommandFailed(f"cannot list containers: {listed.error_text}", where=host.name)
    return listed.text
