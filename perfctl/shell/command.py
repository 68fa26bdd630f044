"""Prepare a command for a shell: quoting, becoming root, and the mark before its output.

Every command is run by one small POSIX wrapper on the other side. The wrapper prints a mark on both streams
(what comes before it is output of login scripts), and with it the process id, so that a command can be ended
there after a timeout. The wrapper stays as the parent: a command killed by signal n then exits 128+n
everywhere.
"""

from __future__ import annotations

import os
import re
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
        # sudo's own messages are read: in English, whatever the user's locale.
        sudo = ["/usr/bin/env", "LC_ALL=C", "sudo"]
        if self.password is None:
            return [*sudo, "-n", "--", "/bin/sh", "-c", _RUN, "perfctl", MARK, *command], stdin
        preamble = f"{self.password}\n{MARK}\n".encode("utf-8", "surrogateescape")
        sudo += ["-k", "-S", "-p", "", "--"]
        return [*sudo, "/bin/sh", "-c", _SKIP_PASSWORD + _RUN, "perfctl", MARK, *command], preamble + stdin


def checked(argv: Sequence[str]) -> list[str]:
    """Return `argv` as a list. Raises UsageError when it is empty, or an argument cannot be one."""
    if not argv:
        raise UsageError("a command needs at least the name of a program")
    for argument in argv:
        if "\0" in argument:
            raise UsageError(f"an argument of {argv[0]} holds a NUL byte, which no command line can carry")
        try:
            os.fsencode(argument)
        except UnicodeEncodeError as error:
            raise UsageError(f"an argument of {argv[0]!a} holds half of a character") from error
    return list(argv)


def command_line(argv: Sequence[str]) -> bytes:
    """Return `argv` as one line for a POSIX shell: the one place where quoting happens."""
    return ("exec " + shlex.join(checked(argv))).encode("utf-8", "surrogateescape")


# What some shell reads otherwise between single quotes: fish a backslash, csh an exclamation mark and the end
# of a line; bytes beyond ASCII depend on the locale.
_PLAIN_BYTES = frozenset(range(0x20, 0x7F)) - frozenset(b"'\\!")
# csh takes words of up to 1,024 bytes; a byte becomes five at most.
_WORD_BYTES = 200


def login_line(argv: Sequence[str]) -> bytes:
    """Return `argv` as one line that every login shell reads alike: sh, csh, tcsh, fish, restricted ones.

    It calls sh by its name alone (a restricted shell refuses paths and `exec`) with the command line as words
    without any character that a shell treats differently; sh decodes and runs them.
    """
    codes = [chr(byte) if byte in _PLAIN_BYTES else f"\\0{byte:03o}" for byte in command_line(argv)]
    words = ["".join(codes[at : at + _WORD_BYTES]) for at in range(0, len(codes), _WORD_BYTES)]
    return " ".join(['sh -c \'eval "$(printf %b "$@")"\' perfctl', *(f"'{word}'" for word in words)]).encode()


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


_LOG_IN_AS_ROOT = "or log in as root (ansible_user: root, ansible_become: false)"
_ALLOW = "allow the user `NOPASSWD: ALL` in sudoers, or give ansible_become_password in the inventory"
_SUDO_HINTS = (
    (r"must have a tty", f"write `Defaults:USER !requiretty` into sudoers, {_LOG_IN_AS_ROOT}"),
    (
        r"sudo\S*: (command )?not found|sudo\S*: No such file|Unknown command",
        f"install sudo there, {_LOG_IN_AS_ROOT}",
    ),
    (
        r"setuid|no new privileges|effective uid is not 0",
        f"sudo cannot become root there (in a container? on a nosuid mount?): mend that, {_LOG_IN_AS_ROOT}",
    ),
    (
        r"incorrect password|try again|no password was provided",
        "correct ansible_become_password in the inventory",
    ),
    (
        r"not in the sudoers|not allowed|may not run",
        f"allow the user all commands in sudoers (`USER ALL=(ALL) ALL`), {_LOG_IN_AS_ROOT}",
    ),
    (
        r"syntax error|parse error|no valid sudoers|world writable|owned by uid|owned by gid",
        "correct sudoers on the host: visudo -c",
    ),
    (r"expired|account validation", "renew the account or its password on the host: chage -l USER"),
)


def refuse_if_sudo_failed(elevation: Elevation, where: str, stderr: bytes) -> None:
    """Raise Refused when sudo ended before the command began; `stderr` is its output."""
    if not elevation.become or MARK.encode() in stderr:
        return
    lines = stderr.decode("utf-8", "backslashreplace").strip().splitlines()
    text = "\n".join(lines)
    hint = next((hint for pattern, hint in _SUDO_HINTS if re.search(pattern, text, re.IGNORECASE)), _ALLOW)
    message = f"sudo did not run the command: {lines[-1] if lines else 'no output'}"
    raise Refused(message, where=where, hint=hint)
