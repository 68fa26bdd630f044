"""`facts diff`: what differs between two environments, hosts or runs, the most relevant first."""

from __future__ import annotations

from perfctl.render.text import WIDTH
from perfctl.render.view import Column, Section, View, columns, cut
from perfctl.report.facts_difference import FactsReport

_WIDEST = 36
_FIELDS = ("subject", "fact", "first", "second", "places")


def facts_view(report: FactsReport) -> View:
    """Return the view; machines get every text in full."""
    records = [
        {
            "subject": item.subject,
            "fact": item.name,
            "first": item.first,
            "second": item.second,
            "places": list(item.places),
        }
        for item in report.differences
    ]
    many = len(report.compared) > 1
    shown = [
        Column("subject", "about"),
        *columns("fact"),
        Column("first", report.first),
        Column("second", report.second),
    ]
    shown += [Column("places", "where")] if many else []
    rows = [
        record
        | {key: _cell(record[key]) for key in ("first", "second")}
        | {"places": "everywhere" if item.places == report.compared else ", ".join(item.places)}
        for record, item in zip(records, report.differences, strict=True)
    ]
    warnings = [f"of {place} only one was read" for place in report.not_read]
    if report.compared and not rows:
        warnings.append("nothing differs but what changes from moment to moment")
    lead = f"{report.first} and {report.second}: {len(rows)} facts differ, the most relevant first"
    return View(
        "facts_difference",
        columns(*_FIELDS),
        records,
        sections=[Section(shown, rows)] if rows else [],
        warnings=warnings,
        lead=lead if rows else "",
        footer=[f"compared: {', '.join(report.compared) or 'nothing: no facts of both are stored'}"],
        widest=WIDTH,
    )


def _cell(text: object) -> str:
    return "(not there)" if text is None else cut(" ".join(str(text).split()), _WIDEST)
