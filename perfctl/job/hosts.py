"""Lease several hosts at once, all or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from perfctl.errors import HostError, HostLeased, HostUnreachable, PerfctlError
from perfctl.job.lease import FIRST_S, Claim, HostLease
from perfctl.model import Host
from perfctl.shell import Transport

Item = TypeVar("Item")


def each_of(items: Iterable[Item], action: Callable[[Item], None]) -> None:
    """Call `action` for all items at once, a thread each; raise the first error after all ended."""
    todo = list(items)
    if not todo:
        return
    with ThreadPoolExecutor(max_workers=min(len(todo), 64)) as pool:
        for future in [pool.submit(action, item) for item in todo]:
            future.result()


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
    connect: Callable[[Host], Transport],
    lost: dict[str, HostError],
    *,
    seconds: float = FIRST_S,
    steal: bool = False,
) -> Iterator[list[LeasedHost]]:
    """Connect to the hosts and lease all of them or none; give them back and disconnect at the end.

    A host that cannot be reached, or cannot be leased for another reason than its holder, goes into `lost`.
    Raises HostLeased.
    """
    connected: dict[str, Transport] = {}
    leased: dict[str, LeasedHost] = {}

    def connect_to(host: Host) -> None:
        try:
            connected[host.name] = connect(host)
        except PerfctlError as error:
            lost[host.name] = as_host_error(host, error)

    def take(host: Host) -> None:
        transport = connected[host.name]
        try:
            lease = HostLease.take(transport, host, claim, seconds=seconds, steal=steal)
        except HostLeased:
            raise
        except PerfctlError as error:
            lost[host.name] = as_host_error(host, error)
            return
        leased[host.name] = LeasedHost(host, transport, lease)

    def give_back(item: LeasedHost) -> None:
        # What cannot be given back, because the host is away, runs out.
        with suppress(PerfctlError):
            item.lease.release()

    try:
        each_of(hosts, connect_to)
        # Of two who want the same hosts at once, one gets the first of them, and then the others.
        ordered = sorted((host for host in hosts if host.name in connected), key=_machine)
        for some in (ordered[:1], ordered[1:]):
            each_of(some, take)
        yield list(leased.values())
    finally:
        try:
            each_of([item for item in leased.values() if item.host.name not in lost], give_back)
        finally:
            for transport in connected.values():
                transport.close()


def _machine(host: Host) -> tuple[str, int, str]:
    return host.address, host.port, host.name


def as_host_error(host: Host, error: PerfctlError) -> HostError:
    """Return the error as one that concerns its host alone."""
    if isinstance(error, HostError):
        return error
    lost = HostUnreachable(error.message, where=host.name, hint=error.hint)
    lost.__cause__ = error
    return lost
