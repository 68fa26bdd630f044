"""perfctl workloads: the programs that users define in TOML."""

from __future__ import annotations

from pathlib import Path

import click

from perfctl.cli.command import Command, Group
from perfctl.cli.format import format_option
from perfctl.cli.settings import Settings


@click.group(cls=Group)
def workloads() -> None:
    """Check programs of your own, defined in TOML (docs/workloads.md)."""


@workloads.command(cls=Command)
@click.argument("name")
@click.option("--suite", help="Look in this suite, too: its name, or its file.")
@click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="Set a parameter.")
@click.option(
    "--output",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="What the program printed, in a file (- is standard input): show what is read from which line.",
)
@format_option
@click.pass_obj
def check(
    settings: Settings,
    name: str,
    suite: str | None,
    parameters: tuple[str, ...],
    output: Path | None,
    fmt: str,
) -> None:
    """Show what workload NAME runs, or what would be read from a real output of it."""
    from perfctl.cli.variables import parse_parameters
    from perfctl.render import print_view
    from perfctl.render.workloads import commands_view, readings_view
    from perfctl.report.example import read_example
    from perfctl.suites import find_workload
    from perfctl.workloads import parameters_from_texts

    workload = find_workload(name, suite=suite, project_dir=settings.project_dir)
    resolved = parameters_from_texts(workload, parse_parameters(parameters))
    if output is None:
        print_view(commands_view(workload, resolved), fmt)
        return
    with click.open_file(str(output), "rb") as file:
        text = file.read().decode("utf-8", "backslashreplace")
    print_view(readings_view(read_example(workload, resolved, text)), fmt)
