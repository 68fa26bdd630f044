"""`selftest`: how often the baseline differs from itself."""

from __future__ import annotations

from typing import Any

from perfctl.model.quantity import counted
from perfctl.render.view import Column, Section, View, columns
from perfctl.report.health import Health, TargetHealth

_COUNTS = (
    Column("target"),
    Column("runs", align="right"),
    Column("tests", "A/A tests", align="right"),
    Column("failed", "p <= 0.05", align="right"),
)


def health_view(found: Health) -> View:
    """Return the view of the A/A rates over all hosts and on every host."""
    records = [_whole(found), *map(_target, found.targets)]
    notes = ["an A/A test is the baseline against itself in one run: about 5 % have p <= 0.05 by chance"]
    if not found.tests:
        notes.append("there is no A/A test yet: it needs 6 blocks of one benchmark on one host")
    return View(
        "selftest",
        [*_COUNTS, *columns("rate", "low", "high", "confidence", "state", "way_out")],
        records,
        sections=[
            Section(
                [*_COUNTS, *columns("rate", "interval", "state"), Column("way_out", "way out")],
                [record | _for_people(record) for record in records],
            )
        ],
        footer=notes,
        database=found.database,
    )


def rate_note(found: Health) -> str:
    """Return the A/A rate over the database in one line; '' where there is no test yet."""
    interval = found.interval
    if interval.estimate is None:
        return ""
    low, high = interval.low or 0.0, interval.high or 0.0
    return (
        f"A/A over the database: {found.failed} of {counted(found.tests, 'test')} in"
        f" {counted(found.runs, 'run')} ({100 * interval.estimate:.1f} %,"
        f" 95 % CI {100 * low:.1f} to {100 * high:.1f} %)"
    )


def _whole(found: Health) -> dict[str, Any]:
    state = "too high" if found.is_unsound else "ok" if found.tests else "no A/A test yet"
    return _counts(found) | {"target": "all", "state": state, "way_out": None}


def _target(found: TargetHealth) -> dict[str, Any]:
    return _counts(found) | {"target": str(found.target), "state": found.state, "way_out": found.way_out}


def _counts(found: Health | TargetHealth) -> dict[str, Any]:
    interval = found.interval
    return {
        "runs": found.runs,
        "tests": found.tests,
        "failed": found.failed,
        "rate": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "confidence": interval.confidence,
    }


def _for_people(record: dict[str, Any]) -> dict[str, Any]:
    way_out = record["way_out"]
    found = {"way_out": None if way_out is None else f"{counted(way_out, 'test')} without a failure"}
    if record["rate"] is None:
        return found | {"interval": None}
    ends = f"{100 * record['low']:.1f} to {100 * record['high']:.1f} %"
    return found | {
        "rate": f"{100 * record['rate']:.1f} %",
        "interval": f"{ends} ({record['confidence']:.0%})",
    }
