"""End a command with everything it started: by the agent's program, which every host can run.

That program imports nothing of ours, and is here a text that is sent.
"""

from __future__ import annotations

import shlex
from pathlib import Path

PROGRAM = Path(__file__).parents[1].joinpath("agent", "agent.py").read_bytes()
"""The standard input of the command that ends a session."""

GRACE_S = 2.0
"""How long a command may take to end after SIGTERM before it gets SIGKILL."""

END_TIMEOUT_S = GRACE_S + 20.0
"""The timeout of the command that ends a session."""


def end_session_argv(pid: int, python: str) -> list[str]:
    """Return the command that ends the session of process `pid`; its exit code is 1 if something survives.

    `python` is the host's interpreter, which reads PROGRAM. The command must itself run in another session.
    """
    return [*shlex.split(python), "-I", "-S", "-", "end", str(pid)]
