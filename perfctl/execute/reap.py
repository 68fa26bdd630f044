"""End and remove what a run left on its hosts: for runs that were killed and will not be resumed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from perfctl.environments.drivers import remove_all
from perfctl.errors import HostLeased, PerfctlError
from perfctl.execute.files import remove_files
from perfctl.execute.fleet import Fleet
from perfctl.job import reap as reap_jobs
from perfctl.model import Host, Plan
from perfctl.plan.request import PlannedRun
from perfctl.shell import Transport
from perfctl.ssh import connect
from perfctl.store import Store, open_store

_LEASE_S = 600.0
_ENDED = ("complete", "partial")
# A container or guest that was requested just before its caller was ended may still appear.
_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Removed:
    """Something that was removed from a host: `kind` is job, server, result, environment or files."""

    run_id: str
    host: str
    kind: str
    name: str


@dataclass(slots=True)
class Reaping:
    """What was removed, what could not be (run or host, and why), and which runs were left alone."""

    removed: list[Removed] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    left_alone: list[str] = field(default_factory=list)


def reap_run(run: str, *, database_url: str, inventory: Sequence[str] = ()) -> Reaping:
    """End and remove what a run (an id, its beginning or end, 'latest') left on its hosts.

    Its jobs and their server, results that no controller has collected, containers, and guests with their
    taps and disks, and the files of its benchmarks. What is in the database stays; the status running becomes
    interrupted. Raises HostLeased while a live controller measures on one of the hosts, UnknownName,
    NoHostMatched.
    """
    reaping = Reaping()
    with open_store(database_url) as store:
        _reap(store, store.run_id(run), inventory, reaping)
    return reaping


def reap_all(*, database_url: str, inventory: Sequence[str] = ()) -> Reaping:
    """Do the same for every unfinished run in the database; runs with a live controller are left alone."""
    reaping = Reaping()
    with open_store(database_url) as store:
        for summary in store.runs():
            if summary.status in _ENDED:
                continue
            try:
                _reap(store, summary.run_id, inventory, reaping)
            except HostLeased as error:
                reaping.left_alone.append(f"run {summary.run_id} was left alone: {error}")
            except PerfctlError as error:
                reaping.failures.append((f"run {summary.run_id}", str(error)))
    return reaping


def _reap(store: Store, run_id: str, inventory: Sequence[str], reaping: Reaping) -> None:
    detail = store.run(run_id)
    planned = PlannedRun.from_store(store, run_id, inventory=inventory)
    hosts = planned.hosts
    # With the lease no controller measures there meanwhile, neither this run's nor another.
    lease_id = store.acquire_lease(run_id, hosts, _LEASE_S)
    try:
        Fleet.each_of(hosts, lambda host: _reap_host(host, run_id, planned.plan, reaping))
        if detail.summary.status == "running":
            store.end_run(run_id, "interrupted")
    finally:
        store.release_lease(lease_id)


def _reap_host(host: Host, run_id: str, plan: Plan, reaping: Reaping) -> None:
    try:
        transport = connect(host)
        try:
            for kind, name in _remove(transport, run_id, plan):
                reaping.removed.append(Removed(run_id, host.name, kind, name))
        finally:
            transport.close()
    except PerfctlError as error:
        reaping.failures.append((host.name, error.message))


def _remove(transport: Transport, run_id: str, plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield what was ended and removed on one host, as (kind, name), also before something cannot be."""
    jobs = reap_jobs(transport, run_id, discard=True)
    for line in jobs:
        kind, _, name = line.partition(" ")
        yield kind, name
    made = remove_all(transport, run_id)
    if jobs or made:
        time.sleep(_PAUSE_S)
        made += remove_all(transport, run_id)
    for name in made:
        yield "environment", name
    for folder in remove_files(transport, plan):
        yield "files", folder
