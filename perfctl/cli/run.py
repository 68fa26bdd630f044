"""perfctl run: measure a suite and store every sample."""

from __future__ import annotations

import sys
from typing import Any

import click

from perfctl.cli.command import Command
from perfctl.cli.format import format_option, refuse_format
from perfctl.cli.progress_options import progress_options
from perfctl.cli.settings import Settings


@progress_options
@click.command(cls=Command)
@click.option("--suite", required=True, metavar="NAME|FILE", help="What to measure; see: perfctl suites.")
@click.option(
    "--env", "environments", multiple=True, metavar="NAME", help="Where; repeatable.  [default: the suite's]"
)
@click.option(
    "--benchmark", "benchmarks", multiple=True, metavar="NAME", help="Only this; repeatable.  [default: all]"
)
@click.option(
    "--require", "required", multiple=True, metavar="ENV", help="Fail where a host refuses it; repeatable."
)
@click.option(
    "--blocks",
    type=click.IntRange(min=1),
    help="Fix the number of blocks: repetitions of the whole comparison.  [default: the suite's]",
)
@click.option(
    "--precision",
    metavar="PERCENT",
    help="Choose each benchmark's blocks, 10 to 30, for ratios ± this, e.g. 1%.  [default: the suite's]",
)
@click.option(
    "--param", "parameters", multiple=True, metavar="NAME=VALUE", help="Set a parameter of the benchmarks."
)
@click.option("--limit", metavar="PATTERN", help="Only these hosts of the inventory.")
@click.option("--seed", help="Seed of the random order.  [default: the run's id]")
@click.option("--max-parallel-pairs", type=click.IntRange(min=1), metavar="N", help="Most pairs at a time.")
@click.option(
    "--no-host-view",
    "host_view",
    flag_value=False,
    default=True,
    help="Do not read the host's processes before, during and after each benchmark.",
)
@click.option(
    "--validity",
    multiple=True,
    metavar="RULE=FLAG,INVALID",
    help="Limits above which an invocation is flagged, is invalid; a number or never.",
)
@click.option(
    "--preflight",
    multiple=True,
    metavar="RULE=WARN,REFUSE",
    help="Limits above which a host is warned of, is refused before the run.",
)
@click.option("--build", is_flag=True, help="First build the image layer that the suite needs on the hosts.")
@click.option("--force", is_flag=True, envvar="PERFCTL_FORCE", help="Measure hosts that preflight refuses.")
@click.option("--dry-run", is_flag=True, help="Print the plan and how long it would take; touch no host.")
@format_option
@click.pass_obj
def run(
    settings: Settings,
    /,
    parameters: tuple[str, ...],
    validity: tuple[str, ...],
    preflight: tuple[str, ...],
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
    """
    from perfctl.cli.run_output import finish, run_progress
    from perfctl.cli.variables import parse_parameters
    from perfctl.plan.request import RunRequest, plan_run
    from perfctl.provision import build_layers
    from perfctl.ssh import connecting
    from perfctl.validity.thresholds import parse_thresholds

    # The other options have the names of the request's fields.
    request |= {"inventory": settings.inventory, "project_dir": settings.project_dir}
    limits = parse_thresholds(validity, preflight)
    wanted = RunRequest(**request, parameters=parse_parameters(parameters), thresholds=limits)
    url, command = settings.database_url, ["perfctl", *sys.argv[1:]]
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
            build_layers(planned.plan.benchmarks, wanted, listener)
        with connecting(planned.hosts) as connect:
            # Half of what a run imports is imported while the hosts answer.
            from perfctl.execute import execute_run

            outcome = execute_run(
                planned, database_url=url, command=command, listener=listener, connect=connect
            )
    finish(outcome)
