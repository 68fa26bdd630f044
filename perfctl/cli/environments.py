"""perfctl environments: where a benchmark can run."""

from __future__ import annotations

import click

from perfctl.cli.command import Command
from perfctl.cli.format import format_option
from perfctl.cli.settings import Settings


@click.command(cls=Command)
@click.argument("name", required=False)
@click.option("--suite", metavar="NAME|FILE", help="The environments of a suite, with those that it defines.")
@format_option
@click.pass_obj
def environments(settings: Settings, name: str | None, suite: str | None, fmt: str) -> None:
    """List the built-in environments, or show what one is made of."""
    from perfctl.environments import CATALOGUE, environment
    from perfctl.render import print_view
    from perfctl.render.environments import environment_view, environments_view
    from perfctl.suites import load_suite

    if suite is None:
        view = environment_view(environment(name)) if name else environments_view(CATALOGUE.values())
    else:
        wanted = (name,) if name else None
        found = load_suite(suite, environments=wanted, project_dir=settings.project_dir).environments
        # The baseline is in front of those that were asked for.
        view = environment_view(found[-1], suite) if name else environments_view(found, suite)
    print_view(view, fmt)
