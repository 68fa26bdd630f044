"""perfctl resume: finish a run that was stopped."""

from __future__ import annotations

import click

from perfctl.cli.command import Command
from perfctl.cli.progress_options import db_patience_option, progress_options
from perfctl.cli.settings import Settings


@progress_options
@click.command(cls=Command)
@db_patience_option
@click.argument("run")
@click.option("--force", is_flag=True, envvar="PERFCTL_FORCE", help="Measure hosts that preflight refuses.")
@click.option("--shard", metavar="N/COUNT", help="This shard of it.  [default: the one that is not complete]")
@click.pass_obj
def resume(settings: Settings, run: str, force: bool, shard: str | None) -> None:
    """Finish RUN (an id, the start of one, or `latest`).

    Complete blocks are never repeated. A block that was cut is kept and the whole block is run again. Results
    of jobs that continued after their controller died are collected first.
    """
    from perfctl.cli.run_output import finish, run_progress
    from perfctl.execute import resume_run
    from perfctl.plan.shards import Shard

    with run_progress(settings) as listener:
        outcome = resume_run(
            run,
            database_url=settings.database_url,
            inventory=settings.inventory,
            listener=listener,
            force=force,
            shard=None if shard is None else Shard.parse(shard),
            patience_s=settings.db_patience_s,
        )
    finish(outcome)
