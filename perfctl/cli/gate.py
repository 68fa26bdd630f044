"""`perfctl gate`: may this run pass?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perfctl.cli.command import Command
from perfctl.cli.format import format_option
from perfctl.errors import UsageError

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings
    from perfctl.report.gate import GateReport


class Percent(click.ParamType[float]):
    """A percentage such as '2%' or '0.5 %'; a number alone could mean 2 or 200 %."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the share, e.g. 0.02. Fails for anything but a number from 0 up and a percent sign."""
        if isinstance(value, float):
            return value
        number, sign, rest = str(value).partition("%")
        try:
            share = float(number) / 100
        except ValueError:
            share = -1.0
        if not sign or rest.strip() or not 0 <= share < float("inf"):
            self.fail(f"{value!r} is no percentage: write it with its sign, e.g. 2%", param, ctx)
        return share


@click.command(cls=Command)
@click.argument("run")
@click.option(
    "--max-regression",
    type=Percent(),
    required=True,
    metavar="PERCENT",
    help="How much worse an environment may be: 2% is 1.02x slower.",
)
@click.option("--baseline", "baseline_run", metavar="RUN", help="Compare with the ratios of that run.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME|all",
    help="Only this; repeatable.  [default: headlines]",
)
@click.option("--per-host", is_flag=True, help="One line per host instead of one for all hosts together.")
@click.option("--unfinished", is_flag=True, help="Gate a run that is still going or was stopped, too.")
@click.option("--strict", is_flag=True, help="Fail when a line is undecided or missing, too.")
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write JUnit XML as well.")
@format_option
@click.pass_obj
def gate(
    settings: Settings,
    run: str,
    max_regression: float,
    baseline_run: str | None,
    metrics: tuple[str, ...],
    per_host: bool,
    unfinished: bool,
    strict: bool,
    junit: Path | None,
    fmt: str,
) -> None:
    """Exit 5 when an environment of RUN is worse than its baseline by more than it may be.

    A line is crossed when its regression is beyond the limit, passed when such a regression is excluded, else
    undecided. Over all lines, the chance that any is wrongly crossed is at most 5 % (Holm), and so is the
    chance that any is wrongly passed. Missing or emulated values, and hosts in quarantine, never pass. Exit 8
    when nothing is decided, or when the run is still going or was stopped. docs/gates.md has the rule.
    """
    from perfctl.render import print_view
    from perfctl.render.gate import gate_view
    from perfctl.report.gate import gate_report
    from perfctl.store import open_store

    with open_store(settings.database_url, read_only=True) as store:
        report = gate_report(
            store,
            run,
            max_regression=max_regression,
            baseline_run=baseline_run,
            metrics=metrics,
            per_host=per_host,
            unfinished=unfinished,
        )
    if junit is not None:
        _write_junit(report, junit, strict=strict)
    print_view(gate_view(report, strict=strict), fmt)
    report.raise_for_regression(strict=strict)


def _write_junit(report: GateReport, path: Path, *, strict: bool) -> None:
    from perfctl.render.junit import junit_xml

    try:
        path.write_bytes(junit_xml(report, strict=strict))
    except OSError as error:
        raise UsageError(f"the JUnit file cannot be written: {error.strerror}", where=str(path)) from error
