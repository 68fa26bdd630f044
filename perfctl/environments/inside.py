"""What the shells of containers and guests share: each command goes through a client program on the host."""

from __future__ import annotations

from pathlib import Path

from perfctl.model import Environment
from perfctl.shell import Process, Shell
from perfctl.shell.files import get_file, put_file


class InsideShell:
    """The parts of a Shell inside an environment that `run` is enough for."""

    def __init__(self, host: Shell, environment: Environment) -> None:
        self._host = host
        self._environment = environment

    @property
    def name(self) -> str:
        """The host's name and the environment's."""
        return f"{self._host.name}/{self._environment.name}"

    def put(self: Shell, local: Path, remote: str, *, mode: int) -> None:
        """Copy a file into it. Raises CommandFailed, or UsageError when `local` cannot be read."""
        put_file(self, local, remote, mode=mode)

    def get(self: Shell, remote: str) -> bytes:
        """Return one of its files. Raises CommandFailed."""
        return get_file(self, remote)


class InsideProcess:
    """A server inside an environment: the client on the host, and the real process inside."""

    def __init__(self, client: Process) -> None:
        self._client = client
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

    def output(self) -> str:
        """Return what it has written so far."""
        return self._client.output()

    def _stop_inside(self) -> None:
        """End the process inside with its children; nothing to do where it went with its environment."""
        raise NotImplementedError
