"""Which facts changed between two readings of one run, and whose figures they concern. Pure.

What a run recorded before its first block must still be true after its last one: else its figures were
measured under other facts than those that are stored with them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from perfctl.facts.differences import FactChange, diff
from perfctl.facts.registry import read_value
from perfctl.model import Fact, FactState, Fingerprint, Target

_FIGURES_DEPEND_ON = re.compile(
    r"tool\..+\.(version|sha256)"
    r"|kernel\.(release|version|cmdline|preempt)"
    r"|cpu\.(online|microcode|boost|intel_no_turbo|smt\.active|isolated)"
    r"|cpu\.freq\.(governor|driver|epp|min|max)"
    r"|memory\.(total|thp)|time\.current_clocksource"
    r"|environment\.(?!path\.|accelerator\.reason).+"
)
_LINKS = "net.links"

Place = tuple[str, str]
"""Host, and the environment there; '' is the host itself."""


@dataclass(frozen=True, slots=True)
class RunChange:
    """A fact that changed while a host, or an environment there, was measured."""

    place: Place
    name: str
    text: str
    """The change, e.g. 'cpu.freq.governor: performance -> powersave'."""

    def __str__(self) -> str:
        """Return the change with its place."""
        host, environment = self.place
        where = f"{environment} on {host}" if environment else host
        return f"{self.text} ({where}, while it was measured)"

    def concerns(
        self, target: Target, environments: Collection[str], programs: Collection[str] | None
    ) -> bool:
        """Return whether figures of these environments on the target depend on it.

        `programs` are those that make the figures, None where they are not known.
        """
        host, environment = self.place
        if host not in target.hosts or (environment and environment not in environments):
            return False
        if self.name == _LINKS:
            return target.peer is not None
        program = re.fullmatch(r"tool\.(.+)\.\w+", self.name)
        return program is None or programs is None or program[1] in programs


def changes_of(readings: Mapping[Place, Sequence[Fingerprint]]) -> tuple[RunChange, ...]:
    """Return what changed between the readings of each place, in their order, each change once."""
    found = {
        RunChange(place, name, text): None
        for place, several in readings.items()
        for before, after in pairwise(several)
        for name, text in _changes(before, after)
    }
    return tuple(found)


def _changes(before: Fingerprint, after: Fingerprint) -> Iterator[tuple[str, str]]:
    for change in diff(before, after, dynamic=True):
        if change.name == _LINKS:
            yield from ((_LINKS, text) for text in _mtus(change))
        elif _FIGURES_DEPEND_ON.fullmatch(change.name) and _was_read(change.before, change.after):
            yield change.name, str(change)


def _was_read(before: Fact | None, after: Fact | None) -> bool:
    """Return whether it was there before and, whether it is there now, could be read."""
    is_known = before is not None and before.state is FactState.PRESENT
    return is_known and after is not None and after.state is not FactState.DENIED


def _mtus(change: FactChange) -> Iterator[str]:
    """Yield the MTUs that changed; links themselves come and go with containers and guests."""
    old, new = (read_value(fact, dict) or {} for fact in (change.before, change.after))
    for link in old.keys() & new.keys():
        before, after = old[link].mtu_bytes, new[link].mtu_bytes
        if before and after and before != after:
            yield f"MTU of {link}: {before} -> {after}"
