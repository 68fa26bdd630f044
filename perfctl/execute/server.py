"""Run the server of a network workload: start it, poll until it listens, stop it in any case.

Its host's counters are read just before the client's command and just after it, never while that runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from perfctl.errors import Interrupted, PerfctlError
from perfctl.job import JobShell
from perfctl.shell import Completed, Shell
from perfctl.validity.invocation import ServerCounters
from perfctl.workloads import ServerSpec

_READY_TIMEOUT_S = 60.0
_LISTEN = "0A"
# One command of a container in an emulated guest takes seconds, and ten and more on a busy host.
_READ_TIMEOUT_S = 30.0


class ServerNotReady(PerfctlError):
    """The server ended, or did not listen in time; the message has its output."""


class ServerWatch:
    """Reads the counters of the server's host just before and just after the client's command."""

    def __init__(self, jobs: JobShell, hold_s: float = 0.0) -> None:
        """Watch the host of `jobs`, whose lease lasts `hold_s` longer: the client may take so long."""
        self._jobs = jobs
        self._hold_s = hold_s
        self.counters = ServerCounters()

    def begin(self) -> None:
        """Read the counters before the client's command."""
        done = self._read_counters()
        if done is not None:
            self.counters = replace(self.counters, before=done.counters_after)

    def end(self) -> None:
        """Read the counters after the client's command."""
        done = self._read_counters()
        if done is not None:
            self.counters = replace(self.counters, after=done.counters_before)

    def _read_counters(self) -> Completed | None:
        if self.counters.problem:
            return None
        try:
            # Counters are read around every job: one that does nothing is all it takes.
            return self._jobs.run(["true"], timeout_s=_READ_TIMEOUT_S, hold_s=self._hold_s)
        except Interrupted:
            raise
        except PerfctlError as error:
            # The client's values are kept; a server that is gone has an error of its own.
            self.counters = replace(self.counters, problem=error.message)
            return None


def listens(proc_net_tcp: str, port: int) -> bool:
    """Return whether a TCP socket on `port` is in state LISTEN, from the text of /proc/net/tcp and tcp6.

    Format: proc(5); the second column is local address:port in hex, the fourth the state (0A is LISTEN).
    """
    wanted = f":{port:04X}"
    for line in proc_net_tcp.splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[1].endswith(wanted) and fields[3] == _LISTEN:
            return True
    return False


@contextmanager
def serving(shell: Shell, spec: ServerSpec) -> Iterator[None]:
    """Run the server in `shell` for the length of the block. Raises ServerNotReady."""
    process = shell.spawn(spec.argv)
    try:
        deadline = time.monotonic() + _READY_TIMEOUT_S
        pause_s = 0.002
        while not _is_listening(shell, spec.tcp_port):
            if time.monotonic() > deadline:
                raise ServerNotReady(
                    f"{spec.argv[0]} did not listen on port {spec.tcp_port} within {_READY_TIMEOUT_S:.0f} s: "
                    f"{process.output().strip() or 'no output'}",
                    where=shell.name,
                )
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.25)
        if not process.is_running():
            # Another process listens: a daemon of the distribution, or a server that was left behind.
            raise ServerNotReady(
                f"{spec.argv[0]} ended at once: {process.output().strip() or 'no output'}",
                where=shell.name,
                hint=f"find what listens on port {spec.tcp_port} there (ss -ltnp), or choose another port",
            )
        yield
    finally:
        process.stop()


def _is_listening(shell: Shell, port: int) -> bool:
    # tcp6 is absent where IPv6 is off; cat then exits 1 but has printed the other file.
    argv = ["cat", "/proc/net/tcp", "/proc/net/tcp6"]
    return listens(shell.run(argv, timeout_s=_READ_TIMEOUT_S).text, port)
