"""`perfctl query`: read-only SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perfctl.cli.command import Command
from perfctl.cli.format import format_option
from perfctl.errors import UsageError

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings


@click.command(cls=Command)
@click.argument("sql", required=False)
@click.option("--named", metavar="NAME", help="A query that comes with perfctl.")
@click.option(
    "--all-metrics", is_flag=True, help="With --named overhead: every metric, not only the headlines."
)
@click.option("--list", "wants_list", is_flag=True, help="List the queries that come with perfctl.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Stop a query that takes longer.",
)
@format_option
@click.pass_obj
def query(
    settings: Settings,
    sql: str | None,
    named: str | None,
    all_metrics: bool,
    wants_list: bool,
    timeout_s: float,
    fmt: str,
) -> None:
    """Read-only SQL over the views v_run, v_block, v_invocation, v_value, v_sample, v_finding, v_artifact.

    One SELECT, as text or by name; docs/database.md lists the columns. For example:

    \b
        perfctl query "SELECT benchmark, environment, median(value) FROM v_value
                       WHERE metric = 'events_per_second' AND replicate = 1 GROUP BY 1, 2"
    """
    from perfctl.render import print_view
    from perfctl.render.query import queries_view, rows_view
    from perfctl.store import named_queries, named_query, open_store
    from perfctl.store import query as run_query

    if (sql is not None) + (named is not None) + wants_list != 1:
        raise UsageError("give one of: an SQL text, --named NAME, --list", hint="perfctl query --list")
    if wants_list:
        print_view(queries_view(named_queries()), fmt)
        return
    chosen = named_query(named) if named is not None else None
    if all_metrics and not (chosen and chosen.takes_all_metrics):
        raise UsageError("--all-metrics goes with --named overhead only")
    text = chosen.sql if chosen else str(sql)
    with open_store(settings.database_url, read_only=True) as store:
        rows = run_query(store, text, timeout_s=timeout_s, all_metrics=all_metrics)
    print_view(rows_view(rows), fmt)
