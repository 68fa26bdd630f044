"""The protocol of a container engine: command lines, and the meaning of what they print. Pure.

A new engine is a class with these methods and a line in `driver.ENGINES`. One whose client takes docker's
options is a subclass of `Docker` with another `program`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from perfctl.errors import EnvironmentFailure
from perfctl.model import Environment
from perfctl.shell import Completed

RUN_LABEL = "perfctl.run"
INVOCATION_LABEL = "perfctl.invocation"

KEEP_ALIVE = 'trap "exit 0" TERM; while :; do sleep 2147483647 & wait $!; done'
"""The main process. A shell in `wait` reaps orphans of the benchmark, as an init would; `sleep` alone does
not. (`docker run --init` needs docker-init on the host and is not stock.) It wakes once in 68 years,
so it takes nothing from the measurement."""

OOM_ARGV = (
    "sh",
    "-c",
    "cat /sys/fs/cgroup/memory/memory.oom_control /sys/fs/cgroup/memory.events 2>/dev/null",
)
"""Prints, inside, the number of OOM kills: control groups of version 1 or 2."""


class Engine(Protocol):
    """A container engine, by the command lines of its client."""

    # What is run.

    def run_argv(self, environment: Environment, name: str, labels: Mapping[str, str]) -> list[str]:
        """Return the command that makes and starts a container: stock, but for what `environment` sets.

        It prints the container's id. Nothing is downloaded: a missing image is an error.
        """
        ...

    def create_argv(self, environment: Environment, name: str, labels: Mapping[str, str]) -> list[str]:
        """Return the command that makes the same container without starting it, to read the engine's view."""
        ...

    def probe_argv(
        self,
        environment: Environment,
        name: str,
        labels: Mapping[str, str],
        command: Sequence[str] = ("true",),
    ) -> list[str]:
        """Return the command that runs `command` in such a container and removes it: existence is not use."""
        ...

    def exec_argv(self, name: str, argv: Sequence[str], *, has_stdin: bool = False) -> list[str]:
        """Return the command that runs `argv` inside; without input stdin is /dev/null there."""
        ...

    def inspect_argv(self, template: str, *names: str) -> list[str]:
        """Return the command that prints a Go `template` filled in for each container, image or network."""
        ...

    def logs_argv(self, name: str) -> list[str]:
        """Return the command that prints the last lines of a container's log."""
        ...

    def remove_argv(self, *names: str) -> list[str]:
        """Return the command that kills and removes containers with their anonymous volumes."""
        ...

    def list_argv(self, run_id: str) -> list[str]:
        """Return the command that prints the names of all containers, running or not, of a run."""
        ...

    def list_runs_argv(self) -> list[str]:
        """Return the command that prints the run's id and the age of each container, running or not.

        The age is one for people, such as '2 hours ago'.
        """
        ...

    def info_argv(self) -> list[str]:
        """Return the command that prints the engine's version and settings."""
        ...

    # What was printed.

    def lost_limit(self, environment: Environment, completed: Completed) -> str | None:
        """Return the engine's warning that a limit of the environment was dropped, None without one."""
        ...

    def is_about_swap(self, warning: str) -> bool:
        """Return whether the warning is that swap is not counted: harmless where there is none."""
        ...

    def failure(self, environment: Environment, completed: Completed) -> EnvironmentFailure:
        """Return the error for a command that failed, with the engine's message and what to do.

        EnvironmentUnavailable where the host or its kernel refuse, EnvironmentNotMade for anything else.
        """
        ...

    def lacks_runtime(self, completed: Completed) -> bool:
        """Return whether a command failed because the engine does not know the environment's runtime."""
        ...

    def runtimes(self, info: str) -> list[str]:
        """Return the names of the engine's runtimes from what `info_argv` printed."""
        ...

    def has_no_client(self, completed: Completed) -> bool:
        """Return whether a command failed because the host has no client of this engine."""
        ...

    def has_no_daemon(self, completed: Completed) -> bool:
        """Return whether the client found no engine to talk to."""
        ...

    def is_gone(self, completed: Completed) -> bool:
        """Return whether `exec_argv` failed because the container does not run: nothing was executed."""
        ...

    def is_missing(self, removed: Completed) -> bool:
        """Return whether `remove_argv` failed because there is no such container."""
        ...

    def as_native(self, completed: Completed, argv: Sequence[str]) -> Completed:
        """Return what `exec_argv` left behind as a shell on the host would have given it for `argv`."""
        ...

    def description(self, inspected: str, info: str) -> dict[str, str]:
        """Return what an environment is made of; '' where the engine prints nothing.

        `inspected` has one line of JSON each for the container, its image and (not with the host's network)
        its network; `info` is the engine's. Identities that change with every container are left out. Raises
        EnvironmentUnavailable when either is something else.
        """
        ...
