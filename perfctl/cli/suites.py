"""perfctl suites: what can be measured with one word."""

from __future__ import annotations

import click

from perfctl.cli.command import Command
from perfctl.cli.format import format_option
from perfctl.cli.settings import Settings


@click.command(cls=Command)
@click.argument("name", required=False)
@format_option
@click.pass_obj
def suites(settings: Settings, name: str | None, fmt: str) -> None:
    """List the suites (built in, and the project's suites/*.toml), or show the benchmarks of one.

    NAME may be a file: anything with a '/' or the ending .toml.
    """
    from perfctl.render import print_view
    from perfctl.render.suites import suite_view, suites_view
    from perfctl.suites import list_suites, load_suite

    if name:
        print_view(suite_view(load_suite(name, project_dir=settings.project_dir)), fmt)
    else:
        print_view(suites_view(list_suites(settings.project_dir)), fmt)
