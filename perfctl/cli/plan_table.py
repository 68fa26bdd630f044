"""The plan of a run as a table, for --dry-run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfctl.output import Column, Table, emit

if TYPE_CHECKING:
    from perfctl.execute import Prepared


def print_plan(prepared: Prepared) -> None:
    """Print one row per block, in the order of the plan, and the estimate."""
    plan = prepared.plan
    columns = [
        Column("round", "round"),
        Column("track", "track"),
        Column("target", "target"),
        Column("benchmark", "benchmark"),
        Column("block", "block"),
        Column("order", "order of environments"),
    ]
    rows = [
        {
            "round": number,
            "track": place,
            "target": str(block.target),
            "benchmark": block.benchmark,
            "block": block.index,
            "order": " ".join(
                f"{item.environment}({item.replicate})"
                if item.environment == plan.baseline
                else item.environment
                for item in block.invocations
            ),
        }
        for number, round_ in enumerate(plan.rounds)
        for place, track in enumerate(round_.tracks)
        for block in track.blocks
    ]
    notes = [
        f"suite {plan.suite}, seed {plan.seed}, {plan.invocation_count} invocations on "
        f"{len(prepared.hosts)} hosts; when all is well:",
        *(f"{benchmark}: {text}" if benchmark else text for benchmark, text in prepared.outlook.lines()),
    ]
    emit(Table("plan", columns, rows, notes), "table")
