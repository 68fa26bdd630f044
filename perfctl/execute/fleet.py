"""Connect to the hosts of a run: one connection, one lease and one job server per host until the run ends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from perfctl.errors import HostError, HostLeased, HostUnreachable, PerfctlError
from perfctl.job import FIRST_S, Claim, HostLease, JobShell
from perfctl.model import Host
from perfctl.shell import Transport
from perfctl.ssh import connect

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class ConnectedHost:
    """A connected host: `transport` for commands between measurements, `jobs` for what is measured."""

    host: Host
    transport: Transport
    lease: HostLease
    jobs: JobShell


class Fleet:
    """Connects to every host at once; a host that cannot be reached is kept with its reason in `lost`."""

    def __init__(
        self, hosts: Sequence[Host], run_id: str, *, lifetime_s: float, purpose: str = "run"
    ) -> None:
        self.hosts = tuple(hosts)
        self._run_id = run_id
        self._lifetime_s = lifetime_s
        self._purpose = purpose
        self._connected: dict[str, ConnectedHost] = {}
        self._leases = ExitStack()
        self.lost: dict[str, HostError] = {}

    def __enter__(self) -> Fleet:
        """Connect and lease. Raises HostLeased, or the first host's error when none can be reached."""
        claim = Claim.make(self._purpose, self._run_id)
        with ExitStack() as stack:
            leased = stack.enter_context(lease_hosts(self.hosts, claim, self.lost))
            self.each_of(leased, self._start)
            if not self._connected and self.lost:
                raise next(iter(self.lost.values()))
            self._leases = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.each(lambda connected: connected.jobs.stop())
        finally:
            self._leases.close()

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

    def hold(self, names: Collection[str], seconds: float) -> None:
        """Hold hosts on which nothing is started for so long; a host that was taken away is lost."""

        def renew(connected: ConnectedHost) -> None:
            if connected.host.name in names:
                connected.lease.renew(seconds)

        self.each(renew)

    @staticmethod
    def each_of(items: Iterable[Item], action: Callable[[Item], None]) -> None:
        """Call `action` for all items at once, a thread each; raise the first error after all ended."""
        todo = list(items)
        if not todo:
            return
        with ThreadPoolExecutor(max_workers=min(len(todo), 64)) as pool:
            for future in [pool.submit(action, item) for item in todo]:
                future.result()

    def _start(self, leased: LeasedHost) -> None:
        try:
            lease, transport = leased.lease, leased.transport
            jobs = JobShell.start(transport, self._run_id, lifetime_s=self._lifetime_s, lease=lease)
        except PerfctlError as error:
            self.lost[leased.host.name] = _as_host_error(leased.host, error)
            return
        self._connected[leased.host.name] = ConnectedHost(leased.host, transport, lease, jobs)


@dataclass(frozen=True, slots=True)
class LeasedHost:
    """A host that is connected and leased."""

    host: Host
    transport: Transport
    lease: HostLease


@contextmanager
def lease_hosts(
    hosts: Sequence[Host],
    claim: Claim,
    lost: dict[str, HostError],
    *,
    seconds: float = FIRST_S,
    steal: bool = False,
) -> Iterator[list[LeasedHost]]:
    """Connect to the hosts and lease all of them or none; give them back and disconnect at the end.

    A host that cannot be reached, or cannot be leased because of something else than its holder, goes into `lost`.
    Raises HostLeased.
    """
    connected: dict[str, Transport] = {}
    leased: dict[str, LeasedHost] = {}

    def connect_to(host: Host) -> None:
        try:
            connected[host.name] = connect(host)
        except PerfctlError as error:
            lost[host.name] = _as_host_error(host, error)

    def take(host: Host) -> None:
        transport = connected[host.name]
        try:
            lease = HostLease.take(transport, host, claim, seconds=seconds, steal=steal)
        except HostLeased:
            raise
        except PerfctlError as error:
            lost[host.name] = _as_host_error(host, error)
            return
        leased[host.name] = LeasedHost(host, transport, lease)

    def give_back(item: LeasedHost) -> None:
        # What cannot be given back, because the host is away, runs out.
        with suppress(PerfctlError):
            item.lease.release()

    try:
        Fleet.each_of(hosts, connect_to)
        # Of two who want the same hosts at once, one gets the first of them, and then the others.
        ordered = sorted((host for host in hosts if host.name in connected), key=_machine)
        for some in (ordered[:1], ordered[1:]):
            Fleet.each_of(some, take)
        yield list(leased.values())
    finally:
        try:
            Fleet.each_of([item for item in leased.values() if item.host.name not in lost], give_back)
        finally:
            for transport in connected.values():
                transport.close()


def _machine(host: Host) -> tuple[str, int, str]:
    return host.address, host.port, host.name


def _as_host_error(host: Host, error: PerfctlError) -> HostError:
    if isinstance(error, HostError):
        return error
    return HostUnreachable(error.message, where=host.name, hint=error.hint)
