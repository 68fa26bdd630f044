"""perfctl plan: make a run without beginning it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from perfctl.cli.command import Command, repeat_options
from perfctl.cli.request_options import request_of, request_options
from perfctl.cli.settings import Settings


@click.command(cls=Command)
@request_options
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="The file to write; it must not exist.",
)
@click.pass_obj
def plan(settings: Settings, /, output: Path, **request: Any) -> None:
    """Make a run without beginning it, for one controller or several: see docs/shards.md.

    `perfctl run --plan FILE --shard 3/8` measures the third of eight parts of it, under the run's id. The
    number of blocks is fixed (--blocks). Prints the run's id on standard output; touches no host.
    """
    from perfctl.plan.file import PlanFile
    from perfctl.plan.request import plan_run
    from perfctl.store import open_store

    file = PlanFile.of(plan_run(request_of(settings, request)), ["perfctl", *sys.argv[1:]])
    file.write(output)
    try:
        with open_store(settings.database_url, create=True) as store:
            file.store(store)
    except BaseException:
        output.unlink()
        raise
    click.echo(file.run_id)
    begin = repeat_options(f"perfctl run --plan {output} --shard 1/8", "inventory", "database", "project_dir")
    click.echo(f"begin a shard of it: {begin}", err=True)
