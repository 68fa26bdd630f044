"""From a benchmark's pilot to the number of its blocks: Stein's second stage, decided once. Pure.

    observations of the pilot --scatters()--> Scatter per environment and target --decide()--> Decision

The widest scatter decides for all environments and targets of the benchmark, so that they stop together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from perfctl.model import Benchmark, Decision, Observation
from perfctl.model.quantity import percent
from perfctl.stats import N_MAX, PILOT_BLOCKS, second_stage, spread

FEWEST_DIFFERENCES = 6
"""Fewer say too little: no interval could be had from them either."""


@dataclass(frozen=True, slots=True)
class Scatter:
    """The block differences d_b of one environment on one target; `has_ratio` is whether there can be any."""

    environment: str
    target: str
    differences: tuple[float, ...]
    has_ratio: bool = True

    @property
    def s_d(self) -> float | None:
        """Their standard deviation; None when they are too few."""
        return spread(self.differences) if len(self.differences) >= FEWEST_DIFFERENCES else None

    @property
    def place(self) -> str:
        """Return e.g. 'container on h1'."""
        return f"{self.environment} on {self.target}"


def scatters(observations: Iterable[Observation], benchmark: str, baseline: str) -> list[Scatter]:
    """Return the scatter of each environment against the baseline, from the headline metric of the pilot.

    What is invalid does not count, and guests of different accelerators are kept apart. Without another
    environment it is that of the baseline's second replicate.
    """
    legs: dict[tuple[str, str, int, str | None], dict[int, float]] = {}
    for seen in observations:
        is_of_pilot = seen.benchmark == benchmark and seen.metric.headline and seen.block < PILOT_BLOCKS
        if is_of_pilot and seen.validity != "invalid" and math.isfinite(seen.value):
            leg = (str(seen.target), seen.environment, seen.replicate, seen.accelerator)
            legs.setdefault(leg, {})[seen.block] = seen.value
    others = [leg for leg in legs if leg[1] != baseline] or [leg for leg in legs if leg[2] == 2]
    bases = [leg for leg in legs if leg[1:3] == (baseline, 1)]
    return [
        scatter(leg[1], leg[0], legs[leg], legs[base])
        for leg in others
        for base in bases
        if base[0] == leg[0]
    ]


def scatter(
    environment: str, target: str, values: Mapping[int, float], base_values: Mapping[int, float]
) -> Scatter:
    """Return d_b of the blocks that have both values; none at all when one of them is not above zero."""
    blocks = sorted(values.keys() & base_values.keys())
    if any(min(values[block], base_values[block]) <= 0 for block in blocks):
        return Scatter(environment, target, (), has_ratio=False)
    differences = (math.log(values[block]) - math.log(base_values[block]) for block in blocks)
    return Scatter(environment, target, tuple(differences))


def decide(benchmark: Benchmark, found: Sequence[Scatter]) -> Decision:
    """Return how many blocks a benchmark with a precision gets: the most that one of the scatters needs.

    Those that say nothing hold nobody up; when none does, it stays at the pilot.
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
            benchmark.name, PILOT_BLOCKS, None, f"no ±{percent(tau)} can be aimed at: {why}; {stays}"
        )
    stage, widest = max(stages, key=lambda entry: (entry[0].wanted, entry[0].expected))
    if widest.s_d == 0:
        text = f"every difference of the pilot is the same; {stays}"
    else:
        text = f"{widest.place} {stage.words()}"
    unheard = _without_ratio(found)
    return Decision(benchmark.name, stage.blocks, stage.wanted, f"{text} ({unheard})" if unheard else text)


def _without_ratio(found: Sequence[Scatter]) -> str:
    places = [item.place for item in found if not item.has_ratio]
    return f"values of {', '.join(places)} are not all above zero, and have no ratio" if places else ""
