"""Grow a plan when a benchmark's pilot is over: decide how many blocks it needs, once, and add them. Pure.

    observations of the pilot ──pair_observations()──> PairedDifferences per environment and target
        ──decide()──> Decision ──with_decision()──> Plan with the second stage at its end

The number comes from Stein's two-stage rule. The largest standard deviation decides for all environments
and targets of the benchmark, so that they stop together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from perfctl.model import Benchmark, Decision, Observation, Plan, Round, Track
from perfctl.model.quantity import percent
from perfctl.plan.make import make_block
from perfctl.stats.precision import N_MAX, PILOT_BLOCKS, second_stage, stdev

FEWEST_DIFFERENCES = 6
"""With fewer no standard deviation is computed; they give no interval either."""


def grow(plan: Plan, benchmark: Benchmark, observations: Iterable[Observation]) -> Plan:
    """Return the plan with the second stage of a benchmark whose pilot is over, and with that decision."""
    return with_decision(
        plan, decide(benchmark, pair_observations(observations, benchmark.name, plan.baseline))
    )


def with_decision(plan: Plan, decision: Decision) -> Plan:
    """Return the plan with a decision and the blocks it adds at the end, in rounds and tracks as the pilot's.

    The order inside the added blocks comes from the plan's seed as if they had been there from the start.
    """
    benchmark = next(item for item in plan.benchmarks if item.name == decision.benchmark)
    added = []
    for round_ in plan.rounds:
        tracks = tuple(_later_blocks(plan, benchmark, track, decision.blocks) for track in round_.tracks)
        if any(track.blocks for track in tracks):
            added.append(Round(tuple(track for track in tracks if track.blocks)))
    return replace(plan, rounds=(*plan.rounds, *added), decisions=(*plan.decisions, decision))


def _later_blocks(plan: Plan, benchmark: Benchmark, track: Track, blocks: int) -> Track:
    own = [block for block in track.blocks if block.benchmark == benchmark.name]
    first = max((block.index + 1 for block in own), default=blocks)
    targets = dict.fromkeys(block.target for block in own)
    return Track(
        tuple(
            make_block(plan, benchmark, target, index, seed=plan.seed)
            for index in range(first, blocks)
            for target in targets
        )
    )


@dataclass(frozen=True, slots=True)
class PairedDifferences:
    """The block differences d_b of one environment on one target; none where values have no ratio."""

    environment: str
    target: str
    differences: tuple[float, ...]
    has_ratio: bool = True

    @property
    def s_d(self) -> float | None:
        """Their standard deviation; None when there are too few."""
        return stdev(self.differences) if len(self.differences) >= FEWEST_DIFFERENCES else None

    @property
    def label(self) -> str:
        """Return e.g. 'container on h1'."""
        return f"{self.environment} on {self.target}"


def pair_observations(
    observations: Iterable[Observation], benchmark: str, baseline: str
) -> list[PairedDifferences]:
    """Return the differences of each environment to the baseline, in the headline metric of the pilot.

    Invalid values are left out, and guests of different accelerators are kept apart. Without another
    environment they are those of the baseline's second replicate.
    """
    legs: dict[tuple[str, str, int, str | None], dict[int, float]] = {}
    for item in observations:
        is_of_pilot = item.benchmark == benchmark and item.metric.headline and item.block < PILOT_BLOCKS
        if is_of_pilot and item.validity != "invalid" and math.isfinite(item.value):
            leg = (str(item.target), item.environment, item.replicate, item.accelerator)
            legs.setdefault(leg, {})[item.block] = item.value
    others = [leg for leg in legs if leg[1] != baseline] or [leg for leg in legs if leg[2] == 2]
    bases = [leg for leg in legs if leg[1:3] == (baseline, 1)]
    return [
        pair_values(leg[1], leg[0], legs[leg], legs[base])
        for leg in others
        for base in bases
        if base[0] == leg[0]
    ]


def pair_values(
    environment: str, target: str, values: Mapping[int, float], base_values: Mapping[int, float]
) -> PairedDifferences:
    """Return d_b of the blocks that have both values; none at all when one of them is not above zero."""
    blocks = sorted(values.keys() & base_values.keys())
    if any(min(values[block], base_values[block]) <= 0 for block in blocks):
        return PairedDifferences(environment, target, (), has_ratio=False)
    differences = (math.log(values[block]) - math.log(base_values[block]) for block in blocks)
    return PairedDifferences(environment, target, tuple(differences))


def decide(benchmark: Benchmark, found: Sequence[PairedDifferences]) -> Decision:
    """Return how many blocks a benchmark with a precision gets: the most that any environment needs.

    Environments with too few differences are left out; when all have too few, it stays at the pilot.
    """
    tau = benchmark.precision
    if tau is None:
        raise ValueError(f"{benchmark.name} has a fixed number of blocks")
    stages = [
        (second_stage(s_d, tau=tau, pilot=len(item.differences), fewest=PILOT_BLOCKS, n_max=N_MAX), item)
        for item in found
        if (s_d := item.s_d) is not None
    ]
    stays = f"it stays at {PILOT_BLOCKS} blocks"
    if not stages:
        why = _without_ratio(found) or f"fewer than {FEWEST_DIFFERENCES} blocks of the pilot can be compared"
        return Decision(
            benchmark.name,
            PILOT_BLOCKS,
            None,
            f"how many blocks ±{percent(tau)} needs is not known: {why}; {stays}",
        )
    stage, widest = max(stages, key=lambda entry: (entry[0].wanted, entry[0].expected))
    if widest.s_d == 0:
        text = f"every difference of the pilot is the same; {stays}"
    else:
        text = f"{widest.label} {stage.words()}"
    note = _without_ratio(found)
    return Decision(benchmark.name, stage.blocks, stage.wanted, f"{text} ({note})" if note else text)


def _without_ratio(found: Sequence[PairedDifferences]) -> str:
    labels = [item.label for item in found if not item.has_ratio]
    return f"values of {', '.join(labels)} are not all above zero, and have no ratio" if labels else ""
