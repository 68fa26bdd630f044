"""perfctl environments: where a benchmark can run."""

from __future__ import annotations

import click

from perfctl.cli.command import Command
from perfctl.cli.format import format_option


@click.command(cls=Command)
@click.argument("name", required=False)
@format_option
def environments(name: str | None, fmt: str) -> None:
    """List the built-in environments, or show what one is made of."""
    from perfctl.environments import CATALOGUE, environment
    from perfctl.render import print_view
    from perfctl.render.environments import environment_view, environments_view

    print_view(environment_view(environment(name)) if name else environments_view(CATALOGUE.values()), fmt)
