"""Parse the output of the script, and compare two readings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from perfctl.errors import OutputError
from perfctl.facts.registry import REGISTRY, FactSpec
from perfctl.model import Fact, FactState, Fingerprint

_SPECS: Mapping[str, FactSpec] = {spec.name: spec for spec in REGISTRY}
# Prefixes of rows that the caller names, and whether they count for the hash.
_PREFIXES: Mapping[str, bool] = {"tool.": True, "net.route.": False}
_PARTS = 2
_STATES = {state.value: state for state in FactState}


def _is_static(name: str) -> bool:
    if name in _SPECS:
        return _SPECS[name].is_static
    for prefix, is_static in _PREFIXES.items():
        if name.startswith(prefix):
            return is_static
    raise OutputError(f"the facts hold a row {name!r} that is not of this script")


def parse(stdout: str) -> Fingerprint:
    """Return the facts that the script printed.

    Raises OutputError when the text is cut short, damaged, or mixed with other output: facts that were not
    read must not pass for facts that are missing.
    """
    rows: dict[str, tuple[FactState, list[str]]] = {}
    lines: list[str] | None = None
    parts, counted, ended = 0, 0, False
    for line in stdout.removesuffix("\n").split("\n"):
        if ended:
            raise OutputError(f"the facts continue after their end: {line[:80]!r}")
        if line.startswith(" ") and lines is not None:
            lines.append(line[1:])
        elif line.startswith("="):
            name, state = _head(line)
            if name in rows:
                raise OutputError(f"the facts hold the row {name!r} twice")
            rows[name] = (state, [])
            lines = rows[name][1] if state is FactState.PRESENT else None
        elif line.startswith("#rows ") and line == f"#rows {len(rows) - counted}":
            parts, counted, lines = parts + 1, len(rows), None
        elif line == "#end":
            ended = True
        else:
            raise OutputError(f"the facts are damaged at {line[:80]!r}")
    if not ended or parts != _PARTS or counted != len(rows):
        raise OutputError(f"the facts are cut short after {len(rows)} rows")
    return Fingerprint(
        tuple(Fact(name, state, "\n".join(text), _is_static(name)) for name, (state, text) in rows.items())
    )


def _head(line: str) -> tuple[str, FactState]:
    name, _, state = line[1:].rpartition(" ")
    if not name or state not in _STATES:
        raise OutputError(f"the facts are damaged at {line[:80]!r}")
    return name, _STATES[state]


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
