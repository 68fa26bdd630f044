"""End a command with everything it started, by the same lines of POSIX sh on every host."""

from __future__ import annotations

from pathlib import Path

SESSION_FUNCTIONS = Path(__file__).with_name("session.sh").read_text(encoding="ascii")
"""The functions `members` and `end_session`, for scripts that end sessions themselves."""

GRACE_S = 2.0
"""How long a command may take to end after SIGTERM before it gets SIGKILL."""

END_TIMEOUT_S = GRACE_S + 20.0
"""The timeout of the command that ends a session."""


def end_session_argv(pid: int) -> list[str]:
    """Return the command that ends the session of process `pid`; its exit code is 1 if something survives.

    The command must itself run in another session.
    """
    script = f'{SESSION_FUNCTIONS}\nsession_of "$1"; end_session "$session" {round(GRACE_S * 10)}'
    return ["/bin/sh", "-c", script, "perfctl-end", str(pid)]
