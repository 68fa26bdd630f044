"""The course of a run: the plan's rounds, each benchmark's second stage, and once more what failed.

    rounds of the plan ── a pilot is over: decide, store the grown plan ── second stages ── failed ones again

The plan in the database always has what is under way, so that `resume` goes on where a killed run stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from perfctl.execute.block import BlockKey, Conduct, block_key, would_fail_again
from perfctl.model import Benchmark, Block, Plan, Round, Track, WorkAdded
from perfctl.plan import PriorVariance, estimate_run, grow, plan_to_json

RunTracks = Callable[[Sequence[Track], Mapping[BlockKey, int]], None]
"""Carries out the tracks of a round side by side; the mapping has the attempts so far at each block."""


class Course:
    """Carries out the plan of a conduct, and lets it grow."""

    def __init__(
        self, conduct: Conduct, run_tracks: RunTracks, *, prior: Mapping[str, PriorVariance]
    ) -> None:
        """Take what carries out the tracks of a round, and what earlier runs say of the benchmarks."""
        self._conduct = conduct
        self._run_tracks = run_tracks
        self._prior = prior

    def run(self, done: frozenset[BlockKey], attempts: Mapping[BlockKey, int]) -> None:
        """Run what is not `done`, decide every pilot that is over, and run once more what failed."""
        position = 0
        while position < len(self._conduct.plan.rounds):
            ahead = without(self._conduct.plan.rounds[position : position + 1], done)
            for round_ in ahead:
                self._run_tracks(round_.tracks, attempts)
            position += 1
            self._decide_due(position, done)
        self._repeat_failed()

    def _decide_due(self, position: int, done: frozenset[BlockKey]) -> None:
        plan = self._conduct.plan
        ahead = {block.benchmark for block in replace(plan, rounds=plan.rounds[position:]).blocks()}
        for benchmark in plan.undecided():
            if benchmark.name not in ahead:
                self._decide(benchmark, position, done)

    def _decide(self, benchmark: Benchmark, position: int, done: frozenset[BlockKey]) -> None:
        conduct = self._conduct
        plan = grow(conduct.plan, benchmark, conduct.store.observations(conduct.run_id))
        decision = plan.decisions[-1]
        if decision.wanted is None and conduct.fleet.lost:
            # The hosts may be there again when the run is resumed; their pilot decides then.
            return
        before = len(conduct.plan.rounds)
        conduct.store.grow_plan(conduct.run_id, plan, plan_to_json(plan))
        conduct.plan = plan
        added = replace(plan, rounds=plan.rounds[before:])
        self._tell(
            benchmark.name, decision.text, tuple(added.blocks()), without(plan.rounds[position:], done)
        )

    def _repeat_failed(self) -> None:
        """Run blocks that failed once as their next attempt; not those that must fail again."""
        conduct = self._conduct
        failures = dict[BlockKey, int]()
        latest = dict[BlockKey, tuple[int, str]]()
        for state in conduct.store.block_states(conduct.run_id):
            key = (state.benchmark, str(state.target), state.index)
            latest[key] = max(latest.get(key, (0, "")), (state.attempt, state.status))
            failures[key] = failures.get(key, 0) + (state.status == "failed")
        again = {
            block_key(block): block
            for block in conduct.plan.blocks()
            if latest.get(block_key(block), (0, ""))[1] == "failed" and failures[block_key(block)] == 1
        }
        again = {key: block for key, block in again.items() if not would_fail_again(conduct, block)}
        if not again:
            return
        others = frozenset(block_key(block) for block in conduct.plan.blocks()) - again.keys()
        rounds = without(conduct.plan.rounds, others)
        blocks = (
            "1 block with a failed member is"
            if len(again) == 1
            else f"{len(again)} blocks with a failed member are"
        )
        text = f"{blocks} run once more, whole"
        self._tell("", text, tuple(again.values()), rounds, is_repetition=True)
        for round_ in rounds:
            self._run_tracks(round_.tracks, {key: attempt for key, (attempt, _) in latest.items()})

    def _tell(
        self,
        where: str,
        text: str,
        blocks: tuple[Block, ...],
        rounds: tuple[Round, ...],
        *,
        is_repetition: bool = False,
    ) -> None:
        plan = self._conduct.plan
        ahead = estimate_run(plan, self._prior, remaining=replace(plan, rounds=rounds))
        self._conduct.listener(
            WorkAdded(where, text, blocks, ahead.planned_s, ahead.later_s, ahead.most_later_s, is_repetition)
        )


def without(rounds: Sequence[Round], done: Collection[BlockKey]) -> tuple[Round, ...]:
    """Return the rounds without the blocks that are done; rounds and tracks stay in their order."""
    found = []
    for round_ in rounds:
        blocks = [
            [block for block in track.blocks if block_key(block) not in done] for track in round_.tracks
        ]
        found.append(Round(tuple(Track(tuple(left)) for left in blocks if left)))
    return tuple(round_ for round_ in found if round_.tracks)


def remaining(plan: Plan, done: Collection[BlockKey]) -> Plan:
    """Return the plan without the blocks that are done."""
    return replace(plan, rounds=without(plan.rounds, done))
