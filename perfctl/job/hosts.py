"""Lease several hosts at once, all or none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from perfctl.errors import HostError, HostLeased, HostTurnedAway, HostUnreachable, PerfctlError
from perfctl.job.lease import FIRST_S, Claim, HostLease
from perfctl.model import Host
from perfctl.shell import Transport
from perfctl.shell.open_files import allow_open_files

Item = TypeVar("Item")

AT_ONCE = 64
"""How many hosts are connected to, or read, at the same time: more are not faster, and each takes memory."""
_AGAIN_S = 0.5


def each_of(items: Iterable[Item], action: Callable[[Item], None]) -> None:
    """Call `action` for all items, `AT_ONCE` at a time; raise the first error after all ended."""
    todo = list(items)
    if not todo:
        return
    with ThreadPoolExecutor(max_workers=min(len(todo), AT_ONCE)) as pool:
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

    Those that turn the connection away are tried once more when all others are connected. A host that cannot
    be reached, or cannot be leased for another reason than its holder, goes into `lost`. Raises HostLeased,
    UsageError where this process may not have so many files open.
    """
    allow_open_files(len(hosts))
    connected: dict[str, Transport] = {}
    leased: dict[str, LeasedHost] = {}

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
        _connect_all(hosts, connect, connected, lost)
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


def _connect_all(
    hosts: Sequence[Host],
    connect: Callable[[Host], Transport],
    connected: dict[str, Transport],
    lost: dict[str, HostError],
) -> None:
    """Connect to the hosts, and once more to those that turned it away while all others connected."""

    def connect_to(host: Host) -> None:
        try:
            connected[host.name] = connect(host)
        except PerfctlError as error:
            lost[host.name] = as_host_error(host, error)

    each_of(hosts, connect_to)
    again = [host for host in hosts if isinstance(lost.get(host.name), HostTurnedAway)]
    if again:
        time.sleep(_AGAIN_S)
        for host in again:
            del lost[host.name]
        each_of(again, connect_to)


def _machine(host: Host) -> tuple[str, int, str]:
    return host.address, host.port, host.name


def as_host_error(host: Host, error: PerfctlError) -> HostError:
    """Return the error as one that concerns its host alone."""
    if isinstance(error, HostError):
        return error
    lost = HostUnreachable(error.message, where=host.name, hint=error.hint)
    lost.__cause__ = error
    return lost
