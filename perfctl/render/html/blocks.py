"""The table behind the charts of a target: every block with the values of its legs, and what was flagged."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from perfctl.model import Status
from perfctl.model.quantity import MISSING, counted, number
from perfctl.render.html.tables import Cell, Heading, Table
from perfctl.render.svg.legs import LegSeries, leg_name, state_of
from perfctl.report.document import MeasuredCell
from perfctl.report.outliers import counted_words
from perfctl.store import Evidence

MOST_FLAGGED = 8
"""Flagged and invalid invocations of a target that are named with what was counted; the rest is counted."""

_MARKS = {"outlier": "o", "flagged": "f", "invalid": "x"}


def block_table(cell: MeasuredCell, legs: Sequence[LegSeries], baseline: str, *, id_: str) -> Table:
    """Return a row per block: when it began, the value of each leg, the change, the order of the legs."""
    blocks: dict[int, dict[tuple[str, int], Evidence]] = {}
    for item in cell.invocations:
        blocks.setdefault(item.block, {})[item.environment, item.replicate] = item
    planned = dict.fromkeys(
        [*((leg.environment, leg.replicate) for leg in legs)]
        + [(item.environment, item.replicate) for item in cell.invocations]
    )
    names = list(planned)
    others = [name for name in dict.fromkeys(name for name, _ in names) if name != baseline]
    outliers = {leg for item in cell.comparisons for leg in item.outliers}
    start_s = min((item.started_at for item in cell.invocations), default=0.0)
    headings = [
        *(Heading("block"), Heading("after (s)")),
        *(Heading(leg_name(*leg)) for leg in names),
    ]
    headings += [*(Heading(f"{name} (%)") for name in others), Heading("order", is_sortable=False)]
    rows = []
    for block, found in sorted(blocks.items()):
        in_order = sorted(found.values(), key=lambda item: item.position)
        first_s = min(item.started_at for item in in_order) - start_s
        row = [Cell(str(block)), Cell(f"{first_s:,.0f}")]
        row += [_value(found.get(leg), (*leg, block) in outliers) for leg in names]
        row += [_change(cell.differences.get((name, block))) for name in others]
        row.append(Cell(" ".join(_number_of(names, item) for item in in_order)))
        rows.append(row)
    legend = ", ".join(f"{place} {leg_name(*leg)}" for place, leg in enumerate(names, 1))
    notes = [f"after: since the first invocation; %: against {baseline}; order: as the legs ran, {legend}"]
    if any(cell_.text.endswith((" f", " o", " x")) for row in rows for cell_ in row):
        notes.append("f flagged (disturbed), o outlier: both count; x invalid: is in no figure")
    caption = f"Every block of {cell.benchmark} on {cell.target}: {cell.metric.name} in {cell.metric.unit}"
    return Table(caption, headings, rows, notes, id=id_, classes="blocks")


def _number_of(names: Sequence[tuple[str, int]], item: Evidence) -> str:
    return str(names.index((item.environment, item.replicate)) + 1)


def _value(item: Evidence | None, is_outlier: bool) -> Cell:
    if item is None:
        return Cell(MISSING)
    if item.status is not Status.OK or item.value is None:
        return Cell(str(item.reason or item.status) if item.status is not Status.OK else "no value", "lost")
    mark = _MARKS.get(state_of(item, is_outlier), "")
    return Cell(f"{number(item.value)} {mark}".rstrip())


def _change(difference: float | None) -> Cell:
    return Cell(MISSING if difference is None else f"{100 * math.expm1(difference):+.2f}")


def flagged_table(cell: MeasuredCell, findings: Mapping[str, tuple[str, ...]], run_id: str) -> Table | None:
    """Return the first invocations that are flagged, invalid or without a value, and why; None for none."""
    outliers = {leg for item in cell.comparisons for leg in item.outliers}
    found = []
    for item in cell.invocations:
        state = state_of(item, (item.environment, item.replicate, item.block) in outliers)
        if item.status is not Status.OK:
            why = item.detail or str(item.reason)
            found.append((item, f"{item.status} ({item.reason})" if item.reason else str(item.status), why))
        elif state:
            found.append((item, state, counted_words(findings.get(item.invocation_id, ()), item.validity)))
    if not found:
        return None
    # What is in no figure first: a busy host flags everything.
    found.sort(key=lambda entry: (entry[1] == "flagged", entry[1] == "outlier"))
    rows = [
        [Cell(str(item.block), "n"), Cell(leg_name(item.environment, item.replicate)), Cell(state), Cell(why)]
        for item, state, why in found[:MOST_FLAGGED]
    ]
    more = len(found) - MOST_FLAGGED
    notes = (
        [f"and {counted(more, 'invocation')} more: perfctl why {run_id} {cell.metric.name}"]
        if more > 0
        else []
    )
    headings = [Heading("block", "n"), Heading("leg"), Heading("state"), Heading("what was counted, or why")]
    caption = f"Flagged, invalid, or without a value: {_states(entry[1] for entry in found)}"
    return Table(caption, headings, rows, notes)


def _states(states: Iterable[str]) -> str:
    """Return e.g. '3 invalid, 1 failed (timeout), 12 flagged'."""
    return ", ".join(f"{count} {state}" for state, count in Counter(states).items())
