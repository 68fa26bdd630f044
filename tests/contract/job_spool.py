"""A job server's spool and processes on this machine, as its tests see them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from perfctl.job import JobShell
from perfctl.shell import Completed, Stream
from perfctl.shell.local import LocalShell
from tests.processes import with_argument

RUN = f"run-{os.getpid()}"
"""The run of the jobs; each worker has its own, because what is left of a run is ended wherever it is."""


class BusyboxShell(LocalShell):
    """This machine as if its sh were busybox's."""

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        return super().run(
            self._busy(argv), timeout_s=timeout_s, stdin=stdin.replace(b" sh ", b" busybox ash ")
        )

    def stream(self, argv: Sequence[str]) -> Stream:
        return super().stream(self._busy(argv))

    @staticmethod
    def _busy(argv: Sequence[str]) -> list[str]:
        return ["busybox", "ash", *argv[1:]] if argv[0] == "sh" else list(argv)


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


def servers(jobs: JobShell) -> list[int]:
    """Return the ids of the job server's processes, without those that a controller's channel stands on."""
    return sorted(set(with_argument(jobs.spool)) & set(with_argument("serve")))


def loggers(jobs: JobShell) -> list[int]:
    """Return the processes that read the kernel's log for a job server."""
    return with_argument(f"{jobs.spool}/no-file")
