"""`perfctl gate`: may this run pass?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perfctl.cli.command import Command
from perfctl.errors import UsageError
from perfctl.output import Column, Format, Table, counted, emit, format_option

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings
    from perfctl.report.gate import GateLine, GateReport


class Percent(click.ParamType[float]):
    """A share written as '2%' or '0.5 %'; a number alone could mean 2 or 200 %."""

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
            self.fail(f"{value!r} is no share from 0% up, such as 2% or 0.5%", param, ctx)
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
@click.option("--metric", "metrics", multiple=True, metavar="NAME|all", help="[default: headlines]")
@click.option("--per-host", is_flag=True, help="One line per host instead of one for all hosts together.")
@click.option("--strict", is_flag=True, help="Fail also where a line is undecided or missing.")
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
    strict: bool,
    junit: Path | None,
    fmt: Format,
) -> None:
    """Exit 5 when an environment of RUN is worse than its baseline by more than it may be.

    A line is crossed when its regression is beyond the limit, passed when such a regression is excluded, else
    undecided; the chance of any wrong one over all lines is 5 % (Holm). What is missing, emulated or measured
    on a host in quarantine is never passed. Nothing to decide at all is exit 8. docs/gates.md has the rule.
    """
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
        )
    if junit is not None:
        _write_junit(report, junit, strict=strict)
    emit(_table(report, for_people=fmt in ("table", "md")), fmt)
    report.raise_for_regression(strict=strict)


def _write_junit(report: GateReport, path: Path, *, strict: bool) -> None:
    from perfctl.report.junit import junit_xml

    try:
        path.write_bytes(junit_xml(report, strict=strict))
    except OSError as error:
        raise UsageError(f"the JUnit file cannot be written: {error.strerror}", where=str(path)) from error


_FIELDS = (
    *("benchmark", "metric", "unit", "direction", "target", "environment", "baseline", "state", "why"),
    *("worse", "ratio", "low", "high", "p_crossed", "p_passed", "words", "confounded"),
)


def _table(report: GateReport, *, for_people: bool) -> Table:
    rows = [_row(line) for line in report.lines]
    if not for_people:
        return Table("gate", [Column(name) for name in _FIELDS], rows, _notes(report))
    columns = [Column(name) for name in ("state", "benchmark", "target", "metric", "environment", "words")]
    return Table("gate", [*columns, Column("why")], [row | _for_people(row) for row in rows], _notes(report))


def _for_people(row: dict[str, Any]) -> dict[str, Any]:
    confounded = f"confounded: {row['confounded']}" if row["confounded"] else ""
    return {"why": "; ".join(filter(None, (row["why"], confounded)))}


def _row(line: GateLine) -> dict[str, Any]:
    own = {
        "metric": line.metric.name if line.metric else None,
        "unit": line.metric.unit if line.metric else None,
        "direction": line.metric.direction if line.metric else None,
    }
    return {name: own[name] if name in own else getattr(line, name) for name in _FIELDS}


def _notes(report: GateReport) -> list[str]:
    from perfctl.report.gate import GateState

    against = "its own baseline"
    if report.baseline_run is not None:
        against = f"the ratios of run {report.baseline_run.run_id}"
    limit = f"{100 * report.max_regression:g} %"
    notes = [
        f"run {report.run.run_id} ({report.run.status}) against {against}: at most {limit} worse",
        ", ".join(f"{len(report.of(state))} {state}" for state in GateState)
        + f"; Holm-adjusted over {counted(report.tests, 'test')}",
    ]
    notes += [
        f"in quarantine: {item.target}, {item.failed} of {item.tests} A/A tests have p <= 0.05;"
        f" at most {item.way_out} more without a failure end it"
        for item in report.quarantined
    ]
    notes.append(f"database {report.database}")
    return notes
