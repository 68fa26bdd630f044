"""The outliers of a comparison: each with what was counted as it was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perfctl.model import Comparison
from perfctl.render.view import Column, Section, columns
from perfctl.report import Outlier

MOST_ROWS = 20
"""For people; machines read all of them."""
_SHORT_ID = 12


def outlier_sections(outliers: Sequence[Outlier], run_id: str) -> list[Section]:
    """Return one table with the first outliers for people, or none where there is no outlier."""
    if not outliers:
        return []
    shown = [
        *columns("benchmark", "target", "metric", "environment"),
        *columns("block", "value", align="right"),
        Column("counted", "counted meanwhile"),
        Column("id", "invocation"),
    ]
    rows = [
        {
            "benchmark": item.benchmark,
            "target": str(item.target),
            "metric": item.metric.name,
            "environment": f"{item.environment} A2" if item.replicate == 2 else item.environment,
            "block": item.block,
            "value": item.value,
            "counted": item.counted,
            "id": item.invocation_id[:_SHORT_ID],
        }
        for item in outliers[:MOST_ROWS]
    ]
    notes = [f"all that was found: perfctl show {run_id} --invocation ID"]
    if len(outliers) > MOST_ROWS:
        notes.insert(0, f"and {len(outliers) - MOST_ROWS} more (--format json has them)")
    return [Section(shown, rows, "outliers (they are in every figure)", notes)]


def outlier_records(item: Comparison, outliers: Sequence[Outlier]) -> list[dict[str, Any]]:
    """Return those of one comparison for machines."""
    legs = set(item.outliers)
    if not legs:
        return []
    return [
        {
            "environment": outlier.environment,
            "replicate": outlier.replicate,
            "block": outlier.block,
            "value": outlier.value,
            "invocation_id": outlier.invocation_id,
            "findings": list(outlier.findings),
            "counted": outlier.counted,
        }
        for outlier in outliers
        if (outlier.benchmark, outlier.target, outlier.metric) == (item.benchmark, item.target, item.metric)
        and (outlier.environment, outlier.replicate, outlier.block) in legs
    ]
