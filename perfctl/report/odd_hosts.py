"""Hosts of a run that do not belong to the others, and the facts that tell them apart.

Two kinds of value are looked at, each against the other hosts of the run: the level of the baseline, and the
cost of each environment. Every host has one p per benchmark and kind, from a robust z; all of them are
corrected together (Holm), so that of runs without an odd host at most 5 % name one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from perfctl.model import Metric, Target
from perfctl.report.comparison import ComparisonReport
from perfctl.report.host_facts import FactValues, HostFacts
from perfctl.stats.multiplicity import holm
from perfctl.stats.odd import FEWEST, odd_p, robust_z
from perfctl.stats.order import equivalence_margin

LEVEL = 0.05
"""Largest p, after the correction, of a host that is called odd."""

_MOST_FACTS = 8
_LEAST_SEPARATION = 0.5
_LIKELY = (
    *(
        "cpu.freq.governor",
        "cpu.microcode",
        "cpu.boost",
        "cpu.intel_no_turbo",
        "kernel.release",
        "memory.thp",
    ),
    *(
        "cpu.vulnerabilities",
        "kernel.cmdline",
        "cpu.smt.active",
        "cpu.freq.max",
        "vm.bios_version",
        "cpu.throttle",
    ),
    *("storage.scheduler", "storage.model", "time.current_clocksource", "net.links"),
)
"""Facts that often make a difference: of those that separate equally well they come first."""


@dataclass(frozen=True, slots=True)
class Oddity:
    """One value of a host that is far from the others'. `environment` '' is the level of the baseline."""

    benchmark: str
    metric: Metric
    environment: str
    factor: float
    """The host's value over the median of all hosts': of levels, or of ratios to the baseline."""
    z: float
    p: float
    """After the correction for all tests of the run."""


@dataclass(frozen=True, slots=True)
class SeparatingFact:
    """A fact in which an odd host differs from most others."""

    name: str
    value: str
    most: str
    """What most other hosts have."""
    separation: float
    """The share of the other hosts that have `most`, less the share that have this host's value."""


@dataclass(frozen=True, slots=True)
class OddHost:
    """A host with what is odd about it, the surest first, and facts that it has and most others do not."""

    host: str
    oddities: tuple[Oddity, ...]
    facts: tuple[SeparatingFact, ...]


@dataclass(frozen=True, slots=True)
class OddHosts:
    """The odd hosts of a run, the surest first, and how many tests were corrected together."""

    run_id: str
    hosts: int
    tests: int
    found: tuple[OddHost, ...]
    has_pairs: bool
    """Whether values of pairs are among them: both hosts of a pair have them."""


@dataclass(frozen=True, slots=True)
class _Series:
    """One value per host: logarithms of levels or of ratios."""

    benchmark: str
    metric: Metric
    environment: str
    values: Mapping[str, float]


def odd_hosts(report: ComparisonReport, facts: HostFacts) -> OddHosts:
    """Return the odd hosts among those of a run; nothing where fewer than five have values.

    What is within the least equivalence margin (1 %) of the median host is not odd, however alike the others
    are. Emulated figures and those with values that are not positive are left out.
    """
    tests: list[tuple[str, Oddity]] = []
    for series in _series(report):
        hosts, row = list(series.values), np.array(list(series.values.values()))
        if len(hosts) < FEWEST:
            continue
        p_values, z_values, middle = odd_p(row).tolist(), robust_z(row)[0].tolist(), float(np.median(row))
        for host, value, z, p in zip(hosts, row.tolist(), z_values, p_values, strict=True):
            factor = math.exp(value - middle)
            tests.append((host, Oddity(series.benchmark, series.metric, series.environment, factor, z, p)))
    corrected = holm([oddity.p for _, oddity in tests])
    margin = math.log1p(equivalence_margin().share)
    found: dict[str, list[Oddity]] = {}
    for (host, item), p in zip(tests, corrected, strict=True):
        if p is not None and p <= LEVEL and abs(math.log(item.factor)) > margin:
            oddity = Oddity(item.benchmark, item.metric, item.environment, item.factor, item.z, p)
            found.setdefault(host, []).append(oddity)
    named = [
        OddHost(
            host,
            tuple(sorted(several, key=lambda item: (item.p, -abs(item.z)))),
            separating_facts(host, facts, others_odd=found.keys() - {host}),
        )
        for host, several in found.items()
    ]
    named.sort(key=lambda item: (item.oddities[0].p, -abs(item.oddities[0].z), item.host))
    return OddHosts(
        run_id=report.run.run_id,
        hosts=len({host for item in report.comparisons for host in item.target.hosts}),
        tests=len(tests),
        found=tuple(named),
        has_pairs=any(item.target.peer for item in report.comparisons),
    )


def _series(report: ComparisonReport) -> list[_Series]:
    levels: dict[tuple[str, Metric, str], dict[Target, float]] = {}
    for item in report.comparisons:
        if item.is_emulated or item.is_aa:
            continue
        if item.baseline_value is not None and item.baseline_value > 0:
            of_level = levels.setdefault((item.benchmark, item.metric, ""), {})
            of_level.setdefault(item.target, math.log(item.baseline_value))
        if item.ratio is not None:
            of_cost = levels.setdefault((item.benchmark, item.metric, item.environment), {})
            of_cost[item.target] = math.log(item.ratio)
    return [_Series(*key, _by_host(values)) for key, values in levels.items()]


def _by_host(values: Mapping[Target, float]) -> dict[str, float]:
    """Return one value per host: its own, or the median over the pairs that it is part of."""
    found: dict[str, list[float]] = {}
    for target, value in values.items():
        for host in target.hosts:
            found.setdefault(host, []).append(value)
    return {host: median(several) for host, several in found.items()}


def separating_facts(
    host: str, facts: HostFacts, *, others_odd: Sequence[str] | set[str] = ()
) -> tuple[SeparatingFact, ...]:
    """Return the facts that `host` has and most others do not, the best separation first.

    Hosts that are odd themselves are not counted among the others. A fact of which every host has a value of
    its own tells nothing and is left out.
    """
    found = [
        fact
        for row in facts.differing
        if host in row.values and (fact := _separation(host, row, set(others_odd))) is not None
    ]
    order = {name: place for place, name in enumerate(_LIKELY)}
    found.sort(key=lambda item: (-item.separation, order.get(item.name, len(order)), item.name))
    return tuple(found[:_MOST_FACTS])


def _separation(host: str, row: FactValues, odd: set[str]) -> SeparatingFact | None:
    own = row.values[host]
    others = [value for name, value in row.values.items() if name != host and name not in odd]
    if not others:
        return None
    most, count = Counter(others).most_common(1)[0]
    separation = (count - others.count(own)) / len(others)
    if most == own or separation < _LEAST_SEPARATION:
        return None
    return SeparatingFact(row.name, own, most, separation)
