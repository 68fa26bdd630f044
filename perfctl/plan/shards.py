"""Split a plan into shards, each for a controller of its own. Pure: the same plan is split alike everywhere.

Hosts that share a declared resource are in one shard, and so are both ends of a pair: what must not be
measured at the same time is not measured by two controllers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from perfctl.errors import UsageError
from perfctl.model import Plan, Round, Track

_SHARD = re.compile(r"(\d{1,6})/(\d{1,6})")


@dataclass(frozen=True, slots=True)
class Shard:
    """Shard `number` of `count`, from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard that a text such as '3/8' names. Raises UsageError."""
        found = _SHARD.fullmatch(text)
        shard = cls(int(found[1]), int(found[2])) if found else None
        if shard is None or not 1 <= shard.number <= shard.count:
            raise UsageError(f"there is no shard {text!r:.40}", hint="the third of eight is 3/8")
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def part_of(plan: Plan, resources: Mapping[str, str | None], shard: Shard) -> Plan:
    """Return the part of a plan that is a shard's; `resources` are those that the hosts share, by name.

    Raises UsageError when the shard would have nothing to do.
    """
    parts = split(plan, resources, shard.count)
    hosts = parts[shard.number - 1]
    if not hosts:
        most = sum(bool(part) for part in parts)
        raise UsageError(
            f"shard {shard} has nothing to do: the plan has {most} groups of hosts that can be split",
            hint=f"use {most} shards (hosts of one perf_resource and both ends of a pair stay together)",
        )
    rounds = []
    for round_ in plan.rounds:
        tracks = [
            tuple(block for block in track.blocks if block.target.host in hosts) for track in round_.tracks
        ]
        rounds.append(Round(tuple(Track(blocks) for blocks in tracks if blocks)))
    return replace(plan, rounds=tuple(round_ for round_ in rounds if round_.tracks))


def split(plan: Plan, resources: Mapping[str, str | None], count: int) -> list[frozenset[str]]:
    """Return the hosts of each of so many shards; some have none when there are fewer groups of hosts.

    The largest group, by its blocks, goes first, each to the shard that has the least to do so far.
    """
    group_of: dict[str, set[str]] = {}
    sizes: dict[str, int] = {}
    of_resource: dict[str, str] = {}
    for block in plan.blocks():
        first = block.target.hosts[0]
        sizes[first] = sizes.get(first, 0) + len(block.invocations)
        for name in block.target.hosts:
            group_of.setdefault(name, {name})
            _join(group_of, first, name)
            resource = resources.get(name)
            if resource is not None:
                _join(group_of, of_resource.setdefault(resource, name), name)
    groups = {id(group): group for group in group_of.values()}.values()
    loads = [0] * count
    shards: list[set[str]] = [set() for _ in range(count)]
    for size, group in sorted(
        ((sum(sizes.get(name, 0) for name in group), sorted(group)) for group in groups),
        key=lambda item: (-item[0], item[1]),
    ):
        least = loads.index(min(loads))
        loads[least] += size
        shards[least].update(group)
    return list(map(frozenset, shards))


def _join(group_of: dict[str, set[str]], one: str, other: str) -> None:
    """Make one group of the groups of two hosts."""
    into, add = group_of[one], group_of[other]
    if into is not add:
        if len(into) < len(add):
            into, add = add, into
        into |= add
        for name in add:
            group_of[name] = into
