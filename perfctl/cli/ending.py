"""How `run` and `resume` end: the run's id on standard output, failures as exit code 3."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perfctl.errors import PartialFailure

if TYPE_CHECKING:
    from perfctl.execute import RunOutcome


def finish(outcome: RunOutcome) -> None:
    """Print the run's id. Raises PartialFailure when invocations failed or blocks are not complete."""
    click.echo(outcome.run_id)
    if outcome.status != "complete":
        raise PartialFailure(
            f"{outcome.failed} invocations failed, {outcome.ok} are ok and kept",
            where=f"run {outcome.run_id}",
            hint=f"why: perfctl show {outcome.run_id}; run the rest again: perfctl resume {outcome.run_id}",
        )
    click.echo(f"see what it costs: perfctl compare {outcome.run_id}", err=True)
