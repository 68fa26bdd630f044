"""The protocols of a driver and of the shell that it opens. docs/environments.md describes the rules."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from perfctl.model import GuestBoot
from perfctl.shell import Shell


class EnvironmentShell(Shell, Protocol):
    """A Shell inside an environment."""

    @property
    def address(self) -> str:
        """The IP address that other environments of the same kind reach this one at."""
        ...

    def is_alive(self) -> bool:
        """Return whether the environment itself still runs: a container may end during a command."""
        ...

    def state_report(self) -> str:
        """Return its state and its last output (log, console), for an error message; '' for none."""
        ...

    @property
    def boot(self) -> GuestBoot | None:
        """The guest's accelerator, vCPUs and boot attempts; None where there is no guest."""
        ...

    @property
    def opening_s(self) -> Mapping[str, float]:
        """The time of each step of its opening: seconds from the start, on the host's clock.

        Natively none; 'made' for a container (the engine has started it); 'console' (the first output),
        'kernel' and 'ssh' for a guest.
        """
        ...

    @property
    def host_processes(self) -> str:
        """How the host finds its processes.

        'cgroup:TEXT' (their /proc/PID/cgroup has TEXT), 'pidfile:PATH' (that process and its threads), or ''
        (no process but those of the command itself).
        """
        ...

    @property
    def container_id(self) -> str:
        """The id that the names of its control groups have, where the host's own kernel runs it; else ''.

        By it the host finds the first process, and reads the container's files (docs/facts.md).
        """
        ...

    @property
    def host_network_folder(self) -> str | None:
        """Where the host's /proc has its network: /proc/net, /proc/PID/net; None where only it can tell."""
        ...

    def artifacts(self) -> Mapping[str, bytes]:
        """Return what is kept with an invocation, by name, e.g. "console"; may read it from the host."""
        ...


class EnvironmentDriver(Protocol):
    """Makes one environment on a host, a new one each time it is opened."""

    def check(self, host: Shell) -> None:
        """Raise EnvironmentFailure, with the reason and what to do, when it cannot be made on this host.

        EnvironmentUnavailable where the host or its kernel refuse it, EnvironmentNotMade where the suite or
        the provisioning can mend it.
        """
        ...

    def describe(self, host: Shell) -> dict[str, str]:
        """Return what the environment is made of there, e.g. image id, engine version; '' where unknown."""
        ...

    def open(self, host: Shell) -> AbstractContextManager[EnvironmentShell]:
        """Make it, give its shell, and remove it whatever happens. Raises EnvironmentDied."""
        ...
