"""Which counters of a host moved with the difference that an environment makes, per unit of work.

    counters around each invocation ──grown()──> per unit of work ──pairs within blocks──> ratio, interval, p
        ──Benjamini-Hochberg over the families──> moved, or not

It is association: what moved with the time need not be its cause.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from perfctl.errors import UnknownName
from perfctl.model import Comparison, Metric, Status, Target
from perfctl.report.comparison import comparison_report
from perfctl.report.host_counters import FAMILIES, HostCounters, grown
from perfctl.stats.multiplicity import benjamini_hochberg
from perfctl.stats.paired import paired

if TYPE_CHECKING:
    from perfctl.store import Evidence, RunReader, Store

LEVEL = 0.05
_FEWEST_BLOCKS = 6
"""With fewer there is no interval."""

Leg = tuple[str, int]
"""Environment and replicate."""


@dataclass(frozen=True, slots=True)
class CounterChange:
    """One counter per unit of work: the environment's over the baseline's, from pairs within blocks."""

    name: str
    text: str
    blocks: int
    baseline_value: float
    """The median over blocks, per unit of work."""
    value: float
    ratio: float
    low: float | None
    high: float | None
    p: float | None
    aa_ratio: float | None
    """The same of the baseline's second measurement over its first."""
    q: float | None = None
    """Corrected over the families; None for what is not tested."""

    @property
    def has_moved(self) -> bool:
        """Whether it is said to have moved."""
        return self.q is not None and self.q <= LEVEL


@dataclass(frozen=True, slots=True)
class Explanation:
    """What moved with the difference of one environment on one target."""

    comparison: Comparison
    unit_of_work: str
    """What counters are divided by, e.g. 'transaction', 'invocation'."""
    blocks: int
    tested: tuple[CounterChange, ...]
    """Of the families, in their order; those without values in enough blocks are left out."""
    others: tuple[CounterChange, ...]
    """All other counters, the one that changed most first; not tested."""
    without_values: tuple[str, ...]
    """Families that were 0, or not read, in too many blocks."""

    @property
    def needed_blocks(self) -> int | None:
        """The blocks that one family alone needs to be called moved; None where there are as many."""
        needed = math.ceil(math.log2(2 * max(1, len(self.tested)) / LEVEL))
        return needed if self.blocks < needed else None


def explanations(
    store: Store, run: str, benchmark: str, *, environment: str | None = None, target: str | None = None
) -> list[Explanation]:
    """Return the explanation of each environment on each target of a benchmark, or of those named.

    Raises UnknownName for a run, benchmark, environment or target that is not there.
    """
    report = comparison_report(store, run, benchmarks=[benchmark])
    found = [item for item in report.comparisons if not item.is_aa and item.metric.headline]
    _require("environment", environment, [item.environment for item in found])
    _require("host or pair", target, [str(item.target) for item in found])
    stored = store.run(report.run.run_id)
    return [
        _explain(stored, item, report.baseline)
        for item in found
        if environment in (None, item.environment) and target in (None, str(item.target))
    ]


def _require(what: str, name: str | None, known: Iterable[str]) -> None:
    names = list(dict.fromkeys(known))
    if name is not None and name not in names:
        there = f"there are: {', '.join(names)}" if names else "nothing of the benchmark was compared"
        raise UnknownName(f"the benchmark was not measured on {what} {name!r:.80}", hint=there)


def _explain(stored: RunReader, comparison: Comparison, baseline: str) -> Explanation:
    legs = _legs(stored, comparison)
    names = ((baseline, 1), (comparison.environment, 1), (baseline, 2))
    first, other, second = (legs.get(leg, {}) for leg in names)
    return explain(comparison, first, other, second, unit=unit_of_work(comparison.metric))


