"""Looking at this machine's processes, to see that nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path


def unique_seconds() -> str:
    """Return an argument for sleep that no other process has: a bit over a thousand seconds."""
    return f"1{secrets.randbelow(900) + 100}.{secrets.randbelow(10**9):09}"


def with_argument(text: str) -> list[int]:
    """Return the ids of living processes that have exactly this argument; zombies have none."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if text.encode() in path.read_bytes().split(b"\0") and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found


def mentioning(text: str) -> list[int]:
    """Return the ids of living processes of whose arguments one has this in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if text.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 30) -> None:
    """Poll until `condition` holds, or fail with `what`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s for {what}"
        time.sleep(0.02)


def can_read_kernel_log() -> bool:
    """Return whether this login on this machine may read what the kernel says."""
    try:
        os.close(os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def hidden_sleep(seconds: str) -> list[str]:
    """Return a command that leaves a sleep in a session of its own, without anything that names its job.

    It ends only when the sleep is there: until it has its session it is ended with the command.
    """
    hide = f"env -i setsid sh -c 'echo >hidden; exec sleep {seconds}' >/dev/null 2>&1 &"
    return ["sh", "-c", f"{hide} until [ -s hidden ]; do sleep 0.05; done"]
