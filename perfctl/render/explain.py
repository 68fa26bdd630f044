"""`explain`: which counters moved with a difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perfctl.compare import format_comparison, format_p
from perfctl.model.quantity import counted, number
from perfctl.render.figures import heading
from perfctl.render.view import Column, Section, View, columns
from perfctl.report.explanation import LEVEL, CounterChange, Explanation

_MOST_OTHERS = 15
_LARGE, _SMALL = 2.0, 0.01
"""A change of more is told as a factor, one of less with decimals."""

ASSOCIATION = "This is association: what moved with the difference need not be its cause."
_OF_HOST = (
    "Counters are of the whole host while the command ran, with what brings it into its environment (such as"
    " `docker exec`), which weighs in a short one. They are of the client's host of a pair."
)

_FIELDS = (
    *("benchmark", "target", "environment", "unit_of_work", "counter", "is_tested", "has_moved", "blocks"),
    *("baseline_value", "value", "ratio", "low", "high", "p", "q", "aa_ratio"),
)


def explanations_view(found: Sequence[Explanation]) -> View:
    """Return the view of the explanations: machines get every counter, people the first ones."""
    return View(
        "explanation",
        columns(*_FIELDS),
        [_record(item, change) for item in found for change in (*item.tested, *item.others)],
        sections=[section for item in found for section in _sections(item)],
        footer=[ASSOCIATION, _OF_HOST, "every counter: --format json"]
        if found
        else ["nothing of the benchmark was compared"],
    )


def answer(item: Explanation) -> str:
    """Return the explanation in one sentence."""
    comparison = item.comparison
    place = f"{comparison.benchmark} in {comparison.environment} on {comparison.target}"
    said = f"{place}: {format_comparison(comparison)}"
    moved = sorted((change for change in item.tested if change.has_moved), key=lambda one: one.q or 0)
    if moved:
        parts = ", ".join(f"{change.text} {change_text(change)}" for change in moved)
        return f"{said}. Per {item.unit_of_work}, with it: {parts}."
    if item.needed_blocks is not None:
        few = counted(item.blocks, "block")
        return f"{said}. {few} cannot call a counter moved: one alone needs {item.needed_blocks}."
    return f"{said}. No counter moved with it."


def change_text(change: CounterChange) -> str:
    """Return a change with its interval, e.g. '+41 % [38, 45]' or '3.1x [2.9, 3.4]'."""
    bounds = [value for value in (change.low, change.high) if value is not None]
    if change.ratio > _LARGE:
        interval = ", ".join(f"{value:.1f}" for value in bounds)
        return f"{change.ratio:.1f}x" + (f" [{interval}]" if bounds else "")
    # A small change that is sure must not be told as none.
    decimals = 0 if abs(change.ratio - 1) >= _SMALL else 2
    interval = ", ".join(f"{100 * (value - 1):.{decimals}f}" for value in bounds)
    return f"{100 * (change.ratio - 1):+.{decimals}f} %" + (f" [{interval}]" if bounds else "")


def _sections(item: Explanation) -> list[Section]:
    per = f"per {item.unit_of_work}, {counted(item.blocks, 'block')}, moved: q <= {LEVEL:g}"
    title = f"{heading(item.comparison.benchmark, item.comparison.metric)}  {per}"
    rows = [_row(change) for change in item.tested]
    notes = [answer(item)]
    if item.without_values:
        notes.append(f"0, or not read, in too many blocks: {', '.join(item.without_values)}")
    sections = [Section(_columns(is_tested=True), rows, title, notes)]
    if item.others:
        more = len(item.others) - _MOST_OTHERS
        sections.append(
            Section(
                _columns(is_tested=False),
                [_row(change) for change in item.others[:_MOST_OTHERS]],
                "not tested: all other counters, the one that changed most first",
                [f"and {more} more"] if more > 0 else [],
            )
        )
    return sections


def _columns(*, is_tested: bool) -> list[Column]:
    return [
        Column("text", "counter"),
        Column("baseline_value", "baseline", align="right"),
        *columns("value", "change", align="right"),
        Column("aa", "A/A", align="right"),
        *([Column("q", align="right"), Column("moved")] if is_tested else []),
    ]


def _row(change: CounterChange) -> dict[str, Any]:
    return {
        "text": change.text,
        "baseline_value": number(change.baseline_value),
        "value": number(change.value),
        "change": change_text(change),
        "aa": None if change.aa_ratio is None else f"{100 * (change.aa_ratio - 1):+.0f} %",
        "q": format_p(change.q),
        "moved": "moved" if change.has_moved else "",
    }


def _record(item: Explanation, change: CounterChange) -> dict[str, Any]:
    values = {name: getattr(change, name) for name in _FIELDS if hasattr(change, name)}
    return values | {
        "benchmark": item.comparison.benchmark,
        "target": str(item.comparison.target),
        "environment": item.comparison.environment,
        "unit_of_work": item.unit_of_work,
        "counter": change.name,
        "is_tested": change.q is not None,
    }
