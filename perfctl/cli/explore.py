"""`perfctl explore`: the database in a browser."""

from __future__ import annotations

import click

from perfctl.cli.command import Command
from perfctl.cli.settings import Settings


@click.command(cls=Command)
@click.option("--port", type=click.IntRange(1, 65535), default=8001, show_default=True, help="Its port here.")
@click.pass_obj
def explore(settings: Settings, port: int) -> None:
    """Browse the database in Datasette, which serves it read-only on this machine until Ctrl-C.

    It has the views of `perfctl query`, described, with facets and the queries that come with perfctl.
    """
    from perfctl.render.explore import serve

    serve(settings.database_url, port=port)
