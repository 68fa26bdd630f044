"""Find and remove what other runs have left on a host that this process has leased."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from perfctl.environments.drivers import remove_all, runs_with_containers
from perfctl.errors import CommandFailed, CommandTimeout, PerfctlError
from perfctl.execute.fleet import ConnectedHost
from perfctl.job import reap as reap_jobs
from perfctl.job.hosts import LeasedHost
from perfctl.model import Note

if TYPE_CHECKING:
    from perfctl.execute.session import RunSession

# A container or guest that was requested just before its caller was ended may still appear.
_PAUSE_S = 1.0


def reap_leftovers(session: RunSession) -> None:
    """Remove from all hosts what runs whose controllers are gone have left; the listener is told.

    Their results stay for `resume`. What is another run's that still measures, or cannot be removed, is named
    with the command that removes it.
    """

    def reap(connected: ConnectedHost) -> None:
        host = connected.host.name
        leased = session.fleet.leased[host]
        left = session.ahead.left.pop(host, None)
        if left is None:
            left = left_runs(leased)
        for run in set(leased.lease.runs.live) - set(left):
            text = f"run {run} measures there, by another lease; to end it: perfctl reap {run}"
            session.listener(Note("warning", host, text))
        for run in left:
            if run == session.run_id:
                continue
            # They were read beside what is removed now.
            session.ahead.facts.pop(host, None)
            try:
                removed = list(remove_run(leased, run))
            except PerfctlError as error:
                text = f"what run {run} has left there is not removed: {error.message}"
                session.listener(Note("warning", host, f"{text} (perfctl reap {run})"))
            else:
                if removed:
                    names = ", ".join(f"{kind} {name}" for kind, name in removed)
                    session.listener(Note("info", host, f"removed what run {run} had left: {names}"))

    session.fleet.each(reap)


def left_runs(leased: LeasedHost) -> list[str]:
    """Return the runs whose controllers are gone and of which more than results may be on a leased host."""
    lease = leased.lease
    found = set(lease.runs.dead)
    if leased.host.state_dir is None:
        # An engine that refuses is found by who needs it.
        with suppress(CommandFailed, CommandTimeout):
            found |= runs_with_containers(leased.transport)
    # A job of the one that was stolen from may still run.
    return sorted(found - set(lease.runs.live) | {state.run_id for state in lease.freed if state.run_id})


def remove_run(leased: LeasedHost, run_id: str, *, discard: bool = False) -> Iterator[tuple[str, str]]:
    """End and remove what is left of a run on a leased host; yield it as (kind, name), also before an error.

    Results that no controller has collected are removed with `discard` only. Raises CommandFailed,
    HostUnreachable, UsageError.
    """
    spool_root = leased.host.spool_root
    jobs = reap_jobs(
        leased.transport, run_id, python=leased.host.python, discard=discard, spool_root=spool_root
    )
    for line in jobs:
        kind, _, name = line.partition(" ")
        yield kind, name
    made = remove_all(leased.transport, run_id)
    if jobs or made:
        time.sleep(_PAUSE_S)
        made += remove_all(leased.transport, run_id)
    for name in made:
        yield "environment", name
