"""`perfctl compare`: what each environment costs against the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perfctl.cli.comparison_table import comparison_table, left_out_table
from perfctl.output import Format, emit, format_option

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings


@click.command()
@click.argument("run")
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME|all", help="Only this metric; repeat for more."
)
@click.option("--all-metrics", is_flag=True, help="Every metric, not only the headlines; as --metric all.")
@click.option(
    "--baseline", metavar="NAME", help="Another environment to compare with.  [default: the suite's]"
)
@click.option(
    "--sensitivity", is_flag=True, help="What comes out without flagged blocks, also where it is the same."
)
@format_option
@click.pass_obj
def compare(
    settings: Settings,
    run: str,
    metrics: tuple[str, ...],
    all_metrics: bool,
    baseline: str | None,
    sensitivity: bool,
    fmt: Format,
) -> None:
    """What each environment costs against the baseline, from the paired blocks of RUN.

    RUN is a run's id, its unique beginning or end, or 'latest'. A line has both values (medians over blocks),
    the ratio in words with its exact interval and p, and the blocks it rests on; the A/A lines compare the
    baseline with itself. docs/comparison.md says how to read them.
    """
    from perfctl.report import comparison_report
    from perfctl.store import open_store

    wanted = (*metrics, "all") if all_metrics else metrics
    with open_store(settings.database_url, read_only=True) as store:
        report = comparison_report(store, run, baseline=baseline, metrics=wanted)
    for_people = fmt in ("table", "md")
    emit(comparison_table(report, for_people=for_people, sensitivity=sensitivity), fmt)
    if for_people and report.left_out:
        click.echo("\nleft out:\n")
        emit(left_out_table(report), fmt)
