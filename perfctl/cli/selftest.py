"""`perfctl selftest`: is the instrument itself sound?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from perfctl.cli.command import Command
from perfctl.output import Column, Format, Table, counted, emit, format_option

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings
    from perfctl.report.health import Health
    from perfctl.stats import Estimate


@click.command(cls=Command)
@format_option
@click.pass_obj
def selftest(settings: Settings, fmt: Format) -> None:
    """How often the baseline differs from itself, over all runs and on every host (exit 7: too often).

    Every block runs the baseline twice, and by chance 1 such A/A test in 20 has p <= 0.05. A host that fails
    more for sure is in quarantine: gates leave it out until it has measured well again. docs/gates.md has the
    rule. No test yet, or too few to judge, is exit 0.
    """
    from perfctl.errors import Refused
    from perfctl.report.health import health
    from perfctl.store import open_store

    with open_store(settings.database_url, read_only=True) as store:
        found = health(store)
    emit(_table(found, for_people=fmt in ("table", "md")), fmt)
    hint = "docs/gates.md says how quarantine ends; `perfctl trend BENCHMARK` shows the raw baselines"
    if found.quarantined:
        names = ", ".join(str(item.target) for item in found.quarantined)
        raise Refused(f"in quarantine: {names}", where="selftest", hint=hint)
    if found.is_unsound:
        raise Refused("the baseline differs from itself too often", where="selftest", hint=hint)


def _table(found: Health, *, for_people: bool) -> Table:
    columns = [
        Column("target"),
        Column("runs", align="right"),
        Column("tests", "A/A tests", align="right"),
        Column("failed", "p <= 0.05", align="right"),
    ]
    shown = ("rate", "interval") if for_people else ("rate", "low", "high", "confidence")
    columns += [Column(name) for name in (*shown, "state", "way_out")]
    whole = {
        "target": "all",
        "runs": found.runs,
        "tests": found.tests,
        "failed": found.failed,
        "state": "too high" if found.is_unsound else "ok" if found.tests else "no A/A test yet",
        "way_out": None,
    }
    rows = [whole | _rate(found.interval, for_people=for_people)]
    for item in found.targets:
        own: dict[str, Any] = {
            "target": str(item.target),
            "runs": item.runs,
            "tests": item.tests,
            "failed": item.failed,
            "state": item.state,
            "way_out": item.way_out,
        }
        if for_people and item.way_out is not None:
            own["way_out"] = f"{counted(item.way_out, 'test')} without a failure"
        rows.append(own | _rate(item.interval, for_people=for_people))
    return Table("selftest", columns, rows, _notes(found))


def _rate(interval: Estimate, *, for_people: bool) -> dict[str, Any]:
    if not for_people:
        return {
            "rate": interval.estimate,
            "low": interval.low,
            "high": interval.high,
            "confidence": interval.confidence,
        }
    if interval.estimate is None or interval.low is None or interval.high is None:
        return {"rate": None, "interval": None}
    ends = f"{100 * interval.low:.1f} to {100 * interval.high:.1f} %"
    return {"rate": f"{100 * interval.estimate:.1f} %", "interval": f"{ends} ({interval.confidence:.0%})"}


def _notes(found: Health) -> list[str]:
    notes = ["an A/A test is the baseline against itself in one run: about 5 % have p <= 0.05 by chance"]
    if not found.tests:
        notes.append("there is no A/A test yet: it needs 6 blocks of one benchmark on one host")
    return [*notes, f"database {found.database}"]
