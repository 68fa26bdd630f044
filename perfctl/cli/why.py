"""`perfctl why`: from a value in a table to its raw output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perfctl.cli.command import Command
from perfctl.cli.format import format_option

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings


@click.command(cls=Command)
@click.argument("run")
@click.argument("metric")
@click.option("--benchmark", metavar="NAME", help="Only this benchmark.")
@click.option("--environment", metavar="NAME", help="Only this; the baseline stands for its A/A test.")
@click.option("--host", metavar="NAME", help="Only this host and its pairs.")
@format_option
@click.pass_obj
def why(
    settings: Settings,
    run: str,
    metric: str,
    benchmark: str | None,
    environment: str | None,
    host: str | None,
    fmt: str,
) -> None:
    """Show the blocks, invocations and output lines behind a value of METRIC in RUN.

    For a metric without a value: the invocations that failed, and why. More than eight lines of a comparison
    are only listed: choose one with --benchmark, --environment and --host.
    """
    from perfctl.render import print_view
    from perfctl.render.why import why_view
    from perfctl.report.why import why_report
    from perfctl.store import open_store

    with open_store(settings.database_url, read_only=True) as store:
        report = why_report(store, run, metric, benchmark=benchmark, environment=environment, host=host)
    print_view(why_view(report), fmt)
