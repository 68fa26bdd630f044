"""`perfctl compare`: what each environment costs against the baseline, in one run or from run to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perfctl.cli.command import Command
from perfctl.cli.comparison_table import comparison_table, left_out_table
from perfctl.cli.outlier_table import outlier_table
from perfctl.cli.run_comparison_table import run_comparison_table
from perfctl.errors import UsageError
from perfctl.output import Format, emit, format_option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perfctl.cli.settings import Settings
    from perfctl.report import LeftOut

DIMENSIONS = ("environment", "host", "kernel", "tool", "image", "accelerator", "settings")


@click.command(cls=Command)
@click.argument("run")
@click.argument("other_run", metavar="[RUN2]", required=False)
@click.option(
    "--by",
    type=click.Choice(DIMENSIONS),
    help="What is compared. With RUN2, the one thing that may differ.  [default: environment]",
)
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
    other_run: str | None,
    by: str | None,
    metrics: tuple[str, ...],
    all_metrics: bool,
    baseline: str | None,
    sensitivity: bool,
    fmt: Format,
) -> None:
    """What each environment costs against the baseline, from the paired blocks of RUN.

    RUN is a run's id, its unique beginning or end, or 'latest'. A line begins with its verdict: different;
    different, small; equivalent; or inconclusive. It has both values (medians over blocks), the ratio in
    words with its exact interval, p and q, and the blocks it rests on. Lines over all hosts and over the
    suite come last; the A/A lines compare the baseline with itself. docs/comparison.md says how to read them.

    With RUN2 each environment is compared with itself in the other run, by its ratio to the baseline of its
    own run. What else differs marks it as confounded; --by names the one thing that may differ, and refuses
    the rest. --by host without RUN2 compares the hosts of a run.
    """
    wanted = (*metrics, "all") if all_metrics else metrics
    for_people = fmt in ("table", "md")
    if other_run is None and by in (None, "environment"):
        _one_run(settings, run, wanted, baseline, fmt, sensitivity=sensitivity)
        return
    if other_run is None and by != "host":
        raise UsageError(f"one run cannot be compared by {by}", hint="name a second run: compare RUN RUN2")
    from perfctl.report import run_report
    from perfctl.store import open_store

    chosen = None if by == "environment" else by
    with open_store(settings.database_url, read_only=True) as store:
        report = run_report(store, run, other_run, by=chosen, baseline=baseline, metrics=wanted)
    emit(run_comparison_table(report, for_people=for_people), fmt)
    if for_people:
        first, second = report.left_out
        _emit_left_out({"first": first, "second": second} if not report.is_one_run else {"": first}, fmt)


def _one_run(
    settings: Settings,
    run: str,
    metrics: tuple[str, ...],
    baseline: str | None,
    fmt: Format,
    *,
    sensitivity: bool,
) -> None:
    from perfctl.report import comparison_report
    from perfctl.store import open_store

    for_people = fmt in ("table", "md")
    with open_store(settings.database_url, read_only=True) as store:
        report = comparison_report(store, run, baseline=baseline, metrics=metrics)
    emit(comparison_table(report, for_people=for_people, sensitivity=sensitivity), fmt)
    if for_people:
        _emit_left_out({"": report.left_out}, fmt)
        if report.outliers:
            click.echo("\noutliers (they are in every figure):\n")
            emit(outlier_table(report.outliers, report.run.run_id), fmt)


def _emit_left_out(parts: Mapping[str, Sequence[LeftOut]], fmt: Format) -> None:
    if any(parts.values()):
        click.echo("\nleft out:\n")
        emit(left_out_table(parts), fmt)
