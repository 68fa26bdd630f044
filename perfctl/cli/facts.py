"""`perfctl facts`: what is stored of hosts and environments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perfctl.cli.command import Group
from perfctl.cli.format import format_option

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings


@click.group(cls=Group)
def facts() -> None:
    """What was true of hosts and environments when they were measured; see docs/facts.md."""


@facts.command()
@click.argument("run")
@click.argument("first", metavar="A")
@click.argument("second", metavar="[B]", required=False)
@format_option
@click.pass_obj
def diff(settings: Settings, run: str, first: str, second: str | None, fmt: str) -> None:
    """Show what differs between A and B: two environments of RUN, or two of its hosts.

    Without B, A is another run: its hosts and environments are held against those of RUN with the same names.
    What most likely explains a figure comes first: programs, interpreter, allocator, seccomp, other security.
    JSON has every text in full.
    """
    from perfctl.render import print_view
    from perfctl.render.facts import facts_view
    from perfctl.report.facts_difference import facts_report
    from perfctl.store import open_store

    with open_store(settings.database_url, read_only=True) as store:
        report = facts_report(store, run, first, second)
    print_view(facts_view(report), fmt)
