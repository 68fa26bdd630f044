"""Resolve a user's request, or a stored run, to a run that can be executed.

RunRequest ──plan_run()──> PlannedRun <──PlannedRun.from_store()── Store
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from perfctl.errors import DatabaseUnavailable, NoHostMatched, SchemaMismatch, UnknownName
from perfctl.inventory import load_hosts
from perfctl.model import Host, Plan, Round, new_id
from perfctl.plan.estimate import PriorVariance, RunEstimate, estimate_run, prior_variances
from perfctl.plan.json import plan_from_json, plan_to_json
from perfctl.plan.make import make_plan
from perfctl.plan.shards import Shard, part_of
from perfctl.suites import load_suite
from perfctl.validity.thresholds import Thresholds

if TYPE_CHECKING:
    # A run is planned without it, and connects while it is imported.
    from perfctl.store import Store


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The options of a run as the user gave them; empty or None: the suite's own."""

    suite: str
    inventory: Sequence[str] = ()
    limit: str | None = None
    environments: Sequence[str] = ()
    benchmarks: Sequence[str] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    blocks: int | None = None
    precision: str | None = None
    """As '1%'; not together with `blocks`."""
    seed: str | None = None
    max_parallel_pairs: int | None = None
    host_view: bool = True
    """Whether the host's processes are read while a benchmark runs."""
    required: Sequence[str] = ()
    """Environments that no host may refuse."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    """The limits by which invocations and hosts are judged; kept with the run."""
    force: bool = False
    """Whether hosts that preflight refuses are measured."""
    project_dir: Path | None = None
    """Its suites/*.toml can be named too."""


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run that can be executed: its plan, its hosts, and the variances that its estimate is based on."""

    run_id: str
    plan: Plan
    hosts: tuple[Host, ...]
    inventory: tuple[str, ...] = ()
    """The sources of the hosts, as they are kept with the run."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    """The limits by which invocations and hosts are judged."""
    force: bool = False
    """Whether hosts that preflight refuses are measured."""
    prior: Mapping[str, PriorVariance] = field(default_factory=dict)
    """The variance of each benchmark in earlier runs."""
    shard: Shard | None = None
    """The part of the run that this is; None: all of it."""

    @classmethod
    def from_store(
        cls, store: Store, run_id: str, *, inventory: Sequence[str] = (), shard: Shard | None = None
    ) -> PlannedRun:
        """Return a run as it was planned, or last grown, on the hosts of `inventory` (default: its own).

        Of a shard only its part of the plan, and its hosts. Limits are those that the run was begun with,
        `force` is the default. Raises NoHostMatched when one of its hosts is not there, UsageError for a
        shard with nothing to do.
        """
        stored = store.run(run_id)
        plan = plan_from_json(stored.plan_json(), where=f"run {run_id}")
        if shard is not None:
            plan = part_of(plan, stored.resources(), shard)
        sources = tuple(inventory) or stored.inventory()
        thresholds = Thresholds.from_json(stored.thresholds_json())
        return cls(run_id, plan, _hosts_of(plan, sources), sources, thresholds, shard=shard)

    @property
    def resume_command(self) -> str:
        """What a user types to go on with it."""
        return f"perfctl resume {self.run_id}" + (f" --shard {self.shard}" if self.shard else "")

    def with_prior(self, store: Store) -> PlannedRun:
        """Return the run with the variances of its benchmarks in the other runs of the database."""
        return replace(self, prior=prior_variances(store, self.plan, without_run=self.run_id))

    def estimate(self, remaining: Sequence[Round] | None = None) -> RunEstimate:
        """Return the estimate of the run; of one that is under way, of its `remaining` rounds."""
        left = None if remaining is None else replace(self.plan, rounds=tuple(remaining))
        return estimate_run(self.plan, self.prior, remaining=left)

    @property
    def plan_json(self) -> str:
        """The plan as it is kept in the database."""
        return plan_to_json(self.plan)


def plan_run(request: RunRequest, *, database_url: str | None = None) -> PlannedRun:
    """Read suite and inventory and make the plan; earlier runs in the database, if any, sharpen its estimate.

    Touches no host and writes nothing. Raises UnknownName for a required environment that is not measured.
    """
    suite = load_suite(
        request.suite,
        environments=request.environments or None,
        benchmarks=request.benchmarks or None,
        overrides=request.parameters,
        blocks=request.blocks,
        precision=request.precision,
        project_dir=request.project_dir,
    )
    hosts = tuple(load_hosts(request.inventory, limit=request.limit))
    run_id = new_id()
    plan = make_plan(
        suite,
        hosts,
        seed=request.seed if request.seed is not None else run_id,
        max_parallel_pairs=request.max_parallel_pairs,
        host_view=request.host_view,
    )
    unknown = set(request.required) - {item.name for item in plan.environments}
    if unknown:
        raise UnknownName(
            f"the run has no environment {', '.join(sorted(unknown))} that it could require",
            hint=f"it has: {', '.join(item.name for item in plan.environments)}",
        )
    planned = PlannedRun(
        run_id,
        replace(plan, required=tuple(request.required)),
        hosts,
        inventory=tuple(map(_absolute_source, request.inventory)),
        thresholds=request.thresholds,
        force=request.force,
    )
    return planned if database_url is None else _with_prior_if_any(planned, database_url)


def _with_prior_if_any(planned: PlannedRun, database_url: str) -> PlannedRun:
    """Add the variances in earlier runs; a database that is missing or cannot be read has none."""
    from perfctl.store import open_store

    try:
        with open_store(database_url, read_only=True) as store:
            return planned.with_prior(store)
    except (DatabaseUnavailable, SchemaMismatch):
        return planned


def _absolute_source(source: str) -> str:
    """Make a path absolute, so that `resume` finds the inventory from another folder ('h1,' is no path)."""
    return str(Path(source).absolute()) if Path(source).exists() else source


def _hosts_of(plan: Plan, inventory: Sequence[str]) -> tuple[Host, ...]:
    """Return the inventory's hosts that the plan names. Raises NoHostMatched when one is not there."""
    wanted = {name for block in plan.blocks() for name in block.target.hosts}
    hosts = tuple(host for host in load_hosts(inventory) if host.name in wanted)
    missing = wanted - {host.name for host in hosts}
    if missing:
        raise NoHostMatched(
            f"the run needs {', '.join(sorted(missing))}, which the inventory does not have",
            hint="give the run's inventory with -i",
        )
    return hosts
