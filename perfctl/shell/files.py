"""Copy files through any shell that can run a command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from perfctl.errors import CommandFailed, UsageError
from perfctl.shell import Completed, Shell

TRANSFER_TIMEOUT_S = 600.0
# Created unreadable for others, given its mode, then moved into place: no reader finds it half written.
_PUT = """umask 077
cat >"$1.part" && chmod "$2" "$1.part" && mv -f "$1.part" "$1" && exit
rm -f "$1.part"
exit 1
"""


def put_file(shell: Shell, local: Path, remote: str, *, mode: int) -> None:
    """Copy `local` to `remote` through `shell`. Raises UsageError or CommandFailed."""
    try:
        content = local.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read it: {error.strerror}", where=str(local)) from error
    argv = ["/bin/sh", "-c", _PUT, "perfctl-put", remote, f"{mode:o}"]
    _succeed(shell, remote, lambda: shell.run(argv, timeout_s=TRANSFER_TIMEOUT_S, stdin=content))


def get_file(shell: Shell, remote: str) -> bytes:
    """Return the bytes of `remote`. Raises CommandFailed when it cannot be read."""
    argv = ["cat", "--", remote]
    return _succeed(shell, remote, lambda: shell.run(argv, timeout_s=TRANSFER_TIMEOUT_S)).stdout


def _succeed(shell: Shell, remote: str, action: Callable[[], Completed]) -> Completed:
    completed = action()
    if completed.exit_code != 0:
        raise CommandFailed(f"{remote}: {completed.error_text or completed.exit_code}", where=shell.name)
    return completed
