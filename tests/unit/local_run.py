"""Runs that are really executed: on this machine, with real jobs and a real database file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from perfctl.execute import RunOutcome, execute_run
from perfctl.model import Benchmark, Environment, Event, Host, Listener, Plan, Suite, new_id
from perfctl.plan import make_plan
from perfctl.plan.request import PlannedRun
from perfctl.workloads import resolve_parameters, workload

HERE = Host("here", "127.0.0.1", connection="local")
NATIVE = Environment("native", "native")
QUICK = Benchmark(
    "quick",
    "sysbench",
    resolve_parameters(workload("sysbench"), {"test": "mutex", "mutex_locks": 1000, "mutex_loops": 100}),
    expected_s=0.5,
)


def plan_of(*environments: Environment, blocks: int = 2) -> Plan:
    """Return a plan of a quick benchmark on this machine."""
    suite = Suite("quick", "", "native", (NATIVE, *environments), (QUICK,), blocks)
    return make_plan(suite, (HERE,), seed="1")


def planned_run(folder: Path, *environments: Environment, blocks: int = 2) -> PlannedRun:
    """Return a run that can be executed, and resumed by an inventory in `folder`."""
    inventory = folder / "hosts.yml"
    inventory.write_text("all: {hosts: {here: {ansible_connection: local}}}\n")
    plan = plan_of(*environments, blocks=blocks)
    return PlannedRun(new_id(), plan, (HERE,), (str(inventory),), force=True)


def execute(planned: PlannedRun, database: Path, listener: Listener | None = None) -> RunOutcome:
    """Run it to its end."""
    heard: list[Event] = []
    return execute_run(planned, database_url=str(database), command=(), listener=listener or heard.append)


def kept_on_host(run_id: str) -> Sequence[str]:
    """Return the ids of this run's jobs whose results lie on this machine."""
    roots = (Path("/var/lib/perfctl/spool"), Path.home() / ".local/state/perfctl/spool")
    return sorted(path.stem for root in roots for path in root.glob(f"{run_id}/jobs/*.end"))
