"""`perfctl export`: a run for other programs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perfctl.cli.command import Command
from perfctl.cli.format import FormatName

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings


def _names() -> Collection[str]:
    from perfctl.render.export import EXPORTS

    return EXPORTS


@click.command(cls=Command)
@click.argument("run")
@click.option("--format", "fmt", type=FormatName(_names), required=True, help="The format to write.")
@click.option(
    "--what",
    type=click.Choice(["samples", "comparisons"]),
    default="samples",
    show_default=True,
    help="Every sample, or the lines of `perfctl compare`.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="A file, or a folder for one file per environment.  [default: stdout]",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.pass_obj
def export(settings: Settings, run: str, fmt: str, what: str, output: Path | None, force: bool) -> None:
    """Write the samples of RUN, or its comparisons, in a format that other programs read.

    What is for statistics (pyperf, benchstat, openmetrics) has the values that comparisons use, without
    warm-up; the others have every sample of every invocation, with its status. docs/export.md says more.
    """
    from perfctl.render.export.files import export_comparisons, export_samples, write_exports
    from perfctl.report import comparison_report
    from perfctl.report.export import sample_report
    from perfctl.store import open_store

    is_folder = output is not None and output.is_dir()
    with open_store(settings.database_url, read_only=True) as store:
        if what == "samples":
            parts = export_samples(sample_report(store, run), fmt, by_environment=is_folder)
        else:
            parts = export_comparisons(comparison_report(store, run), fmt)
    for path in write_exports(parts, output, force=force):
        click.echo(f"wrote {path} ({path.stat().st_size:,} bytes)", err=True)
