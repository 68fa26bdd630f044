"""`run --dry-run`: what each benchmark takes, and how long; for machines the plan block by block."""

from __future__ import annotations

from perfctl.model import Block, Plan
from perfctl.plan.request import PlannedRun
from perfctl.render.view import Column, Section, View, columns


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
    return View("plan", [*fields, Column("order")], records, sections=[_summary(plan)], footer=footer)


def _summary(plan: Plan) -> Section:
    """Return a row per benchmark; machines have every block, and the random order inside it."""
    blocks: dict[str, list[Block]] = {}
    for block in plan.blocks():
        blocks.setdefault(block.benchmark, []).append(block)
    rows = [
        {
            "benchmark": benchmark,
            "targets": ", ".join(dict.fromkeys(str(block.target) for block in found)),
            "blocks": len(found),
            "each": ", ".join(_legs(found[0], plan.baseline)),
            "invocations": sum(len(block.invocations) for block in found),
        }
        for benchmark, found in blocks.items()
    ]
    shown = [*columns("benchmark", "targets"), Column("blocks", align="right")]
    shown += [Column("each", "each block, in random order"), Column("invocations", align="right")]
    return Section(shown, rows, notes=["--format json has every block with its order"])


def _legs(block: Block, baseline: str) -> list[str]:
    names = {item.environment for item in block.invocations}
    ordered = sorted(names, key=lambda name: (name != baseline, name))
    return [f"{name} twice" if name == baseline else name for name in ordered]


def _order(block: Block, baseline: str) -> str:
    return " ".join(
        f"{item.environment}({item.replicate})" if item.environment == baseline else item.environment
        for item in block.invocations
    )
