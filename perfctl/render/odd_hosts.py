"""`odd-hosts`: the hosts that do not belong to the others, and what tells them apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perfctl.compare import format_p, format_ratio
from perfctl.model.quantity import counted
from perfctl.render.view import Column, Section, View, columns, cut
from perfctl.report.odd_hosts import OddHost, OddHosts, Oddity
from perfctl.stats.odd import FEWEST

_FIELDS = ("host", "benchmark", "metric", "of", "factor", "z", "p", "facts")
_MOST_ROWS = 6
"""Oddities of a host that people see: a slow host is slow everywhere."""


def odd_hosts_view(found: OddHosts) -> View:
    """Return the view of the odd hosts of a run, a record for each value that is odd."""
    records = [_record(host, item) for host in found.found for item in host.oddities]
    sections = [section for host in found.found for section in host_sections(host)]
    return View("odd_hosts", columns(*_FIELDS), records, sections=sections, footer=[odd_hosts_note(found)])


def odd_hosts_note(found: OddHosts) -> str:
    """Return what was tested, and how sure it is."""
    if not found.tests:
        return (
            f"no host can be called odd: that takes {FEWEST} hosts with values of one benchmark, or"
            f" more, and the run has {found.hosts}"
        )
    named = ", ".join(item.host for item in found.found) or "none"
    pairs = "; what a pair measured counts for both of its hosts" if found.has_pairs else ""
    return (
        f"odd hosts: {named}; {counted(found.tests, 'test')} of {counted(found.hosts, 'host')}, corrected"
        f" together (Holm, p <= 0.05): of runs without an odd host at most 1 in 20 names one{pairs}"
    )


def host_sections(host: OddHost) -> list[Section]:
    """Return two tables of one host: what is odd, and the facts that it has and most others do not."""
    shown = [*columns("benchmark", "metric", "of"), *columns("difference", "z", "p", align="right")]
    rows = [
        {
            "benchmark": item.benchmark,
            "metric": item.metric.name,
            "of": _of(item),
            "difference": difference(item),
            "z": f"{item.z:+.1f}",
            "p": format_p(item.p),
        }
        for item in host.oddities[:_MOST_ROWS]
    ]
    more = len(host.oddities) - _MOST_ROWS
    notes = ["against the median of all hosts"] + ([f"and {more} more"] if more > 0 else [])
    return [Section(shown, rows, f"{host.host}: what is odd", notes), _facts(host)]


def _facts(host: OddHost) -> Section:
    shown = [*columns("fact"), Column("value", f"on {host.host}"), Column("most", "on most others")]
    shown.append(Column("separation", "separates", align="right"))
    rows: Sequence[dict[str, Any]] = [
        {
            "fact": item.name,
            "value": cut(first_difference(item.value, item.most)),
            "most": cut(first_difference(item.most, item.value)),
            "separation": f"{100 * item.separation:.0f} %",
        }
        for item in host.facts
    ]
    notes = (
        [] if rows else ["no fact tells it apart: look at what is not a fact (cooling, a neighbour, a cable)"]
    )
    return Section(shown, rows, f"{host.host}: facts that it has and most others do not", notes)


def first_difference(text: str, other: str) -> str:
    """Return the first line of `text` that `other` does not have; the first line where it has all of them."""
    lines, theirs = text.split("\n"), set(other.split("\n"))
    return next((line for line in lines if line not in theirs), lines[0]) or "(empty)"


def difference(item: Oddity) -> str:
    """Return e.g. '1.10x slower'; of a cost, that of the ratio to the baseline."""
    return format_ratio(item.factor, item.metric.direction)


def _of(item: Oddity) -> str:
    return f"cost of {item.environment}" if item.environment else "level of the baseline"


def _record(host: OddHost, item: Oddity) -> dict[str, Any]:
    return {
        "host": host.host,
        "benchmark": item.benchmark,
        "metric": item.metric.name,
        "of": item.environment or "baseline",
        "factor": item.factor,
        "z": item.z,
        "p": item.p,
        "facts": [
            {"name": fact.name, "value": fact.value, "most": fact.most, "separation": fact.separation}
            for fact in host.facts
        ],
    }
