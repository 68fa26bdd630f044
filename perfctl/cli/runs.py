"""`perfctl runs`: the runs in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perfctl.cli.command import Command
from perfctl.cli.format import format_option

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings


@click.command(cls=Command)
@format_option
@click.pass_obj
def runs(settings: Settings, fmt: str) -> None:
    """List the runs in the database, the newest last."""
    from perfctl.render import print_view
    from perfctl.render.runs import runs_view
    from perfctl.store import open_store

    with open_store(settings.database_url, read_only=True) as store:
        found = store.runs()
    print_view(runs_view(found), fmt)
