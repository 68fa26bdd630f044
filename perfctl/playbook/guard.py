"""End ansible-playbook and all below it, also when perfctl itself is killed.

`python guard.py MARK` waits until its standard input closes, which the kernel does when the process that
holds the other end ends in any way, and then ends what is left. Standard library alone: it must start fast.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "PERFCTL_PLAYBOOK_ID"
"""Every process below ansible-playbook has this in its environment, by which it is found and ended."""


@contextlib.contextmanager
def guarded(mark: str) -> Iterator[None]:
    """Have the processes with this mark ended should this process be killed meanwhile."""
    argv = [sys.executable, "-I", __file__, mark]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True) as guard:
        try:
            yield
        finally:
            # What is to be ended now is ended by the caller, who knows how long to wait for it.
            guard.kill()


def end_processes(mark: str) -> None:
    """End ansible-playbook and all below it: its workers are in sessions of their own, so by their mark."""
    for number, patience_s in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 1.0)):
        deadline = time.monotonic() + patience_s
        for pid in marked(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while marked(mark):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        else:
            return


def marked(mark: str) -> list[int]:
    """Return the processes whose environment carries our mark, but for ssh's idle shared connections."""
    wanted, found = f"{VARIABLE}={mark}".encode(), []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if (
                wanted in (folder / "environ").read_bytes().split(b"\0")
                and b"[mux]" not in (folder / "cmdline").read_bytes()
            ):
                found.append(int(folder.name))
    return found


if __name__ == "__main__":
    sys.stdin.read()
    end_processes(sys.argv[1])
