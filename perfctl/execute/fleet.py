"""Connect to the hosts of a run: one connection and one job server per host until the run ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from perfctl.errors import HostError, HostUnreachable, PerfctlError, Refused
from perfctl.job import JobShell
from perfctl.model import Host
from perfctl.shell import Transport
from perfctl.ssh import connect

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class ConnectedHost:
    """A connected host: `transport` for commands between measurements, `jobs` for what is measured."""

    host: Host
    transport: Transport
    jobs: JobShell


class Fleet:
    """Connects to every host at once; a host that cannot be reached is kept with its reason in `lost`."""

    def __init__(self, hosts: Sequence[Host], run_id: str, *, lifetime_s: float) -> None:
        self.hosts = tuple(hosts)
        self._run_id = run_id
        self._lifetime_s = lifetime_s
        self._connected: dict[str, ConnectedHost] = {}
        self.lost: dict[str, HostError] = {}

    def __enter__(self) -> Fleet:
        """Connect. Raises the first host's error when no host at all can be reached."""
        self.each_of(self.hosts, self._connect)
        if not self._connected and self.lost:
            first = next(iter(self.lost.values()))
            # What sudo refuses keeps its exit code.
            raise first.__cause__ if isinstance(first.__cause__, Refused) else first
        return self

    def __exit__(self, *exc: object) -> None:
        self.each(self._close)

    def __getitem__(self, name: str) -> ConnectedHost:
        """Return a host by name. Raises its HostError when it is lost."""
        if name in self.lost:
            raise self.lost[name]
        return self._connected[name]

    def mark_lost(self, name: str, error: HostError) -> None:
        """Remember that a host stopped answering: nothing more is started there in this session."""
        self.lost.setdefault(name, error)

    def cancel(self) -> None:
        """End the jobs that run now; safe from any thread."""
        for connected in self._connected.values():
            connected.jobs.cancel()

    def each(self, action: Callable[[ConnectedHost], None]) -> None:
        """Run `action` on all connected hosts at once; a HostError marks the host as lost."""

        def guarded(connected: ConnectedHost) -> None:
            try:
                action(connected)
            except HostError as error:
                self.mark_lost(connected.host.name, error)

        alive = [c for name, c in self._connected.items() if name not in self.lost]
        self.each_of(alive, guarded)

    @staticmethod
    def each_of(items: Iterable[Item], action: Callable[[Item], None]) -> None:
        """Call `action` for all items at once, a thread each; raise the first error after all ended."""
        todo = list(items)
        if not todo:
            return
        with ThreadPoolExecutor(max_workers=min(len(todo), 64)) as pool:
            for future in [pool.submit(action, item) for item in todo]:
                future.result()

    def _connect(self, host: Host) -> None:
        try:
            transport = connect(host)
            jobs = JobShell.start(transport, self._run_id, lifetime_s=self._lifetime_s)
        except HostError as error:
            self.lost[host.name] = error
            return
        except PerfctlError as error:
            lost = HostUnreachable(error.message, where=host.name, hint=error.hint)
            lost.__cause__ = error
            self.lost[host.name] = lost
            return
        self._connected[host.name] = ConnectedHost(host, transport, jobs)

    @staticmethod
    def _close(connected: ConnectedHost) -> None:
        try:
            connected.jobs.stop()
        finally:
            connected.transport.close()
