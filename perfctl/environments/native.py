"""The native environment: the host itself. What everything else is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from perfctl.shell import Completed, Process, Shell


class NativeShell:
    """The host's own shell, seen as an environment that cannot die by itself."""

    def __init__(self, host: Shell, address: str) -> None:
        self._host = host
        self._address = address

    @property
    def name(self) -> str:
        """The host's name."""
        return self._host.name

    @property
    def address(self) -> str:
        """The host's address on the test network."""
        return self._address

    def is_alive(self) -> bool:
        """Return True: a host that has gone is HostUnreachable, not a dead environment."""
        return True

    def last_words(self) -> str:
        """Return nothing."""
        return ""

    @property
    def accelerator(self) -> None:
        """None: nothing is emulated or virtualised by us."""
        return None

    @property
    def opening_s(self) -> Mapping[str, float]:
        """Nothing: the host is there already."""
        return {}

    @property
    def host_processes(self) -> str:
        """Only those of the command."""
        return ""

    def artifacts(self) -> Mapping[str, bytes]:
        """Return nothing."""
        return {}

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        """Run `argv` on the host."""
        return self._host.run(argv, timeout_s=timeout_s, stdin=stdin)

    def spawn(self, argv: Sequence[str]) -> Process:
        """Start `argv` on the host in the background."""
        return self._host.spawn(argv)

    def put(self, local: Path, remote: str, *, mode: int) -> None:
        """Copy a file to the host."""
        self._host.put(local, remote, mode=mode)

    def get(self, remote: str) -> bytes:
        """Return a file of the host."""
        return self._host.get(remote)


class NativeDriver:
    """Opens the host itself: nothing to make, nothing to remove."""

    def __init__(self, address: str) -> None:
        self._address = address

    def check(self, host: Shell) -> None:
        """Do nothing: a host that can be reached can run native commands."""

    def describe(self, host: Shell) -> dict[str, str]:
        """Return nothing beyond the host's own facts."""
        return {}

    @contextmanager
    def open(self, host: Shell) -> Iterator[NativeShell]:
        """Give the host's shell."""
        yield NativeShell(host, self._address)
