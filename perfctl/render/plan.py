"""`run --dry-run`: the plan block by block, and how long it takes."""

from __future__ import annotations

from perfctl.model import Block
from perfctl.plan.request import PlannedRun
from perfctl.render.view import Column, View, columns


def plan_view(planned: PlannedRun) -> View:
    """Return the view of a plan, in its order, with the estimate."""
    plan = planned.plan
    records = [
        (number, place, str(block.target), block.benchmark, block.index, _order(block, plan.baseline))
        for number, round_ in enumerate(plan.rounds)
        for place, track in enumerate(round_.tracks)
        for block in track.blocks
    ]
    estimate = planned.estimate()
    footer = [
        f"suite {plan.suite}, seed {plan.seed}, {plan.invocation_count} invocations on "
        f"{len(planned.hosts)} hosts; when all is well:",
        *(f"{benchmark}: {text}" if benchmark else text for benchmark, text in estimate.lines()),
    ]
    fields = columns("round", "track", "target", "benchmark", "block")
    return View("plan", [*fields, Column("order", "order of environments")], records, footer=footer)


def _order(block: Block, baseline: str) -> str:
    return " ".join(
        f"{item.environment}({item.replicate})" if item.environment == baseline else item.environment
        for item in block.invocations
    )
