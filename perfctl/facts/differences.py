"""Compare two readings: which facts differ."""

from __future__ import annotations

from dataclasses import dataclass

from perfctl.model import Fact, FactState, Fingerprint


@dataclass(frozen=True, slots=True)
class FactChange:
    """One row that differs between two readings; None where a reading does not have it."""

    name: str
    before: Fact | None
    after: Fact | None

    def __str__(self) -> str:
        """Return the first lines that differ: 'cpu.freq.governor: performance: 0-7 -> powersave: 0-7'."""
        before, after = _text(self.before), _text(self.after)
        differing = (pair for pair in zip(before, after, strict=False) if pair[0] != pair[1])
        longer = (before[len(after) :], after[len(before) :])
        old, new = next(differing, (next(iter(longer[0]), "(end)"), next(iter(longer[1]), "(end)")))
        return f"{self.name}: {old} -> {new}"


def _text(fact: Fact | None) -> list[str]:
    if fact is None:
        return ["not read"]
    return fact.value.split("\n") if fact.state is FactState.PRESENT else [fact.state.value]


def diff(before: Fingerprint, after: Fingerprint, *, dynamic: bool = False) -> list[FactChange]:
    """Return the static rows (with `dynamic` all) that differ, in the order of `before`, new rows last."""
    old = {fact.name: fact for fact in before.facts}
    new = {fact.name: fact for fact in after.facts}
    changes = []
    for name in dict.fromkeys([*old, *new]):
        a, b = old.get(name), new.get(name)
        counts = dynamic or any(fact.is_static for fact in (a, b) if fact)
        if counts and a != b:
            changes.append(FactChange(name, a, b))
    return changes
