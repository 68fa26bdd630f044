"""Prepare a command for a shell: quoting, becoming root, and the mark before its output.

Every command is run by one small POSIX wrapper on the other side. The wrapper prints a mark on both streams
(what comes before it is output of login scripts), and with it the process id, so that a command can be ended
there after a timeout. The wrapper stays as the parent: a command killed by signal n then exits 128+n
everywhere.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from perfctl.errors import Refused, UsageError

MARK = f"perfctl-{secrets.token_hex(8)}"
"""Printed by the wrapper before the command's own output; random, so that no command prints it by chance."""

_RUN = (
    'printf "%s %s\\n" "$1" $$ >&2; printf "%s\\n" "$1"; shift; '
    'LC_ALL=C; export LC_ALL; ( exec "$@" ); exit $?'
)
# A password line that sudo did not read must not reach the command: skip lines up to the mark.
_SKIP_PASSWORD = 'while IFS= read -r l; do [ "$l" = "$1" ] && break; done; '


@dataclass(frozen=True, slots=True)
class Elevation:
    """How commands become root: not at all, by `sudo -n`, or by `sudo -S` with a password."""

    become: bool = False
    password: str | None = field(default=None, repr=False)

    def wrap(self, argv: Sequence[str], stdin: bytes = b"") -> tuple[list[str], bytes]:
        """Return the argv that runs `argv` under the wrapper, and the bytes for its standard input.

        Raises UsageError when an argument holds a NUL byte, which no command line can carry.
        """
        command = checked(argv)
        if not self.become:
            return ["/bin/sh", "-c", _RUN, "perfctl", MARK, *command], stdin
        if self.password is None:
            return ["sudo", "-n", "--", "/bin/sh", "-c", _RUN, "perfctl", MARK, *command], stdin
        preamble = f"{self.password}\n{MARK}\n".encode()
        sudo = ["sudo", "-k", "-S", "-p", "", "--"]
        return [*sudo, "/bin/sh", "-c", _SKIP_PASSWORD + _RUN, "perfctl", MARK, *command], preamble + stdin


def checked(argv: Sequence[str]) -> list[str]:
    """Return `argv` as a list. Raises UsageError when it is empty or an argument holds a NUL byte."""
    if not argv:
        raise UsageError("a command needs at least the name of a program")
    for argument in argv:
        if "\0" in argument:
            raise UsageError(f"an argument of {argv[0]} holds a NUL byte, which no command line can carry")
    return list(argv)


def command_line(argv: Sequence[str]) -> bytes:
    """Return `argv` as one line for a remote login shell: the one place where quoting happens."""
    return ("exec " + shlex.join(checked(argv))).encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """The two streams without what was printed before the command began."""

    stdout: bytes
    stderr: bytes
    pid: int | None
    """Process id of the wrapper, which leads the command's session; None when it never began."""


def unwrap(stdout: bytes, stderr: bytes) -> Unwrapped:
    """Return the command's own output. `pid` is None when the wrapper did not print its mark."""
    mark = MARK.encode()
    _noise, found, rest = stderr.partition(mark + b" ")
    if not found:
        return Unwrapped(stdout, stderr, None)
    pid, _, own_stderr = rest.partition(b"\n")
    _, _, own_stdout = stdout.partition(mark + b"\n")
    return Unwrapped(own_stdout, own_stderr, int(pid) if pid.isdigit() else None)


def refuse_if_sudo_failed(elevation: Elevation, where: str, stderr: bytes) -> None:
    """Raise Refused when sudo ended before the command began; `stderr` is its output."""
    if not elevation.become or MARK.encode() in stderr:
        return
    lines = stderr.decode("utf-8", "backslashreplace").strip().splitlines()
    raise Refused(
        f"sudo did not run the command: {lines[-1] if lines else 'no output'}",
        where=where,
        hint="allow the user `NOPASSWD: ALL` in sudoers, or give ansible_become_password in the inventory",
    )
