"""`perfctl plot`: one kind of chart of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perfctl.cli.command import Command
from perfctl.errors import UsageError

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings


@click.command(cls=Command)
@click.argument("run")
@click.option("--kind", type=click.Choice(["forest", "blocks", "ecdf", "order"]), required=True)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The SVG or PNG file to write."
)
@click.option("--in-terminal", is_flag=True, help="Print it as text: forest and blocks.")
@click.option("--benchmark", metavar="NAME", help="Only this benchmark.")
@click.option("--host", metavar="NAME", help="Only this host and its pairs.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@click.pass_obj
def plot(
    settings: Settings,
    run: str,
    kind: str,
    output: Path | None,
    in_terminal: bool,
    benchmark: str | None,
    host: str | None,
    force: bool,
) -> None:
    """Draw one kind of chart of RUN, as `perfctl report` has it, as an SVG or PNG file or on the terminal.

    forest: the ratio and interval of every line; blocks: the values of every block; ecdf: their distribution;
    order: their course over time. docs/report.md says how to read them.
    """
    from perfctl.render.plot import write_plot
    from perfctl.report.document import run_document
    from perfctl.store import open_store

    if (output is None) is not in_terminal:
        raise UsageError("give one of: -o FILE.svg, -o FILE.png, --in-terminal", hint="perfctl plot --help")
    with open_store(settings.database_url, read_only=True) as store:
        document = run_document(store, run)
    write_plot(document, kind, output, benchmark=benchmark, host=host, force=force)
