"""perfctl benchmarks: the workloads, their parameters and metrics."""

from __future__ import annotations

import click

from perfctl.cli.command import Command
from perfctl.cli.format import format_option
from perfctl.cli.settings import Settings
from perfctl.errors import UsageError


@click.command(cls=Command)
@click.argument("name", required=False)
@click.option("--metrics", is_flag=True, help="Show what NAME reports instead of its parameters.")
@format_option
@click.pass_obj
def benchmarks(settings: Settings, name: str | None, metrics: bool, fmt: str) -> None:
    """List the workloads that suites can use, or show the parameters (or --metrics) of one."""
    from perfctl.render import print_view
    from perfctl.render.benchmarks import metrics_view, parameters_view, workloads_view
    from perfctl.suites import all_workloads, find_workload

    if name is None:
        if metrics:
            raise UsageError("--metrics needs a NAME", hint="perfctl benchmarks lists the names")
        print_view(workloads_view(all_workloads(settings.project_dir).values()), fmt)
    else:
        workload = find_workload(name, project_dir=settings.project_dir)
        print_view(metrics_view(workload) if metrics else parameters_view(workload), fmt)
