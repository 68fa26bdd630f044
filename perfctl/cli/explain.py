"""`perfctl explain`: which counters of the hosts moved with a difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perfctl.cli.command import Command
from perfctl.cli.format import format_option

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings


@click.command(cls=Command)
@click.argument("run")
@click.argument("benchmark")
@click.option("--env", "environment", metavar="NAME", help="Only this environment.")
@click.option(
    "--on", "target", metavar="TARGET", help="Only this host or pair, as `perfctl compare` names it."
)
@format_option
@click.pass_obj
def explain(
    settings: Settings, run: str, benchmark: str, environment: str | None, target: str | None, fmt: str
) -> None:
    """Show which counters of the hosts moved with what BENCHMARK's environments cost in RUN.

    Per unit of work, from the counters that were read around every invocation: paired differences of twelve
    families (CPU time by kind, context switches, interrupts, page faults, TCP segments, packets, disk bytes,
    throttled time), corrected for their number, with the A/A test beside them; all other counters below, not
    tested. It is association, not cause. docs/explain.md says how to read it.
    """
    from perfctl.render import print_view
    from perfctl.render.explain import explanations_view
    from perfctl.report.explanation import explanations
    from perfctl.store import open_store

    with open_store(settings.database_url, read_only=True) as store:
        found = explanations(store, run, benchmark, environment=environment, target=target)
    print_view(explanations_view(found), fmt)
