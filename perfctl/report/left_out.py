"""Invocations, values and hosts that are in no figure of a report, with the reason: never only counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfctl.errors import DataError
from perfctl.model import Comparison, Observation, Target
from perfctl.plan import plan_from_json
from perfctl.store import Omission, RunDetail

if TYPE_CHECKING:
    from perfctl.store import RunReader


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Some blocks of one leg that a comparison lacks.

    `environment` '' is a host without any block, and without a target, too, all of them.
    """

    benchmark: str
    target: Target | None
    environment: str
    metric: str
    """'' where it is all of them."""
    reason: str
    blocks: int


def left_out(
    omissions: Iterable[Omission],
    comparisons: Sequence[Comparison],
    seen: Iterable[Observation],
    *,
    planned: Sequence[tuple[str, str]],
) -> tuple[LeftOut, ...]:
    """Return what was left out: invocations without a value, values that are not used, hosts without blocks.

    `comparisons` tell of values that are there and not used; `planned` are the plan's (benchmark, host),
    `seen` are all values of the run.
    """
    known = [item for item in omissions if not item.is_partial]
    invocations = Counter(
        (item.benchmark, item.target, _leg(item.environment, item.replicate), item.reason) for item in known
    )
    found = [
        LeftOut(benchmark, target, leg, "", reason, blocks)
        for (benchmark, target, leg, reason), blocks in invocations.items()
    ]
    # The baseline's missing blocks are missing in every line; the text of a reason begins with the leg.
    listed = {(item.benchmark, item.target, f"{item.environment}: {item.reason}") for item in found}
    unused: dict[tuple[str, Target, str, str, str], int] = {}
    for item in comparisons:
        for reason, blocks in item.reasons:
            if (item.benchmark, item.target, reason) not in listed:
                leg, _, why = reason.rpartition(": ")
                key = (item.benchmark, item.target, leg or item.environment, item.metric.name, why)
                unused[key] = max(blocks, unused.get(key, 0))
    found += [LeftOut(*key, blocks) for key, blocks in unused.items()]
    places = {(item.benchmark, host) for item in seen for host in item.target.hosts}
    places |= {(item.benchmark, host) for item in known for host in item.target.hosts}
    return (*found, *_without_blocks(places, planned))


def planned_hosts(run: RunReader, detail: RunDetail) -> tuple[tuple[str, str], ...]:
    """Return every (benchmark, host) of a run's plan, in its order; all there can be if it cannot be read."""
    try:
        plan = plan_from_json(run.plan_json())
    except DataError:
        return tuple((item.name, host) for item in detail.benchmarks for host in detail.summary.hosts)
    found = ((block.benchmark, host) for block in plan.blocks() for host in block.target.hosts)
    return tuple(dict.fromkeys(found))


def _without_blocks(
    places: Collection[tuple[str, str]], planned: Sequence[tuple[str, str]]
) -> Iterator[LeftOut]:
    """Name the hosts and the benchmarks without any block, each once, then where else one has none."""
    begun, there = {name for name, _ in places}, {host for _, host in places}
    reason = "no block has ended"
    for host in dict.fromkeys(host for _, host in planned):
        if host not in there:
            yield LeftOut("", Target(host), "", "", reason, 0)
    for name in dict.fromkeys(name for name, _ in planned):
        if name not in begun and places:
            yield LeftOut(name, None, "", "", reason, 0)
        for host in (host for benchmark, host in planned if benchmark == name):
            if name in begun and host in there and (name, host) not in places:
                yield LeftOut(name, Target(host), "", "", reason, 0)


def _leg(environment: str, replicate: int) -> str:
    return f"{environment} A2" if replicate == 2 else environment
