"""The job server's script, and how it gets to a host: one command, whether or not a server runs there."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from perfctl.errors import CommandFailed, UsageError
from perfctl.job.protocol import SpoolFull
from perfctl.shell import Completed, Transport
from perfctl.shell.session import SESSION_FUNCTIONS

_PARTS = ("spool.sh", "view.sh", "kernel_log.sh", "worker.sh", "control.sh")
_OUTPUT_LIMIT = Path(__file__).with_name("output_limit.py").read_text(encoding="ascii")
_SCRIPT = "\n".join(
    (
        f"output_limit={shlex.quote(_OUTPUT_LIMIT)}",
        SESSION_FUNCTIONS,
        *(Path(__file__).with_name(part).read_text(encoding="ascii") for part in _PARTS),
    )
)
_BOOT = 'script=$(cat); eval "$script"'
_TIMEOUT_S = 60.0
_NO_SPACE = 28
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_JOB = re.compile(rf"({_NAME.pattern}) ([a-z]{{1,20}})(?: ([0-9]{{1,9}}) ([0-9]{{1,15}}))?")


@dataclass(frozen=True, slots=True)
class Started:
    """A job server that runs: its spool folder and the jobs found there."""

    spool: str
    jobs: Mapping[str, JobState]


@dataclass(frozen=True, slots=True)
class JobState:
    """The state of a job in the spool: running, ended or lost; the other fields are of running ones."""

    state: str
    slot: int | None = None
    timeout_s: float = 0.0


def checked_name(name: str) -> str:
    """Return a run's or job's id. Raises UsageError when it cannot be part of a file name and a unit name."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot name a run or a job: letters, digits, dot, dash, underscore")
    return name


def start_server(transport: Transport, run_id: str, *, lifetime_s: float, spool_root: str | None) -> Started:
    """Start the job server of a run anew, or find it with a job that still runs.

    Raises CommandFailed, SpoolFull, HostUnreachable.
    """
    mark = secrets.token_hex(16)
    arguments = ["start", checked_name(run_id), str(max(1, round(lifetime_s))), mark]
    done = _boot(transport, [*arguments, *([spool_root] if spool_root else [])])
    if done.exit_code == _NO_SPACE:
        raise SpoolFull(
            "the job server could not be copied there", where=transport.name, detail=done.error_text
        )
    if done.exit_code != 0:
        raise CommandFailed(
            f"the job server does not start: {done.error_text or done.exit_code}", where=transport.name
        )
    spool, _, jobs = done.text.partition("\n")
    return Started(spool, parse_list(jobs, transport.name))


def script_argv(spool: str, verb: str, *arguments: str) -> list[str]:
    """Return the command that does `verb` with the script that lies in the spool."""
    return ["sh", f"{spool}/server.sh", verb, spool, *arguments]


def parse_list(text: str, where: str) -> dict[str, JobState]:
    """Return the jobs that `list` printed. Raises CommandFailed for a line that is no job's."""
    jobs = {}
    for line in text.splitlines():
        found = _JOB.fullmatch(line.strip())
        if found is None:
            raise CommandFailed(f"the job server's list cannot be read at {line[:80]!r}", where=where)
        job_id, state, slot, timeout_ms = found.groups()
        jobs[job_id] = JobState(state, int(slot), int(timeout_ms) / 1000) if slot else JobState(state)
    return jobs


def reap(
    transport: Transport, run_id: str | None = None, *, discard: bool = False, spool_root: str | None = None
) -> list[str]:
    """End what belongs to a run on a host (None: any run); return it, as "job ID" or "server NAME".

    Job servers, their units and jobs are ended. Results that no controller has stored stay in the spool, or
    with `discard` are removed, returned as "result ID". Containers and guests are left to their environments.
    Raises CommandFailed, HostUnreachable.
    """
    name = checked_name(run_id) if run_id else ""
    done = _boot(transport, ["reap", name, "discard" if discard else "keep", spool_root or ""])
    if done.exit_code != 0:
        raise CommandFailed(f"reaping failed: {done.error_text or done.exit_code}", where=transport.name)
    return done.text.splitlines()


def _boot(transport: Transport, arguments: list[str]) -> Completed:
    argv = ["sh", "-c", _BOOT, "perfctl-job", *arguments]
    return transport.run(argv, timeout_s=_TIMEOUT_S, stdin=_SCRIPT.encode())
