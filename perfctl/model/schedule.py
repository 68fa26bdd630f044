"""The ordered list of what will run where.

Plan
└── Round                one after another
    └── Track            side by side: no two tracks of a round share a host or a declared resource
        └── Block        one after another
            └── PlannedInvocation   every environment once, the baseline twice, in random order
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from perfctl.model.benchmark import Benchmark
from perfctl.model.environment import Environment
from perfctl.model.host import Target


@dataclass(frozen=True, slots=True)
class PlannedInvocation:
    """One execution to come. `replicate` is 1 or 2 for the baseline (A1, A2), 1 for all others."""

    environment: str
    replicate: int
    position: int
    """Place in the realised order of its block, from 0."""


@dataclass(frozen=True, slots=True)
class Block:
    """Every environment once (the baseline twice) for one benchmark on one target; the unit of comparison."""

    benchmark: str
    target: Target
    index: int
    """Number of the block among those of its benchmark and target, from 0."""
    invocations: tuple[PlannedInvocation, ...]


@dataclass(frozen=True, slots=True)
class Track:
    """Blocks that run one after another."""

    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Round:
    """Tracks that run side by side."""

    tracks: tuple[Track, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """How many blocks a benchmark gets in all, on every target: decided once, when its pilot was over."""

    benchmark: str
    blocks: int
    wanted: int | None
    """Blocks that its precision needs, cap or not; None when the pilot could not tell."""
    text: str
    """Why, in words."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run will do. The same suite, hosts and seed always give the same plan.

    A benchmark with a precision has its pilot in the plan at first; the rounds of its second stage are put at
    the end, with the decision, before they begin.
    """

    suite: str
    seed: str
    baseline: str
    environments: tuple[Environment, ...]
    benchmarks: tuple[Benchmark, ...]
    rounds: tuple[Round, ...]
    host_view: bool = True
    """Whether the host is looked at while a benchmark runs (docs/telemetry.md)."""
    decisions: tuple[Decision, ...] = ()
    required: tuple[str, ...] = ()
    """Environments whose invocations fail, instead of being skipped, where a host refuses them."""

    def undecided(self) -> tuple[Benchmark, ...]:
        """Return the benchmarks whose number of blocks their pilot has yet to decide."""
        decided = {decision.benchmark for decision in self.decisions}
        return tuple(
            item for item in self.benchmarks if item.precision is not None and item.name not in decided
        )

    def blocks(self) -> Iterator[Block]:
        """Yield every block, in the order of rounds and tracks."""
        for round_ in self.rounds:
            for track in round_.tracks:
                yield from track.blocks

    @property
    def invocation_count(self) -> int:
        """How many invocations there are in all."""
        return sum(len(block.invocations) for block in self.blocks())
