"""`perfctl db prune`: remove what runs have measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perfctl.cli.command import Command
from perfctl.cli.format import format_option

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings


@click.command(cls=Command)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="Runs that ended before.")
@click.option("--raw-outputs", is_flag=True, help="Only what the programs printed; comparisons stay.")
@click.option("--yes", is_flag=True, help="Remove it; without this it is only printed.")
@click.option("--compact", is_flag=True, help="Give the space back to the file system, too.")
@format_option
@click.pass_obj
def prune(
    settings: Settings,
    runs: tuple[str, ...],
    older_than: float | None,
    raw_outputs: bool,
    yes: bool,
    compact: bool,
    fmt: str,
) -> None:
    """Remove what each RUN, or every old run, has measured. Of a run its plan and a tombstone stay.

    Raw outputs that another run has, too, stay until that is pruned. Runs that are not over are left alone.
    """
    from perfctl.render import print_view
    from perfctl.render.db import pruned_view
    from perfctl.store import compact as compact_database
    from perfctl.store import open_store, prune_runs

    with open_store(settings.database_url) as store:
        done = prune_runs(store, runs, older_than_days=older_than, raw_only=raw_outputs, dry_run=not yes)
    print_view(pruned_view(done), fmt)
    if not done:
        click.echo("there is nothing to remove", err=True)
    elif not yes:
        click.echo("nothing was removed; with --yes it is (a backup first: perfctl db backup FILE)", err=True)
    if yes and compact:
        compact_database(settings.database_url)
    elif yes and done:
        click.echo("the space is used again by later runs; --compact gives it back", err=True)
