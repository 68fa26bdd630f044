"""What differs between two environments or hosts of a run, or between two runs: before any figure is read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from perfctl.errors import UnknownName
from perfctl.facts import diff
from perfctl.facts.relevance import relevance
from perfctl.model import Fact, FactState, Fingerprint
from perfctl.store import RunReader, Store


@dataclass(frozen=True, slots=True)
class FactDifference:
    """A fact, or a part of one, that differs; None is what was not there, or not read."""

    name: str
    subject: str
    first: str | None
    second: str | None
    places: tuple[str, ...]
    """The hosts on which it differs like this; of two runs also the environments there."""


@dataclass(frozen=True, slots=True)
class FactsReport:
    """What differs between `first` and `second`, the most relevant first."""

    first: str
    second: str
    compared: tuple[str, ...]
    """Where both were read."""
    not_read: tuple[str, ...]
    """Where there are facts of one of them alone."""
    differences: tuple[FactDifference, ...]


def facts_report(store: Store, run: str, first: str, second: str | None = None) -> FactsReport:
    """Return what differs between two environments or two hosts of a run, or, without `second`, two runs.

    Raises UnknownName for a name that the run has not.
    """
    stored = store.run(run)
    if second is None:
        other = store.run(first)
        return _report(stored.summary().run_id, other.summary().run_id, _of_runs(stored, other))
    detail = stored.detail()
    environments = {item.name for item in detail.environments}
    hosts, run_id = set(detail.summary.hosts), detail.summary.run_id
    if {first, second} <= environments:
        read = {
            host: (stored.facts(host, first), stored.facts(host, second)) for host in detail.summary.hosts
        }
    elif {first, second} <= hosts:
        read = {f"{first}, {second}": (stored.facts(first), stored.facts(second))}
    else:
        wrong = next((name for name in (first, second) if name not in environments | hosts), second)
        raise UnknownName(
            f"{wrong!r} and the other name are not two environments, or two hosts, of the run",
            where=f"run {run_id}",
            hint=f"environments: {', '.join(sorted(environments))}; hosts: {', '.join(sorted(hosts))};"
            " two runs: perfctl facts diff RUN RUN2",
        )
    return _report(first, second, read)


_Pair = tuple[Fingerprint, Fingerprint]


def _of_runs(first: RunReader, second: RunReader) -> dict[str, _Pair]:
    """Return the facts of the hosts that both have, and of the environments there."""
    found = {}
    one, other = first.detail(), second.detail()
    others = {item.name for item in other.environments}
    names = [item.name for item in one.environments if item.name in others]
    for host in one.summary.hosts:
        if host in other.summary.hosts:
            found[host] = (first.facts(host), second.facts(host))
            for name in names:
                found[f"{host}/{name}"] = (first.facts(host, name), second.facts(host, name))
    return found


def _report(first: str, second: str, read: Mapping[str, _Pair]) -> FactsReport:
    compared = tuple(place for place, pair in read.items() if all(each.facts for each in pair))
    rows: dict[tuple[str, str | None, str | None], list[str]] = {}
    for place in compared:
        for row in _differences(*read[place]):
            rows.setdefault(row, []).append(place)
    found = sorted(rows.items(), key=lambda row: (_relevance(*row[0])[0], row[0][0]))
    differences = (
        FactDifference(name, _relevance(name, old, new)[1], old, new, tuple(places))
        for (name, old, new), places in found
    )
    not_read = tuple(place for place in read if place not in compared)
    return FactsReport(first, second, compared, not_read, tuple(differences))


def _relevance(name: str, old: str | None, new: str | None) -> tuple[int, str]:
    """Return the place of a difference and what it is about.

    What an engine has made has an image and settings that the host has not: that explains nothing by itself.
    """
    is_of_one = name.startswith("environment.") and (old is None or new is None)
    return relevance("environment.only" if is_of_one and "seccomp" not in name else name)


def _differences(first: Fingerprint, second: Fingerprint) -> Iterator[tuple[str, str | None, str | None]]:
    for change in diff(first, second):
        old, new = _text(change.before), _text(change.after)
        parts = _parts(old), _parts(new)
        if old is None and new is None:
            continue
        if parts[0] is None or parts[1] is None:
            yield change.name, *_lines(old, new)
            continue
        for key in sorted({*parts[0], *parts[1]}):
            a, b = parts[0].get(key), parts[1].get(key)
            if a != b:
                yield f"{change.name}.{key}", a, b


def _text(fact: Fact | None) -> str | None:
    return fact.value if fact is not None and fact.state is FactState.PRESENT else None


def _parts(text: str | None) -> dict[str, str] | None:
    """Return the fields of a JSON object as texts, None where a text is none."""
    try:
        content = json.loads(text) if text and text.startswith("{") else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in content.items()}


def _lines(old: str | None, new: str | None) -> tuple[str | None, str | None]:
    """Return two texts without the lines that both have."""
    if old is None or new is None or "\n" not in old + new:
        return old, new
    before, after = old.split("\n"), new.split("\n")
    only = ([line for line in before if line not in after], [line for line in after if line not in before])
    if not any(only):
        return old, new
    return "\n".join(only[0]) or None, "\n".join(only[1]) or None
