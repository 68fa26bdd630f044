"""Run the server of a network workload: start it, wait until it listens, stop it in any case.

Its host's counters are read just before the client's command and just after it, never while that runs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from perfctl.environments import EnvironmentShell
from perfctl.errors import CommandFailed, Interrupted, PerfctlError
from perfctl.job import JobShell
from perfctl.shell import Process, Shell
from perfctl.validity.invocation import ServerCounters
from perfctl.workloads import ServerSpec

_READY_TIMEOUT_S = 60.0
_WAIT_S = 1.0
"""How long a host waits for a server before it is asked whether the server still runs."""
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
        before = self._read_counters()
        self.counters = replace(self.counters, before=before)

    def end(self) -> None:
        """Read the counters after the client's command."""
        after = self._read_counters()
        self.counters = replace(self.counters, after=after)

    def _read_counters(self) -> bytes:
        """Return the counters; b'' where they cannot be read, and from then on."""
        if self.counters.problem:
            return b""
        try:
            return self._jobs.read_counters(hold_s=self._hold_s)
        except PerfctlError as error:
            # The client's values are kept; a server that is gone has an error of its own.
            self.counters = replace(self.counters, problem=error.message)
            return b""


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
def serving(
    shell: EnvironmentShell, spec: ServerSpec, jobs: JobShell, stop: threading.Event
) -> Iterator[None]:
    """Run the server in `shell`, which is on the host of `jobs`, for the length of the block.

    Raises ServerNotReady; Interrupted when the run is stopped before the server listens.
    """
    process = shell.spawn(spec.argv)
    try:
        _await_server(shell, spec, jobs, process, stop)
        yield
    finally:
        process.stop()


def _await_server(
    shell: EnvironmentShell, spec: ServerSpec, jobs: JobShell, process: Process, stop: threading.Event
) -> None:
    """Wait until the server listens. Raises like `serving`."""
    deadline = time.monotonic() + _READY_TIMEOUT_S
    pause_s = 0.002
    folder = shell.host_network_folder
    while True:
        if folder:
            is_there, folder = _listens_on_host(jobs, spec.tcp_port, folder)
        else:
            is_there = _listens_inside(shell, spec.tcp_port)
        if not process.is_running():
            hint = None
            if is_there:
                # A daemon of the distribution, or a server that was left behind.
                hint = f"find what listens on port {spec.tcp_port} there (ss -ltnp), or choose another port"
            raise ServerNotReady(
                f"{spec.argv[0]} ended at once: {process.output().strip() or 'no output'}",
                where=shell.name,
                hint=hint,
            )
        if is_there:
            return
        if stop.is_set():
            raise Interrupted("stopped before the server listened", where=shell.name)
        if time.monotonic() > deadline:
            raise ServerNotReady(
                f"{spec.argv[0]} did not listen on port {spec.tcp_port} within {_READY_TIMEOUT_S:.0f} s: "
                f"{process.output().strip() or 'no output'}",
                where=shell.name,
            )
        if not folder:
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.25)


def _listens_on_host(jobs: JobShell, port: int, folder: str) -> tuple[bool, str | None]:
    """Return whether the port listens, after some time at most, and the folder, if it could be read."""
    try:
        return jobs.listens(port, wait_s=_WAIT_S, folder=folder), folder
    except CommandFailed:
        # Inside it may be read nevertheless; or the environment has ended, and says so.
        return False, None


def _listens_inside(shell: Shell, port: int) -> bool:
    # tcp6 is absent where IPv6 is off; cat then exits 1 but has printed the other file.
    argv = ["cat", "/proc/net/tcp", "/proc/net/tcp6"]
    return listens(shell.run(argv, timeout_s=_READ_TIMEOUT_S).text, port)
