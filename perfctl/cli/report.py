"""`perfctl report`: a run, or two, as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perfctl.cli.command import Command

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings


@click.command(cls=Command)
@click.argument("run")
@click.argument("other_run", metavar="[RUN2]", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The HTML file to write.",
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME|all", help="Only this metric; repeat for more."
)
@click.option("--baseline", metavar="NAME", help="Another environment to compare with.")
@click.pass_obj
def report(
    settings: Settings,
    run: str,
    other_run: str | None,
    output: Path,
    force: bool,
    metrics: tuple[str, ...],
    baseline: str | None,
) -> None:
    """Write all that is known of RUN to one HTML file, with the verdicts of `perfctl compare`.

    The file needs no network and no other file, and may be forwarded. It has the answer in three sentences,
    the forest plot, every block of every benchmark, what was left out, and how to reproduce it. With RUN2:
    how the costs changed. docs/report.md describes it.
    """
    from perfctl.render.files import write_new
    from perfctl.render.html import run_page, two_runs_page
    from perfctl.report.document import run_document, two_runs_document
    from perfctl.store import open_store

    with open_store(settings.database_url, read_only=True) as store:
        if other_run is None:
            page = run_page(run_document(store, run, baseline=baseline, metrics=metrics))
        else:
            page = two_runs_page(two_runs_document(store, run, other_run, baseline=baseline, metrics=metrics))
    size = write_new(output, page.encode("utf-8", "replace"), force=force)
    click.echo(f"wrote {output} ({size:,} bytes)", err=True)
