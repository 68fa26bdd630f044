"""Runs that are really executed: on this machine, with real jobs and a real database file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from perfctl.execute import RunOutcome, execute_run
from perfctl.execute.fleet import ConnectedHost, Fleet
from perfctl.job.hosts import LeasedHost
from perfctl.model import Benchmark, Environment, Event, Host, Listener, Plan, Suite, new_id
from perfctl.plan import make_plan
from perfctl.plan.request import PlannedRun
from perfctl.shell import Completed
from perfctl.shell.local import LocalShell
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


def planned_run(
    folder: Path, *environments: Environment, blocks: int = 2, required: Sequence[str] = ()
) -> PlannedRun:
    """Return a run that can be executed, and resumed by an inventory in `folder`."""
    inventory, here = folder / "hosts.yml", replace(HERE, state_dir=str(folder))
    variables = f"{{ansible_connection: local, perf_state_dir: {folder}}}"
    inventory.write_text(f"all: {{hosts: {{here: {variables}}}}}\n")
    plan = replace(plan_of(*environments, blocks=blocks), required=tuple(required))
    return PlannedRun(new_id(), plan, (here,), (str(inventory),), force=True)


def execute(planned: PlannedRun, database: Path, listener: Listener | None = None) -> RunOutcome:
    """Run it to its end."""
    heard: list[Event] = []
    return execute_run(planned, database_url=str(database), command=(), listener=listener or heard.append)


def kept_on_host(planned: PlannedRun) -> Sequence[str]:
    """Return the ids of this run's jobs whose results lie on this machine."""
    (root,) = (Path(str(host.spool_root)) for host in planned.hosts)
    return sorted(path.stem for path in root.glob(f"{planned.run_id}/jobs/*.end"))


class LocalJobs(LocalShell):
    """Jobs that are plain commands with the PATH of this process, which the agent does not take over."""

    def run_job(
        self,
        job_id: str,
        argv: Sequence[str],
        timeout_s: float,
        stdin: bytes = b"",
        *,
        probe: object = None,
        hold_s: float = 0.0,
        output_limit_bytes: int = 0,
    ) -> Completed:
        started_ns = time.monotonic_ns()
        done = self.run(argv, timeout_s=timeout_s, stdin=stdin)
        return replace(done, started_ns=started_ns, ended_ns=time.monotonic_ns())

    def acknowledge(self, job_id: str) -> None:
        """Forget nothing: nothing is kept."""

    def collect_results(self) -> dict[str, Completed]:
        return {}

    def cancel(self) -> None:
        """End nothing."""

    def stop(self, *, gives_back: bool = False) -> None:
        """Stop nothing."""


class LocalFleet(Fleet):
    """This machine as a fleet, with such jobs."""

    def _start(self, leased: LeasedHost) -> None:
        jobs = cast(Any, LocalJobs(leased.host.name))
        self._connected[leased.host.name] = ConnectedHost(leased.host, leased.transport, jobs)
