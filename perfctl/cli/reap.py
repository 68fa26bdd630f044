"""perfctl reap: end and remove what a killed run left on its hosts."""

from __future__ import annotations

import click

from perfctl.cli.command import Command
from perfctl.cli.format import format_option
from perfctl.cli.settings import Settings
from perfctl.errors import PartialFailure, UsageError


@click.command(cls=Command)
@click.argument("run", required=False)
@click.option(
    "--all", "is_all", is_flag=True, help="Every unfinished run, and all that is left on any known host."
)
@format_option
@click.pass_obj
def reap(settings: Settings, run: str | None, is_all: bool, fmt: str) -> None:
    """End and remove what RUN (an id, the start of one, or `latest`) left on its hosts.

    For a run that was killed and will not be resumed: its jobs, results that were never collected,
    containers, guests and the files of its benchmarks. The database is not changed. Refused (exit code 6)
    while another holder measures or changes one of the hosts; perfctl hosts shows who it is.
    """
    from perfctl.execute import reap_all, reap_run
    from perfctl.render import print_view
    from perfctl.render.reap import reap_view

    if (run is None) is not is_all:
        raise UsageError("perfctl reap needs a RUN, or --all", hint="perfctl runs lists them")
    if run is None:
        reaping = reap_all(database_url=settings.database_url, inventory=settings.inventory)
    else:
        reaping = reap_run(run, database_url=settings.database_url, inventory=settings.inventory)
    print_view(reap_view(reaping), fmt)
    if reaping.failures:
        failures = "; ".join(f"{where}: {why}" for where, why in reaping.failures)
        raise PartialFailure(
            f"not everything could be removed: {failures}", hint="mend it, then run reap again"
        )
