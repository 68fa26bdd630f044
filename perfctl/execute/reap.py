"""End and remove what a run left on its hosts: for runs that were killed and will not be resumed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from perfctl.errors import HostError, HostLeased, PerfctlError
from perfctl.execute.files import remove_files
from perfctl.execute.fleet import Fleet
from perfctl.execute.leftovers import left_runs, remove_run
from perfctl.execute.run import close
from perfctl.inventory import load_hosts
from perfctl.job import Claim
from perfctl.job.hosts import LeasedHost, lease_hosts
from perfctl.model import Host, Plan
from perfctl.plan.request import PlannedRun
from perfctl.plan.shards import Shard
from perfctl.ssh import connect
from perfctl.store import Store, open_store

_LEASE_S = 600.0


@dataclass(frozen=True, slots=True)
class Removed:
    """Something that was removed from a host: `kind` is job, server, result, environment or files."""

    run_id: str
    host: str
    kind: str
    name: str


@dataclass(slots=True)
class Reaping:
    """What was removed, what could not be (run or host, and why), and what was left alone."""

    removed: list[Removed] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    left_alone: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    """What is on the hosts of runs that are not in the database."""
    refused: set[str | None] = field(default_factory=set)
    """The hosts that a live controller holds."""


def reap_run(run: str, *, database_url: str, inventory: Sequence[str] = ()) -> Reaping:
    """End and remove what a run (an id, its beginning or end, 'latest') left on its hosts.

    Its jobs and their server, results that no controller has collected, containers, and guests with their
    taps and disks, and the files of its benchmarks. What is in the database stays; the status running becomes
    interrupted. Raises HostLeased while a live controller measures on one of the hosts, UnknownName,
    NoHostMatched.
    """
    reaping = Reaping()
    with open_store(database_url) as store:
        _reap(store, store.run(run).id, inventory, reaping)
    return reaping


def reap_all(*, database_url: str, inventory: Sequence[str] = ()) -> Reaping:
    """Do the same for every unfinished run in the database, then for what else is on any known host.

    Known are the hosts of `inventory`, or of the inventories of all runs. Runs with a live controller are
    left alone, and so are results of runs that are not in the database.
    """
    reaping = Reaping()
    with open_store(database_url) as store:
        for summary in store.runs():
            # A partial one lost a host, or a part of it: what it left there is still there.
            if summary.status == "complete":
                continue
            try:
                _reap(store, summary.run_id, inventory, reaping)
            except HostLeased as error:
                reaping.left_alone.append(f"run {summary.run_id} was left alone: {error}")
                reaping.refused.add(error.where)
            except PerfctlError as error:
                reaping.failures.append((f"run {summary.run_id}", str(error)))
        known = frozenset(summary.run_id for summary in store.runs())
        hosts = _known_hosts(store, inventory, reaping)
    seen = {*reaping.refused, *(where for where, _ in reaping.failures)}
    others = [host for host in hosts if host.name not in seen]
    Fleet.each_of(others, lambda host: _look(host, known, reaping))
    return reaping


def _known_hosts(store: Store, inventory: Sequence[str], reaping: Reaping) -> list[Host]:
    """Return the hosts of the inventory, or of all inventories that runs had, each machine once."""
    all_sources = (
        [tuple(inventory)] if inventory else [store.run(item.run_id).inventory() for item in store.runs()]
    )
    hosts: dict[tuple[object, ...], Host] = {}
    for sources in dict.fromkeys(map(tuple, all_sources)):
        try:
            found = load_hosts(sources)
        except PerfctlError as error:
            reaping.left_alone.append(f"hosts of {', '.join(sources)} were not looked at: {error}")
            continue
        for host in found:
            hosts.setdefault((host.connection, host.address, host.port, host.state_dir), host)
    return list(hosts.values())


def _look(host: Host, known: Collection[str], reaping: Reaping) -> None:
    """Look at one host for anything of ours, and remove it."""
    lost: dict[str, HostError] = {}
    try:
        with lease_hosts([host], Claim.make("reap"), connect, lost, seconds=_LEASE_S) as leased:
            for item in leased:
                runs = item.lease.runs
                ours = [run for run in runs.results if run in known]
                for run in dict.fromkeys([*left_runs(item), *ours]):
                    reap_host(item, run, reaping, discard=run in known)
                for run in runs.live:
                    reaping.others.append(f"run {run} measures on {host.name}, by another lease")
                for run in set(runs.results).difference(known):
                    reaping.others.append(f"run {run}, of another database, has results on {host.name}")
    except HostLeased as error:
        reaping.left_alone.append(f"host {host.name} was left alone: {error.message}")
    reaping.failures += [(name, error.message) for name, error in lost.items()]


def _reap(store: Store, run_id: str, inventory: Sequence[str], reaping: Reaping) -> None:
    summary = store.run(run_id).summary()
    # The other shards' hosts are other controllers'.
    begun = {Shard(shard.number, shard.count): shard.status for shard in summary.shards}
    for shard, status in begun.items() if begun else ((None, summary.status),):
        planned = PlannedRun.from_store(store, run_id, inventory=inventory, shard=shard)
        _reap_planned(store, planned, status, reaping)


def _reap_planned(store: Store, planned: PlannedRun, status: str, reaping: Reaping) -> None:
    run_id = planned.run_id
    lost: dict[str, HostError] = {}
    # With the leases no controller measures there meanwhile, neither this run's nor another.
    with lease_hosts(planned.hosts, Claim.make("reap", run_id), connect, lost, seconds=_LEASE_S) as leased:
        Fleet.each_of(leased, lambda item: reap_host(item, run_id, reaping, discard=True, plan=planned.plan))
        if leased and status == "running":
            close(store, planned, "interrupted")
    reaping.failures += [(name, error.message) for name, error in lost.items()]


def reap_host(
    leased: LeasedHost, run_id: str, reaping: Reaping, *, discard: bool, plan: Plan | None = None
) -> None:
    """Remove what is left of a run on a leased host, and add it, or why it could not be, to `reaping`.

    With its `plan` also the files that its benchmarks made there.
    """
    host = leased.host.name
    try:
        for kind, name in remove_run(leased, run_id, discard=discard):
            reaping.removed.append(Removed(run_id, host, kind, name))
        for folder in remove_files(leased.transport, plan) if plan else ():
            reaping.removed.append(Removed(run_id, host, "files", folder))
    except PerfctlError as error:
        reaping.failures.append((host, error.message))