def explain(
    comparison: Comparison,
    baseline: Mapping[int, HostCounters],
    environment: Mapping[int, HostCounters],
    again: Mapping[int, HostCounters],
    *,
    unit: str,
) -> Explanation:
    """Return the explanation from counters per unit of work by block; `again`: of the baseline again."""
    blocks = sorted(baseline.keys() & environment.keys())
    tested, without = [], []
    for name, text in FAMILIES.items():
        change = _change(
            name,
            text,
            *({block: leg[block].families for block in leg} for leg in (baseline, environment, again)),
        )
        if change is None:
            without.append(name)
        else:
            tested.append(change)
    names = dict.fromkeys(name for block in blocks for name in environment[block].others)
    others = [
        _change(
            name,
            name,
            *({block: leg[block].others for block in leg} for leg in (baseline, environment, again)),
        )
        for name in names
    ]
    corrected = benjamini_hochberg([item.p for item in tested])
    return Explanation(
        comparison,
        unit,
        len(blocks),
        tuple(replace(item, q=q) for item, q in zip(tested, corrected, strict=True)),
        tuple(sorted(filter(None, others), key=lambda item: -abs(math.log(item.ratio)))),
        tuple(without),
    )


def unit_of_work(metric: Metric) -> str:
    """Return what counters are divided by: one of what a rate counts, else an invocation."""
    what, slash, time = metric.unit.rpartition("/")
    if slash and time == "s":
        return what.removesuffix("s") if what.islower() else what
    return "invocation"


def _legs(stored: RunReader, comparison: Comparison) -> dict[Leg, dict[int, HostCounters]]:
    """Return the counters of each leg's invocations by block, per unit of work."""
    found: dict[Leg, dict[int, HostCounters]] = defaultdict(dict)
    measured = next(item for item in stored.detail().benchmarks if item.name == comparison.benchmark)
    # A command takes longer than it measures, and longest where it must be brought into its environment.
    time_s = measured.parameters.get("time_s")
    for item in stored.evidence(comparison.metric.name):
        if not _is_used(item, comparison.benchmark, comparison.target):
            continue
        work = _work(item, comparison.metric, float(time_s) if time_s else item.duration_s)
        kept = stored.kept_counters(item.invocation_id)
        if work and kept is not None:
            counted = grown(*kept)
            found[item.environment, item.replicate][item.block] = HostCounters(
                {name: value / work for name, value in counted.families.items()},
                {name: value / work for name, value in counted.others.items()},
            )
    return found


def _is_used(item: Evidence, benchmark: str, target: Target) -> bool:
    is_there = (item.benchmark, item.target) == (benchmark, target)
    return is_there and item.counts and item.status is Status.OK and item.validity != "invalid"


def _work(item: Evidence, metric: Metric, time_s: float | None) -> float | None:
    """Return how much work an invocation did in its time, in units of work."""
    if unit_of_work(metric) == "invocation":
        return 1.0
    return None if item.value is None or time_s is None else item.value * time_s


def _change(
    name: str,
    text: str,
    baseline: Mapping[int, Mapping[str, float]],
    environment: Mapping[int, Mapping[str, float]],
    again: Mapping[int, Mapping[str, float]],
) -> CounterChange | None:
    """Return how a counter changed, None where too few blocks have it above zero in both legs."""
    pairs = _pairs(name, baseline, environment)
    if len(pairs) < min(_FEWEST_BLOCKS, len(baseline.keys() & environment.keys())) or not pairs:
        return None
    result = paired([math.log(value / base) for base, value in pairs])
    same = _pairs(name, baseline, again)
    return CounterChange(
        name,
        text,
        result.n,
        median([base for base, _ in pairs]),
        median([value for _, value in pairs]),
        math.exp(result.estimate),
        None if result.low is None else math.exp(result.low),
        None if result.high is None else math.exp(result.high),
        result.p,
        math.exp(paired([math.log(value / base) for base, value in same]).estimate) if same else None,
    )


def _pairs(
    name: str, baseline: Mapping[int, Mapping[str, float]], other: Mapping[int, Mapping[str, float]]
) -> list[tuple[float, float]]:
    """Return the values of the blocks in which both have counted something."""
    both = (
        (baseline[block].get(name, 0.0), other[block].get(name, 0.0)) for block in baseline if block in other
    )
    return [pair for pair in both if min(pair) > 0]
