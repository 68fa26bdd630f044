"""What no figure of a report rests on, and why: always named, never only counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from perfctl.model import Comparison, Target
from perfctl.store import Omission


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Some blocks of one leg that a comparison lacks. `environment` '' and no target: a host without any."""

    benchmark: str
    target: Target | None
    environment: str
    metric: str
    """'' where it is all of them."""
    reason: str
    blocks: int


def left_out(
    omissions: Iterable[Omission], comparisons: Sequence[Comparison], hosts: Sequence[str]
) -> tuple[LeftOut, ...]:
    """Return what was left out: executions without a value, values that are not used, hosts without blocks.

    `comparisons` tell of values that are there and not used; `hosts` are those of the plan.
    """
    known = list(omissions)
    executions = Counter(
        (item.benchmark, item.target, _leg(item.environment, item.replicate), item.reason) for item in known
    )
    found = [
        LeftOut(benchmark, target, leg, "", reason, blocks)
        for (benchmark, target, leg, reason), blocks in executions.items()
    ]
    # The baseline's missing blocks are missing in every line; the text of a reason begins with the leg.
    told = {(item.benchmark, item.target, f"{item.environment}: {item.reason}") for item in found}
    unused: dict[tuple[str, Target, str, str, str], int] = {}
    for item in comparisons:
        for reason, blocks in item.reasons:
            if (item.benchmark, item.target, reason) not in told:
                leg, _, why = reason.rpartition(": ")
                key = (item.benchmark, item.target, leg or item.environment, item.metric.name, why)
                unused[key] = max(blocks, unused.get(key, 0))
    found += [LeftOut(*key, blocks) for key, blocks in unused.items()]
    seen = {host for item in comparisons for host in (item.target.host, item.target.peer)}
    seen |= {host for item in known for host in (item.target.host, item.target.peer)}
    found += [
        LeftOut("", Target(host), "", "", "no block has ended", 0) for host in hosts if host not in seen
    ]
    return tuple(found)


def _leg(environment: str, replicate: int) -> str:
    return f"{environment} A2" if replicate == 2 else environment
