"""The blocks whose values were measured by the same means: no others are compared.

What a command uses is told by wait4, or of a container without the launcher by its control group, in which
more than the command runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

Sources = Mapping[int, str]
"""Block -> 'wait4' or 'cgroup', where the value is of what a command used."""

PREFERRED = "wait4"


@dataclass(frozen=True, slots=True)
class SourceMatch:
    """By what the values of one comparison were measured, and the blocks that cannot be in it."""

    source: str | None = None
    left_out: frozenset[int] = frozenset()
    text: str = ""
    """Why they are left out, e.g. 'not compared: measured by cgroup against wait4'; '' where none is."""


def match_sources(leg: Sources, base: Sources) -> SourceMatch:
    """Return which source the comparison of two legs has: the one that most blocks have on both sides."""
    if not leg and not base:
        return SourceMatch()
    shared = sorted(leg.keys() & base.keys())
    equal = Counter(leg[block] for block in shared if leg[block] == base[block])
    chosen = max(equal, key=lambda source: (equal[source], source == PREFERRED), default=None)
    others = Counter(
        f"{leg[block]} against {base[block]}" for block in shared if {leg[block], base[block]} != {chosen}
    )
    counted = (f"{pair} in {count} of {len(shared)} blocks" for pair, count in sorted(others.items()))
    left_out = {block for block in shared if {leg[block], base[block]} != {chosen}}
    text = f"not compared: measured by {', '.join(counted)}" if others else ""
    return SourceMatch(chosen, frozenset(left_out), text)
