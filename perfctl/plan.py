"""From a suite, hosts and a seed to the ordered list of what will run where. Pure: no I/O, no clock.

    suite x hosts x seed  --make_plan()-->  Plan  --plan_to_json()-->  text  --plan_from_json()-->  Plan
                                            Plan  --grown()-->  Plan with a benchmark's second stage

A benchmark on hosts is one round: all hosts side by side, but hosts that share a declared resource one
after another in one track, block by block in turn. A benchmark on pairs is a round-robin tournament: every
two hosts meet once, and the pairs of a round have no host in common. The order inside a block depends only
on the seed, the target, the benchmark and the block's number: other hosts and benchmarks may come and go
without changing it.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from perfctl.errors import DataError, NoHostMatched, UsageError
from perfctl.model import (
    Benchmark,
    Block,
    Decision,
    Environment,
    Host,
    Plan,
    PlannedInvocation,
    Round,
    Suite,
    Target,
    Track,
    canonical_json,
)
from perfctl.stats import PILOT_BLOCKS

PLAN_SCHEMA_VERSION = 1


def make_plan(
    suite: Suite,
    hosts: Sequence[Host],
    *,
    seed: str,
    max_parallel_pairs: int | None = None,
    host_view: bool = True,
) -> Plan:
    """Return the plan of `suite` on `hosts` (in their order).

    A benchmark without a number of blocks, its own or the suite's, gets its pilot; `grown` adds what that
    shows to be needed.

    At most `max_parallel_pairs` pairs measure at the same time (None: as many as are disjoint).
    Raises NoHostMatched without hosts, UsageError when a pair benchmark meets a single host or a count is
    below 1.
    """
    _check(suite, hosts, max_parallel_pairs)
    rounds: list[Round] = []
    for benchmark in suite.benchmarks:
        count = _blocks(suite, benchmark)
        for groups in _rounds_of_targets(benchmark, hosts, max_parallel_pairs):
            tracks = tuple(
                Track(
                    tuple(
                        make_block(suite, benchmark, target, index, seed=seed)
                        for index in range(count)
                        for target in group
                    )
                )
                for group in groups
            )
            rounds.append(Round(tracks))
    return Plan(
        suite.name, seed, suite.baseline, suite.environments, suite.benchmarks, tuple(rounds), host_view
    )


def grown(plan: Plan, decision: Decision) -> Plan:
    """Return the plan with a benchmark's second stage at its end, in rounds and tracks as its pilot's.

    The order inside the added blocks comes from the plan's seed as if they had been there from the start.
    """
    benchmark = next(item for item in plan.benchmarks if item.name == decision.benchmark)
    added = []
    for round_ in plan.rounds:
        tracks = tuple(_continued(plan, benchmark, track, decision.blocks) for track in round_.tracks)
        if any(track.blocks for track in tracks):
            added.append(Round(tuple(track for track in tracks if track.blocks)))
    return replace(plan, rounds=(*plan.rounds, *added), decisions=(*plan.decisions, decision))


def _continued(plan: Plan, benchmark: Benchmark, track: Track, blocks: int) -> Track:
    own = [block for block in track.blocks if block.benchmark == benchmark.name]
    begun = max((block.index + 1 for block in own), default=blocks)
    targets = dict.fromkeys(block.target for block in own)
    return Track(
        tuple(
            make_block(plan, benchmark, target, index, seed=plan.seed)
            for index in range(begun, blocks)
            for target in targets
        )
    )


def make_block(suite: Suite | Plan, benchmark: Benchmark, target: Target, index: int, *, seed: str) -> Block:
    """Return one block: every environment once and the baseline twice, in the order that the seed gives.

    The two replicates of the baseline are placed like any other leg, so their labels carry no order.
    """
    legs = [(suite.baseline, 1), (suite.baseline, 2)]
    legs += [(item.name, 1) for item in suite.environments if item.name != suite.baseline]
    generator = random.Random(order_seed(seed, target, benchmark.name, index))
    # Of all of random's methods only random() promises the same sequence in every version of Python.
    legs.sort(key=lambda _: generator.random())
    invocations = tuple(
        PlannedInvocation(name, replicate, position) for position, (name, replicate) in enumerate(legs)
    )
    return Block(benchmark.name, target, index, invocations)


def order_seed(seed: str, target: Target, benchmark: str, block: int) -> int:
    """Return the number that seeds the order of one block: sha256 of 'seed/target/benchmark/block'."""
    text = f"{seed}/{target}/{benchmark}/{block}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")


def estimate_s(plan: Plan, *, overhead_s: Mapping[str, float]) -> float:
    """Return how long the plan takes when all is well: the longest track of each round, summed.

    `overhead_s` is the time around one invocation by kind of environment (native, container, vm); a kind of
    the plan that is missing there raises KeyError. An environment within another takes the time of both;
    those of client and server are made at the same time.
    """
    expected_s = {benchmark.name: benchmark.expected_s for benchmark in plan.benchmarks}
    paired = {benchmark.name for benchmark in plan.benchmarks if benchmark.scope == "pair"}
    alone_s = {item.name: _around_s(item, overhead_s) for item in plan.environments}
    served_s = {
        item.name: max(alone_s[item.name], _around_s(item.of_server, overhead_s))
        for item in plan.environments
    }

    def track_s(track: Track) -> float:
        return sum(
            expected_s[block.benchmark]
            + (served_s if block.benchmark in paired else alone_s)[invocation.environment]
            for block in track.blocks
            for invocation in block.invocations
        )

    return sum(max((track_s(track) for track in round_.tracks), default=0.0) for round_ in plan.rounds)


def _around_s(environment: Environment, overhead_s: Mapping[str, float]) -> float:
    within_s = _around_s(environment.within, overhead_s) if environment.within else 0.0
    return overhead_s[environment.kind] + within_s


def plan_to_json(plan: Plan) -> str:
    """Return the plan as canonical JSON; `plan_from_json` gives an equal plan back."""
    return canonical_json({"schema_version": PLAN_SCHEMA_VERSION, "plan": plan})


def plan_from_json(text: str) -> Plan:
    """Return the plan written by `plan_to_json`. Raises DataError when the text is none."""
    try:
        content = json.loads(text)
        if content["schema_version"] != PLAN_SCHEMA_VERSION:
            raise DataError(
                f"the plan has schema version {content['schema_version']}, not {PLAN_SCHEMA_VERSION}",
                hint="resume it with the version of perfctl that started the run",
            )
        plan = content["plan"]
        return Plan(
            suite=plan["suite"],
            seed=plan["seed"],
            baseline=plan["baseline"],
            environments=tuple(map(_environment, plan["environments"])),
            benchmarks=tuple(Benchmark(**item) for item in plan["benchmarks"]),
            rounds=tuple(Round(tuple(map(_track, round_["tracks"]))) for round_ in plan["rounds"]),
            host_view=plan.get("host_view", True),
            decisions=tuple(Decision(**item) for item in plan.get("decisions", ())),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"this is no stored plan: {type(error).__name__}: {error}") from error


def _environment(item: Mapping[str, Any]) -> Environment:
    others = {key: _environment(value) for key, value in item.items() if isinstance(value, dict)}
    return Environment(**(_tuples(item) | others))


def _tuples(item: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists where the frozen values have tuples."""
    return {key: _as_tuple(value) for key, value in item.items()}


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def _track(item: Mapping[str, Any]) -> Track:
    return Track(tuple(_block(block) for block in item["blocks"]))


