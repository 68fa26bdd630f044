"""Connect to the hosts of a run: one connection, one lease and one agent per host until the run ends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial

from perfctl.errors import CommandFailed, CommandTimeout, HostError, PerfctlError, Refused
from perfctl.job import Claim, JobShell
from perfctl.job.hosts import LeasedHost, as_host_error, each_of, lease_hosts
from perfctl.model import Host
from perfctl.shell import Transport
from perfctl.ssh import Connect, connect


@dataclass(frozen=True, slots=True)
class ConnectedHost:
    """A connected host: `transport` for commands between measurements, `jobs` for what is measured."""

    host: Host
    transport: Transport
    jobs: JobShell


class Fleet:
    """Connects to every host at once; a host that cannot be reached is kept with its reason in `lost`."""

    def __init__(
        self,
        hosts: Sequence[Host],
        run_id: str,
        *,
        lifetime_s: float,
        purpose: str = "run",
        connect: Connect = connect,
        meanwhile: Sequence[Callable[[LeasedHost], None]] = (),
    ) -> None:
        """`meanwhile` is done on every leased host, each in a thread of its own, while its agent starts."""
        self.hosts = tuple(hosts)
        self._run_id = run_id
        self._lifetime_s = lifetime_s
        self._purpose = purpose
        self._connect = connect
        self._meanwhile = meanwhile
        self._connected: dict[str, ConnectedHost] = {}
        self._leases = ExitStack()
        self.leased: dict[str, LeasedHost] = {}
        self.lost: dict[str, HostError] = {}

    def __enter__(self) -> Fleet:
        """Connect and lease. Raises HostLeased, or the first host's error when none can be reached."""
        claim = Claim.make(self._purpose, self._run_id)
        with ExitStack() as stack:
            leased = stack.enter_context(lease_hosts(self.hosts, claim, self._connect, self.lost))
            self.leased = {item.host.name: item for item in leased}
            actions = [partial(do, item) for do in (self._start, *self._meanwhile) for item in leased]
            self.each_of(actions, lambda action: action())
            if not self._connected and self.lost:
                first = next(iter(self.lost.values()))
                # What sudo refuses keeps its exit code.
                raise first.__cause__ if isinstance(first.__cause__, Refused) else first
            self._leases = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.each(lambda connected: connected.jobs.stop(gives_back=True))
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

    def each(self, action: Callable[[ConnectedHost], None], *, only: Collection[str] | None = None) -> None:
        """Run `action` on all connected hosts (or those in `only`) at once; a HostError marks one as lost."""

        def guarded(connected: ConnectedHost) -> None:
            try:
                action(connected)
            except HostError as error:
                self.mark_lost(connected.host.name, error)

        wanted = self._connected.keys() if only is None else self._connected.keys() & set(only)
        alive = [c for name, c in self._connected.items() if name in wanted and name not in self.lost]
        self.each_of(alive, guarded)

    def hold(self, names: Collection[str], seconds: float) -> None:
        """Hold hosts on which nothing is started for so long; a host that was taken away is lost."""

        def renew(connected: ConnectedHost) -> None:
            # Whether the host is still held is seen by the next job there.
            with suppress(CommandFailed, CommandTimeout):
                self.leased[connected.host.name].lease.renew(seconds)

        self.each(renew, only=names)

    each_of = staticmethod(each_of)

    def _start(self, leased: LeasedHost) -> None:
        try:
            jobs = JobShell.start(
                leased.transport,
                self._run_id,
                lifetime_s=self._lifetime_s,
                python=leased.host.python,
                spool_root=leased.host.spool_root,
                lease=leased.lease,
            )
        except PerfctlError as error:
            self.lost[leased.host.name] = as_host_error(leased.host, error)
            with suppress(PerfctlError):
                leased.lease.release()
            return
        self._connected[leased.host.name] = ConnectedHost(leased.host, leased.transport, jobs)
