"""perfctl run: measure a suite and store every sample."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perfctl.cli.command import Command
from perfctl.cli.format import format_option, refuse_format
from perfctl.cli.progress_options import db_patience_option, progress_options
from perfctl.cli.request_options import given, request_of, request_options
from perfctl.cli.settings import Settings
from perfctl.errors import UsageError

if TYPE_CHECKING:
    from perfctl.execute import RunOutcome

_FILE = click.Path(dir_okay=False, path_type=Path)


@progress_options
@click.command(cls=Command)
@request_options
@click.option("--plan", "plan_file", type=_FILE, metavar="FILE", help="Measure what `perfctl plan` has made.")
@click.option("--shard", metavar="N/COUNT", help="Only this part of --plan, e.g. 3/8.  [default: all]")
@click.option("--build", is_flag=True, help="First build the image layer that the suite needs on the hosts.")
@db_patience_option
@click.option("--force", is_flag=True, envvar="PERFCTL_FORCE", help="Measure hosts that preflight refuses.")
@click.option("--dry-run", is_flag=True, help="Print the plan and how long it would take; touch no host.")
@format_option
@click.pass_obj
def run(
    settings: Settings,
    /,
    plan_file: Path | None,
    shard: str | None,
    force: bool,
    dry_run: bool,
    build: bool,
    fmt: str,
    **request: Any,
) -> None:
    """Measure a suite on the hosts of the inventory and store every sample.

    Each block runs every environment once and the baseline twice, in random order. Without a fixed number of
    blocks each benchmark has a pilot of 10, whose variance decides how many it gets. A block with a failed
    member is repeated once, at the end. An environment that a host or its kernel refuses is unavailable
    there, which is no failure unless --require names it. Ctrl-C stops cleanly; `perfctl resume RUN` finishes
    the rest. Prints the run's id on standard output; with --dry-run the plan, in --format.

    With --plan FILE, which `perfctl plan` has made, several controllers can measure one run, each a --shard.
    """
    from perfctl.cli.run_output import finish, run_progress
    from perfctl.plan.request import plan_run
    from perfctl.ssh import connecting

    url, wait_s, argv = settings.database_url, settings.db_patience_s, ["perfctl", *sys.argv[1:]]
    if plan_file is None and shard is not None:
        raise UsageError("--shard needs --plan", hint="perfctl plan --suite NAME -o plan.json makes a plan")
    if plan_file is not None:
        if others := given([*request, "build", "dry_run", "fmt"]):
            raise UsageError(f"{others[0]} has no effect with --plan", hint="give it to: perfctl plan")
        finish(_run_shard(settings, plan_file, shard or "1/1", force))
        return
    wanted = request_of(settings, request, force=force)
    if dry_run:
        from perfctl.render import print_view
        from perfctl.render.plan import plan_view

        print_view(plan_view(plan_run(wanted, database_url=url)), fmt)
        return
    refuse_format(
        "it prints the plan of --dry-run", hint="perfctl compare RUN --format ... prints the results"
    )
    with run_progress(settings) as listener:
        planned = plan_run(wanted)
        if build:
            from perfctl.provision import build_layers

            build_layers(planned.plan.benchmarks, wanted, listener)
        with connecting(planned.hosts) as connect:
            # Half of what a run imports is imported while the hosts answer.
            from perfctl.execute import execute_run

            outcome = execute_run(
                planned, database_url=url, command=argv, listener=listener, connect=connect, patience_s=wait_s
            )
    finish(outcome)


def _run_shard(settings: Settings, plan_file: Path, shard: str, force: bool) -> RunOutcome:
    from perfctl.cli.run_output import run_progress
    from perfctl.execute import execute_shard
    from perfctl.plan.file import PlanFile
    from perfctl.plan.shards import Shard

    wanted, file = Shard.parse(shard), PlanFile.read(plan_file)
    with run_progress(settings) as listener:
        return execute_shard(
            file,
            wanted,
            database_url=settings.database_url,
            inventory=settings.named_inventory,
            listener=listener,
            force=force,
            patience_s=settings.db_patience_s,
        )