def _block(item: Mapping[str, Any]) -> Block:
    invocations = tuple(PlannedInvocation(**invocation) for invocation in item["invocations"])
    return Block(item["benchmark"], Target(**item["target"]), item["index"], invocations)


def _blocks(suite: Suite, benchmark: Benchmark) -> int:
    chosen = suite.blocks if benchmark.blocks is None else benchmark.blocks
    return PILOT_BLOCKS if chosen is None else chosen


def _check(suite: Suite, hosts: Sequence[Host], max_parallel_pairs: int | None) -> None:
    if not hosts:
        raise NoHostMatched("there is no host to measure on", hint="see the inventory and --limit")
    fewest = min((_blocks(suite, benchmark) for benchmark in suite.benchmarks), default=1)
    if fewest < 1:
        raise UsageError(f"a run needs at least 1 block, not {fewest}", hint="--blocks 10 is a good start")
    if max_parallel_pairs is not None and max_parallel_pairs < 1:
        raise UsageError(f"--max-parallel-pairs must be at least 1, not {max_parallel_pairs}")
    paired = [benchmark.name for benchmark in suite.benchmarks if benchmark.scope == "pair"]
    if paired and len(hosts) < 2:
        raise UsageError(
            f"benchmark {paired[0]} measures between two hosts, but only {hosts[0].name} is there",
            where=f"suite {suite.name}",
            hint="widen --limit, give an inventory with two hosts (-i), or make two with: perfctl lab up",
        )


def _rounds_of_targets(
    benchmark: Benchmark, hosts: Sequence[Host], max_parallel_pairs: int | None
) -> Iterator[list[list[Target]]]:
    """Yield, round by round, the targets of each track."""
    resources = {host.name: host.resource for host in hosts}
    if benchmark.scope == "host":
        yield _by_resource([Target(host.name) for host in hosts[: benchmark.targets]], resources)
        return
    left = len(hosts) ** 2 if benchmark.targets is None else benchmark.targets
    for pairs in tournament(hosts):
        tracks = _by_resource(pairs[:left], resources)
        left -= len(pairs[:left])
        width = max_parallel_pairs or max(1, len(tracks))
        for start in range(0, len(tracks), width):
            yield tracks[start : start + width]


def tournament(hosts: Sequence[Host]) -> list[list[Target]]:
    """Return the rounds in which every two hosts meet exactly once, no host twice in a round.

    The circle method: the first host stands still, the others move on by one place each round; with an odd
    number one host sits out. Of two hosts the earlier is the client when their distance is odd, else the
    later, so that every host is client and server about equally often.
    """
    places: list[int | None] = list(range(len(hosts)))
    if len(places) % 2:
        places.append(None)
    rounds = []
    for _ in range(len(places) - 1):
        pairs = []
        for left, right in zip(places[: len(places) // 2], reversed(places), strict=False):
            if left is None or right is None:
                continue
            first, second = sorted((left, right))
            client, server = (first, second) if (second - first) % 2 else (second, first)
            pairs.append(Target(hosts[client].name, hosts[server].name))
        rounds.append(pairs)
        places = [places[0], places[-1], *places[1:-1]]
    return rounds


def _by_resource(targets: Sequence[Target], resources: Mapping[str, str | None]) -> list[list[Target]]:
    """Group targets so that two which share a resource, directly or through others, are together."""
    groups: list[tuple[set[str], list[Target]]] = []
    for target in targets:
        own = {resource for name in (target.host, target.peer) if name and (resource := resources[name])}
        together = [target]
        apart = []
        for group in groups:
            if own & group[0]:
                own |= group[0]
                together = group[1] + together
            else:
                apart.append(group)
        groups = [*apart, (own, together)]
    order = {target: place for place, target in enumerate(targets)}
    tracks = [sorted(group, key=order.__getitem__) for _, group in groups]
    return sorted(tracks, key=lambda track: order[track[0]])
