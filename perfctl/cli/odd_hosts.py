"""`perfctl odd-hosts`: which machine does not belong to the others, and what tells it apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perfctl.cli.command import Command
from perfctl.cli.format import format_option

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings


@click.command(cls=Command, name="odd-hosts")
@click.argument("run")
@format_option
@click.pass_obj
def odd_hosts(settings: Settings, run: str, fmt: str) -> None:
    """Name the hosts of RUN whose level or cost is far from the others', and what they alone have."""
    from perfctl.render import print_view
    from perfctl.render.odd_hosts import odd_hosts_view
    from perfctl.report.document import run_odd_hosts
    from perfctl.store import open_store

    with open_store(settings.database_url, read_only=True) as store:
        print_view(odd_hosts_view(run_odd_hosts(store, run)), fmt)
