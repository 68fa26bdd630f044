"""What `run` and `resume` print: where results go, the run's id on stdout, failures as exit code 3."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perfctl.cli.command import next_command
from perfctl.errors import PartialFailure
from perfctl.model import Event, Listener, Note, RunStarted

if TYPE_CHECKING:
    from perfctl.execute import RunOutcome


def with_database(listener: Listener, database_url: str) -> Listener:
    """Return a listener that is also told, as a run starts, which database its results go to."""

    def heard(event: Event) -> None:
        listener(event)
        if isinstance(event, RunStarted):
            listener(Note("info", "", f"results go to {database_url}"))

    return heard


def finish(outcome: RunOutcome) -> None:
    """Print the run's id. Raises PartialFailure when invocations failed or blocks are not complete."""
    click.echo(outcome.run_id)
    if outcome.status != "complete":
        why = next_command(f"show {outcome.run_id}", "database", "project_dir")
        again = next_command(f"resume {outcome.run_id}", "inventory", "database", "project_dir")
        raise PartialFailure(
            f"{outcome.failed} invocations failed, {outcome.ok} are ok and kept",
            where=f"run {outcome.run_id}",
            hint=f"why: {why}; run the rest again: {again}",
        )
    compare = next_command(f"compare {outcome.run_id}", "database", "project_dir")
    click.echo(f"see what it costs: {compare}", err=True)
