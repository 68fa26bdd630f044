"""Print what `run` and `resume` have in common: progress, the database, the run's id, what to do next."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from perfctl.cli.command import repeat_options
from perfctl.errors import HostLeased, PartialFailure, PerfctlError
from perfctl.model import Event, Listener, Note

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings
    from perfctl.execute import RunOutcome

_OF_RESULTS = ("database", "project_dir")
_OF_A_RUN = ("inventory", *_OF_RESULTS)


@contextmanager
def run_progress(settings: Settings) -> Iterator[Listener]:
    """Yield a listener that shows a run's progress; a resume in an error's hint gets the given options."""
    from perfctl.output import progress
    from perfctl.store import location_of

    with progress(style=settings.progress) as listener:
        is_database_named, run_id = False, ""

        def with_database(event: Event) -> None:
            nonlocal is_database_named, run_id
            run_id = getattr(event, "run_id", run_id)
            if not is_database_named:
                is_database_named = True
                place = f"{location_of(settings.database_url)}{_shared_remark(settings)}"
                listener(Note("info", "", f"results go to {place}"))
            listener(event)

        try:
            yield with_database
        except PerfctlError as error:
            # Who holds a host has a run of another database.
            if error.hint and not isinstance(error, HostLeased):
                resume = r"perfctl resume [0-9a-f-]{36}"
                error.hint = re.sub(resume, lambda it: repeat_options(it[0], *_OF_A_RUN), error.hint)
            raise
        except SystemExit:
            if run_id:
                click.echo(f"go on: {repeat_options(f'perfctl resume {run_id}', *_OF_A_RUN)}", err=True)
            raise


def _shared_remark(settings: Settings) -> str:
    """Return what to know of a database that is the user's, not a project's; '' of any other."""
    if not settings.has_shared_database:
        return ""
    return " (all your folders share it; an empty perfctl.toml here makes this a project with its own)"


def finish(outcome: RunOutcome) -> None:
    """Print the run's id. Raises PartialFailure when invocations failed or blocks are not complete."""
    try:
        click.echo(outcome.run_id)
    except OSError as error:
        # The run is in the database: its exit code says how it went, not that its id could not be printed.
        click.echo(f"warning: run {outcome.run_id} is not on standard output: {error.strerror}", err=True)
    if outcome.status != "complete":
        why = repeat_options(f"perfctl show {outcome.run_id}", *_OF_RESULTS)
        again = repeat_options(outcome.resume_command or f"perfctl resume {outcome.run_id}", *_OF_A_RUN)
        raise PartialFailure(
            f"{outcome.failed} invocations failed, {outcome.ok} are ok and kept",
            where=f"run {outcome.run_id}",
            hint=f"why: {why}; run the rest again: {again}",
        )
    compare = repeat_options(f"perfctl compare {outcome.run_id}", *_OF_RESULTS)
    click.echo(f"see what it costs: {compare}", err=True)
