"""`perfctl trend`: one benchmark over all runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perfctl.cli.command import Command
from perfctl.cli.format import format_option
from perfctl.errors import UsageError

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings


@click.command(cls=Command)
@click.argument("benchmark", required=False)
@click.option("--metric", metavar="NAME", help="Another metric.  [default: the headline]")
@click.option("--environment", "environments", multiple=True, metavar="NAME", help="Only this; repeatable.")
@click.option("--host", "hosts", multiple=True, metavar="NAME", help="Only this and its pairs; repeatable.")
@click.option(
    "--last",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="Print the newest N rows of each series; JSON and CSV always have all.",
)
@format_option
@click.pass_obj
def trend(
    settings: Settings,
    benchmark: str | None,
    metric: str | None,
    environments: tuple[str, ...],
    hosts: tuple[str, ...],
    last: int,
    fmt: str,
) -> None:
    """One BENCHMARK over all runs: where its cost changed, how sure that is, and what changed with it.

    A point is a run: the ratio of an environment to the baseline of the same run. The raw baseline is shown,
    too, and never raises an alarm. A changed fingerprint begins a new segment. docs/trends.md has the
    rules.
    """
    from perfctl.render import print_view
    from perfctl.render.trend import trend_view
    from perfctl.report.trend import known_benchmarks, trend_report
    from perfctl.store import open_store

    with open_store(settings.database_url, read_only=True) as store:
        if benchmark is None:
            raise UsageError("name a benchmark", hint=f"there are: {', '.join(known_benchmarks(store))}")
        report = trend_report(store, benchmark, metric=metric, environments=environments, hosts=hosts)
    print_view(trend_view(report, last=last), fmt)
