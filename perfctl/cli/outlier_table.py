"""The outliers of a comparison: each with what was counted as it was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from perfctl.output import Column, Table

if TYPE_CHECKING:
    from perfctl.model import Comparison
    from perfctl.report import Outlier

MOST_ROWS = 20
"""For people; machines read all of them."""
_SHORT_ID = 12


def outlier_table(outliers: Sequence[Outlier], run_id: str) -> Table:
    """Return the first outliers for people to read."""
    columns = [Column(name) for name in ("benchmark", "target", "metric", "environment")]
    columns += [Column("block", align="right"), Column("value", align="right"), Column("unit")]
    columns += [Column("counted", "what was counted then"), Column("id", "invocation")]
    rows = [
        {
            "benchmark": item.benchmark,
            "target": str(item.target),
            "metric": item.metric.name,
            "environment": f"{item.environment} A2" if item.replicate == 2 else item.environment,
            "block": item.block,
            "value": item.value,
            "unit": item.metric.unit,
            "counted": item.counted,
            "id": item.invocation_id[:_SHORT_ID],
        }
        for item in outliers[:MOST_ROWS]
    ]
    notes = [f"all that was found: perfctl show {run_id} --invocation ID"]
    if len(outliers) > MOST_ROWS:
        notes.insert(0, f"and {len(outliers) - MOST_ROWS} more (--format json has them)")
    return Table("outliers", columns, rows, notes)


def outliers_of(item: Comparison, outliers: Sequence[Outlier]) -> list[dict[str, Any]]:
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
