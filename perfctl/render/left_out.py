"""What no figure of a report rests on, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from perfctl.render.view import Column, Section, columns
from perfctl.report import LeftOut


def left_out_sections(parts: Mapping[str, Sequence[LeftOut]]) -> list[Section]:
    """Return one table, or none where nothing is left out. `parts` is by run; a single one is ''."""
    if not any(parts.values()):
        return []
    run = columns("run") if any(parts) else []
    shown = [*run, *columns("benchmark", "target", "environment", "metric", "reason")]
    rows = [
        {"run": name, "reason": item.reason} | _place(item) for name, items in parts.items() for item in items
    ]
    return [Section([*shown, Column("blocks", align="right")], rows, "left out")]


def left_out_record(item: LeftOut, fields: Iterable[str], *, run: str | None = None) -> dict[str, Any]:
    """Return the same as a record with these fields; what it has not is null. `run` tells two runs apart."""
    place = _place(item)
    values = place | {
        "level": "left_out",
        "run": run,
        "host": item.target.host if item.target else None,
        "peer": item.target.peer if item.target else None,
        "left_out": place["blocks"],
        "blocks": None,
        "note": item.reason,
    }
    return {name: values.get(name) for name in fields}


def _place(item: LeftOut) -> dict[str, Any]:
    """Return what is left out, null where it is all of them; no block is null as well, never 0."""
    return {
        "benchmark": item.benchmark or None,
        "target": str(item.target) if item.target else None,
        "environment": item.environment or None,
        "metric": item.metric or None,
        "blocks": item.blocks or None,
    }
