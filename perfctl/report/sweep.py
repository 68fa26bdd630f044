"""Benchmarks of a run that differ in one parameter: which belong together, and at which value each stands."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perfctl.errors import UnknownName
from perfctl.model import Parameter
from perfctl.store import StoredBenchmark


@dataclass(frozen=True, slots=True)
class Sweep:
    """The benchmarks of a run by the value that a parameter has in each."""

    parameter: str
    groups: Mapping[str, str]
    """Benchmark -> what all that differ from it in the parameter alone are called together."""
    values: Mapping[str, Parameter]
    """Benchmark -> the parameter's value; numbers in their order, words in the suite's."""


def sweep_by(benchmarks: Sequence[StoredBenchmark], parameter: str) -> Sweep:
    """Return the benchmarks that differ from another one in this parameter alone.

    Raises UnknownName, with the parameters that there are, when there is none.
    """
    groups = _groups(benchmarks, parameter)
    if not groups:
        names = {name: None for item in benchmarks for name in item.parameters}
        known = [name for name in names if _groups(benchmarks, name)]
        there = f"they differ in {', '.join(known)}" if known else "a parameter that is a list makes such"
        raise UnknownName(f"no two benchmarks of the run differ in {parameter!r:.80} alone", hint=there)
    values = {item.name: item.parameters[parameter] for group in groups for item in group}
    return Sweep(
        parameter,
        {item.name: _common(group) for group in groups for item in group},
        dict(sorted(values.items(), key=lambda item: _order(item[1]))),
    )


def _groups(benchmarks: Sequence[StoredBenchmark], parameter: str) -> list[list[StoredBenchmark]]:
    found: dict[tuple[object, ...], list[StoredBenchmark]] = {}
    for item in benchmarks:
        if parameter in item.parameters:
            others = sorted((name, value) for name, value in item.parameters.items() if name != parameter)
            found.setdefault((item.workload, item.definition, *others), []).append(item)
    return [group for group in found.values() if len(group) > 1]


def _common(group: Sequence[StoredBenchmark]) -> str:
    """Return what their names begin with, or their workload where they have nothing in common."""
    names = [f"{item.name}-" for item in group]
    same = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same).rstrip("-._") or group[0].workload


def _order(value: Parameter) -> tuple[bool, float]:
    # Words stay in the order of the suite.
    return (isinstance(value, str), 0.0 if isinstance(value, str) else float(value))
