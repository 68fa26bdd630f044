"""Who holds which host, and how to take it away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perfctl.errors import HostError, PerfctlError
from perfctl.execute.fleet import Fleet
from perfctl.execute.leftovers import left_runs
from perfctl.execute.reap import Reaping, reap_host
from perfctl.inventory import load_hosts
from perfctl.job import Claim, HostRuns, LeaseState, read_leases
from perfctl.job.hosts import as_host_error, lease_hosts
from perfctl.model import Host
from perfctl.ssh import connect

_LEASE_S = 600.0


@dataclass(frozen=True, slots=True)
class HostStatus:
    """A host, who holds it, and what runs have left there; or why that is not known."""

    host: Host
    leases: tuple[LeaseState, ...] = ()
    runs: HostRuns | None = None
    error: HostError | None = None

    @property
    def state(self) -> str:
        """Return 'free', 'held', 'stale' or 'unreachable'."""
        if self.error is not None:
            return "unreachable"
        states = {lease.state for lease in self.leases}
        return "held" if "held" in states else "stale" if states else "free"


def host_statuses(inventory: Sequence[str] = (), *, limit: str | None = None) -> list[HostStatus]:
    """Return the status of every host of the inventory, in its order. Raises NoHostMatched, UsageError."""
    hosts = load_hosts(inventory, limit=limit)
    found: dict[str, HostStatus] = {}

    def read(host: Host) -> None:
        try:
            transport = connect(host)
            try:
                found[host.name] = HostStatus(host, *read_leases(transport, host))
            finally:
                transport.close()
        except PerfctlError as error:
            found[host.name] = HostStatus(host, error=as_host_error(host, error))

    Fleet.each_of(hosts, read)
    return [found[host.name] for host in hosts]


def steal_hosts(hosts: Sequence[Host]) -> Reaping:
    """Take the hosts from whoever holds them, end and remove what they run there, and leave them free.

    The results of their jobs stay. Their controllers can begin nothing there any longer.
    """
    reaping = Reaping()

    def steal(host: Host) -> None:
        lost: dict[str, HostError] = {}
        with lease_hosts([host], Claim.make("steal"), connect, lost, seconds=_LEASE_S, steal=True) as leased:
            for item in leased:
                for run in left_runs(item):
                    reap_host(item, run, reaping, discard=False)
        reaping.failures += [(name, error.message) for name, error in lost.items()]

    Fleet.each_of(hosts, steal)
    return reaping
