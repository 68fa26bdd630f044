"""An agent's spool and processes on this machine, as its tests see them."""

from __future__ import annotations

import json
import os
from pathlib import Path

from perfctl.job import JobShell
from perfctl.shell import Completed
from tests.processes import with_argument

RUN = f"run-{os.getpid()}"
"""The run of the jobs; each worker has its own, because what is left of a run is ended wherever it is."""


def spool_files(jobs: JobShell) -> list[str]:
    """Return the names of the job files in the spool."""
    return sorted(path.name for path in (Path(jobs.spool) / "jobs").iterdir())


def completed_of(jobs: JobShell) -> dict[str, Completed]:
    """Return the results of an earlier controller's jobs, of which none may have gone wrong."""
    found = {}
    for job_id, outcome in jobs.collect_results().items():
        assert isinstance(outcome, Completed), outcome
        found[job_id] = outcome
    return found


def agent_pid(spool: str | Path) -> int:
    """Return the process id of the agent that a spool belongs to."""
    identity: str = json.loads((Path(spool) / "agent.json").read_text())["agent"]
    return int(identity.split(":")[1])


def agents(jobs: JobShell) -> list[int]:
    """Return the ids of living agents of a run, usually one."""
    return sorted(set(with_argument(jobs.spool)) & set(with_argument("serve")))
