"""`perfctl compare`: what each environment costs against the baseline, in one run or from run to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perfctl.cli.command import Command
from perfctl.cli.format import format_option
from perfctl.errors import UsageError

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings

DIMENSIONS = ("environment", "host", "kernel", "tool", "image", "accelerator", "settings")


@click.command(cls=Command)
@click.argument("run")
@click.argument("other_run", metavar="[RUN2]", required=False)
@click.option(
    "--by",
    metavar="WHAT",
    help="What is compared: environment, host, or a parameter that benchmarks of the run differ in."
    f" With RUN2, the one thing that may differ: {', '.join(DIMENSIONS[1:])}.  [default: environment]",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME|all",
    help="Only this metric, e.g. user_s; repeat for more.",
)
@click.option(
    "--benchmark",
    "benchmarks",
    multiple=True,
    metavar="NAME",
    help="Only its lines, with the verdicts they have among all; repeat for more.",
)
@click.option("--all-metrics", is_flag=True, help="Every metric, not only the headlines; as --metric all.")
@click.option(
    "--baseline", metavar="NAME", help="Another environment to compare with.  [default: the suite's]"
)
@click.option(
    "--sensitivity", is_flag=True, help="What comes out without flagged blocks, also where it is the same."
)
@click.option(
    "--aa", "has_aa", is_flag=True, help="Show the rows of the A/A tests, too; JSON and CSV have them."
)
@format_option
@click.pass_obj
def compare(
    settings: Settings,
    run: str,
    other_run: str | None,
    by: str | None,
    metrics: tuple[str, ...],
    benchmarks: tuple[str, ...],
    all_metrics: bool,
    baseline: str | None,
    sensitivity: bool,
    has_aa: bool,
    fmt: str,
) -> None:
    """What each environment costs against the baseline, from the paired blocks of RUN.

    RUN is a run's id, its unique beginning or end, or 'latest'. Each benchmark and metric has a table: both
    medians over blocks, the ratio in words with its exact interval, the verdict (different; different, small;
    equivalent; or inconclusive), q, and n, the blocks it rests on. Notes say what an inconclusive line would
    detect and what it needs. docs/comparison.md says how to read them.

    With RUN2 each environment is compared with itself in the other run, by its ratio to the baseline of its
    own run. What else differs marks it as confounded; --by names the one thing that may differ, and refuses
    the rest. --by host without RUN2 compares the hosts of a run, --by threads has one table for benchmarks
    that differ in their number of threads alone, from the smallest to the largest.
    """
    from perfctl.render import print_view
    from perfctl.render.comparison import comparison_view
    from perfctl.render.run_comparison import run_comparison_view
    from perfctl.report import comparison_report, run_report
    from perfctl.report.sweep import sweep_by
    from perfctl.store import open_store

    wanted = (*metrics, "all") if all_metrics else metrics
    dimension = None if by == "environment" else by
    is_sweep = other_run is None and dimension is not None and dimension not in DIMENSIONS
    is_one_run = other_run is None and (dimension is None or is_sweep)
    if other_run is None and not is_sweep and dimension not in (None, "host"):
        raise UsageError(f"one run cannot be compared by {by}", hint="name a second run: compare RUN RUN2")
    with open_store(settings.database_url, read_only=True) as store:
        if is_one_run:
            report = comparison_report(store, run, baseline=baseline, metrics=wanted, benchmarks=benchmarks)
            measured = store.run(run).detail().benchmarks if is_sweep else ()
            sweep = sweep_by(measured, by) if is_sweep and by else None
            view = comparison_view(report, sweep=sweep, sensitivity=sensitivity, has_aa=has_aa)
        else:
            runs = run_report(
                store,
                run,
                other_run,
                by=dimension,
                baseline=baseline,
                metrics=wanted,
                benchmarks=benchmarks,
            )
            view = run_comparison_view(runs)
    print_view(view, fmt)
