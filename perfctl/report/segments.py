"""Segments of a history: runs between which nothing that is known of the machines changed.

A changed fingerprint, or an environment that is defined otherwise, begins a new segment: that is no alarm,
and no alarm looks across it. What changes without that (load, neighbours, temperatures, perfctl itself) is
reported beside a change of the figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from perfctl.facts import diff
from perfctl.model import Fingerprint, Target
from perfctl.store import Store

_NEAR = 3
"""Runs on each side of a change whose facts are looked at."""


@dataclass(frozen=True, slots=True)
class FactSources:
    """Where facts were read for one series: on the hosts of a target, and in these environments on them."""

    target: Target
    environments: tuple[str, ...]

    def __iter__(self) -> Iterator[tuple[str, str | None]]:
        """Return every (host, environment); None is the host itself."""
        return ((host, name) for host in self.target.hosts for name in (None, *self.environments))


class Segments:
    """The fingerprints of all runs. Facts themselves are read where they are asked for, once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys = {
            (item.run_id, item.host, item.environment): item.fingerprint_id
            for item in store.history.snapshots()
        }
        self._versions = {run.run_id: run.perfctl_version for run in store.history.runs()}
        self._facts: dict[tuple[str, str, str | None], Fingerprint] = {}

    def breaks(
        self, run_ids: Sequence[str], sources: FactSources, definitions: Mapping[str, Mapping[str, str]]
    ) -> list[tuple[int, tuple[str, ...]]]:
        """Return the runs (by place in `run_ids`) that begin a new segment, and by which differences.

        `definitions` has for every run the key of each environment. A fingerprint that was not kept changes
        nothing; neither does a row that only one version of perfctl reads.
        """
        last: dict[tuple[str, str | None], str] = {}
        defined: dict[str, str] = {}
        found = []
        for index, run_id in enumerate(run_ids):
            differences = [
                f"{name}: the environment is defined otherwise"
                for name, key in definitions[run_id].items()
                if defined.get(name, key) != key
            ]
            defined |= definitions[run_id]
            for host, name in sources:
                if (run_id, host, name) not in self._keys:
                    continue
                if (host, name) in last:
                    differences += self._differences(last[host, name], run_id, host, name)
                last[host, name] = run_id
            if differences:
                found.append((index, tuple(differences)))
        return found

    def unknown(self, run_ids: Sequence[str], sources: FactSources) -> int:
        """Return in how many runs no fingerprint at all was kept of these sources."""
        return sum(all((run_id, *place) not in self._keys for place in sources) for run_id in run_ids)

    def changed_with(
        self, before: Sequence[str], after: Sequence[str], sources: FactSources
    ) -> tuple[str, ...]:
        """Return what was one thing in the runs just before a change, and another in those just after.

        Dynamic facts that are never the same twice say nothing.
        """
        sides = (before[-_NEAR:], after[:_NEAR])
        found = []
        versions = [{self._versions[run_id] for run_id in side} for side in sides]
        if all(len(side) == 1 for side in versions) and versions[0] != versions[1]:
            found.append(f"perfctl: {versions[0].pop()} -> {versions[1].pop()}")
        for host, name in sources:
            old, new = (self._constant(side, host, name) for side in sides)
            names = {fact.name for fact in old.facts} & {fact.name for fact in new.facts}
            shared = [
                Fingerprint(tuple(fact for fact in side.facts if fact.name in names)) for side in (old, new)
            ]
            found += [f"{_source_text(host, name)}: {change}" for change in diff(*shared, dynamic=True)]
        return tuple(found)

    def _constant(self, run_ids: Sequence[str], host: str, name: str | None) -> Fingerprint:
        """Return the facts that are the same in all of these runs that have any."""
        read = [facts for run_id in run_ids if (facts := self._read(run_id, host, name)).facts]
        if not read:
            return Fingerprint(())
        same = set(read[0].facts).intersection(*(facts.facts for facts in read[1:]))
        return Fingerprint(tuple(fact for fact in read[0].facts if fact in same))

    def _differences(self, one: str, two: str, host: str, name: str | None) -> list[str]:
        if self._keys[one, host, name] == self._keys[two, host, name]:
            return []
        changes = diff(self._read(one, host, name), self._read(two, host, name))
        return [f"{_source_text(host, name)}: {item}" for item in changes if item.before and item.after]

    def _read(self, run_id: str, host: str, name: str | None) -> Fingerprint:
        key = (run_id, host, name)
        if key not in self._facts:
            self._facts[key] = self._store.run(run_id).facts(host, name)
        return self._facts[key]


def _source_text(host: str, environment: str | None) -> str:
    return host if environment is None else f"{environment} on {host}"
