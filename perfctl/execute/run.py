"""From what the user asked for to a run in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perfctl import __version__
from perfctl.errors import DatabaseUnavailable, HostLeased, SchemaMismatch
from perfctl.execute.conduct import RunOutcome, Work, conduct_run
from perfctl.inventory import load_hosts
from perfctl.model import Host, Listener, Plan, new_id
from perfctl.plan import Estimate, PriorVariance, estimate_run, make_plan, plan_to_json, prior_variances
from perfctl.store import open_store
from perfctl.suites import load_suite
from perfctl.validity import Thresholds


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What the user asked for; empty or None means the suite's own choice."""

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
    """Whether the host is looked at while a benchmark runs."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    """By which invocations and hosts are judged; kept with the run."""
    force: bool = False
    """Measure also on hosts that preflight would refuse."""
    project_dir: Path | None = None
    """Its suites/*.toml can be named too."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that could start: what would run where, how long when all is well, and what it would see."""

    run_id: str
    plan: Plan
    hosts: tuple[Host, ...]
    estimate: Estimate


def prepare(request: RunRequest, *, database_url: str | None = None) -> Prepared:
    """Read suite and inventory and make the plan; earlier runs in the database, if any, sharpen the estimate.

    Touches no host and writes nothing.
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
    seed = request.seed if request.seed is not None else run_id
    plan = make_plan(
        suite,
        hosts,
        seed=seed,
        max_parallel_pairs=request.max_parallel_pairs,
        host_view=request.host_view,
    )
    prior = _prior_variances(plan, database_url) if database_url is not None else {}
    return Prepared(run_id, plan, hosts, estimate_run(plan, prior))


def _prior_variances(plan: Plan, database_url: str) -> dict[str, PriorVariance]:
    """Return what the database says; one that is not there yet, or cannot be read, says nothing."""
    try:
        with open_store(database_url, read_only=True) as store:
            return prior_variances(store, plan)
    except (DatabaseUnavailable, SchemaMismatch):
        return {}


def run_suite(
    request: RunRequest, *, database_url: str, command: Sequence[str], listener: Listener
) -> RunOutcome:
    """Prepare and carry out a run. Raises Interrupted when stopped, with the words that resume it."""
    prepared = prepare(request)
    with open_store(database_url, create=True) as store:
        store.begin_run(
            prepared.run_id,
            prepared.plan,
            plan_to_json(prepared.plan),
            prepared.hosts,
            command=command,
            perfctl_version=__version__,
            inventory=[_from_anywhere(source) for source in request.inventory],
            thresholds_json=request.thresholds.to_json(),
        )
        work = Work(
            prepared.run_id, prepared.plan, prepared.hosts, thresholds=request.thresholds, force=request.force
        )
        try:
            return conduct_run(work, store, listener)
        except HostLeased:
            store.end_run(prepared.run_id, "interrupted")
            raise


def _from_anywhere(source: str) -> str:
    """Make a path absolute, so that `resume` finds the inventory from another folder ('h1,' is no path)."""
    return str(Path(source).absolute()) if Path(source).exists() else source
