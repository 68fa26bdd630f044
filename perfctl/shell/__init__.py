"""Run a command somewhere: the protocol under every environment.

    Shell       run, put, get, spawn     what a benchmark needs
    Transport   + stream, close          a way to reach a machine: LocalShell, SshShell

A job shell (`perfctl.job`) and every environment's shell (`perfctl.environments`) wrap a Shell in a Shell, so
they compose: container over ssh, container over local, container in a VM. Commands are argv lists everywhere;
quoting happens once, where a transport must hand a command line to a remote shell.

A non-zero exit is a value. `HostUnreachable` and `CommandTimeout` are errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from perfctl.model import ResourceUsage

_LAST_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Completed:
    """The result of a command that ended.

    A job shell also fills in the host's CLOCK_MONOTONIC at start and end (ns) and the text of the counters
    it read just before and just after, what the command used and left behind, and the host's view when a
    probe was given (docs/telemetry.md); other shells leave them None and empty.
    """

    argv: tuple[str, ...]
    exit_code: int
    stdout: bytes
    stderr: bytes
    started_ns: int | None = None
    ended_ns: int | None = None
    counters_before: bytes = b""
    counters_after: bytes = b""
    host_view: bytes = b""
    cut_at_bytes: int | None = None
    """The limit of each output, where one of them was cut there: what followed was dropped on the host."""
    usage: ResourceUsage | None = None
    """None where the command was reached by another program, whose usage would be another."""
    group_time_s: tuple[float, float] | None = None
    """User and system time of the environment's control group meanwhile, where a probe has read them."""
    task: bytes = b""
    """What the kernel said of the process that started it, where a launcher has read it."""
    left_behind: tuple[str, ...] = ()
    """Names of processes that it had started and that were ended after it."""

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are no UTF-8 are kept visible as escapes."""
        return as_text(self.stdout)

    @property
    def error_text(self) -> str:
        """Standard error as text, stripped."""
        return as_text(self.stderr).strip()

    @property
    def last_output(self) -> str:
        """The end of standard error, or of standard output where there is none, for a message."""
        for output in (self.stderr, self.stdout):
            # A character of several bytes may be cut in half.
            found = as_text(output.rstrip()[-4 * _LAST_CHARACTERS :]).strip()[-_LAST_CHARACTERS:]
            if found:
                return found
        return ""


def as_text(output: bytes) -> str:
    """Return an output as text; bytes that are no UTF-8 are kept visible as escapes."""
    return output.decode("utf-8", "backslashreplace")


class Process(Protocol):
    """A command that runs in the background (a server)."""

    def is_running(self) -> bool:
        """Return whether it still runs."""
        ...

    def stop(self) -> None:
        """End it and its children (SIGTERM, then SIGKILL) and return when it is gone; again is harmless."""
        ...

    def output(self) -> str:
        """Return what it has written so far to stdout and stderr, for an error message."""
        ...


class Stream(Protocol):
    """The stdin and stdout of a command that keeps running."""

    def write(self, data: bytes) -> None:
        """Send all of `data`."""
        ...

    def read_line(self, *, timeout_s: float) -> bytes:
        """Return one line with its newline. Raises CommandTimeout, or HostUnreachable when it ended."""
        ...

    def read_exactly(self, size_bytes: int, *, timeout_s: float) -> bytes:
        """Return exactly that many bytes. Raises like `read_line`."""
        ...

    def read_until(self, mark: bytes, *, timeout_s: float) -> bytes:
        """Return the bytes before `mark` and drop the mark. Raises like `read_line`."""
        ...

    def close(self) -> None:
        """Close both ends."""
        ...


class Shell(Protocol):
    """Runs commands somewhere."""

    @property
    def name(self) -> str:
        """Where commands run, for messages: 'h1', 'h1/container'."""
        ...

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        """Run `argv` to its end. Raises CommandTimeout, HostUnreachable."""
        ...

    def spawn(self, argv: Sequence[str]) -> Process:
        """Start `argv` in the background."""
        ...

    def put(self, local: Path, remote: str, *, mode: int) -> None:
        """Copy a file there, with these permission bits."""
        ...

    def get(self, remote: str) -> bytes:
        """Return a file's bytes. Raises CommandFailed when it cannot be read."""
        ...


class Transport(Shell, Protocol):
    """A Shell that reaches a machine by itself."""

    def stream(self, argv: Sequence[str]) -> Stream:
        """Start `argv` and return its stdin and stdout."""
        ...

    def close(self) -> None:
        """End the connection; commands in a session of their own keep running."""
        ...
