"""One benchmark over all runs: where it changed, and what changed with it (docs/trends.md has the rules).

A point is a run: its ratio to the baseline of the same run, in which what the machine does to both is not
seen. The raw baseline has a series of its own, which shows what the machine does and never raises an alarm.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from statistics import median

from perfctl.errors import PerfctlError, UnknownName
from perfctl.model import Metric, Target
from perfctl.model.quantity import counted
from perfctl.report.segments import FactSources, Segments
from perfctl.report.trend_points import TrendPoint, baseline_points, ratio_points
from perfctl.stats.change_points import FEWEST_POINTS, SMALLEST_SHIFT, change_points
from perfctl.stats.order import EquivalenceMargin, equivalence_margin
from perfctl.store import HistoryCell, HistoryRun, Store, StoredBenchmark
from perfctl.workloads import known_workload

FEWEST_RUNS = 2 * FEWEST_POINTS
"""Runs that a segment needs before a change can be seen in it."""

RAW = "a raw value: it follows the machine, so it never counts as an alarm"


@dataclass(frozen=True, slots=True)
class TrendChange:
    """A change between points `index` - 1 and `index` of a series; `factor` is after / before."""

    index: int
    state: str
    """'suspected' or 'confirmed'."""
    factor: float
    p: float
    block_p: float | None
    reason: str
    """Why it is not confirmed; '' when it is."""
    facts: tuple[str, ...]
    """What else changed there though it starts no segment, e.g. 'h1: load.neighbours: (none) -> qemu'."""


@dataclass(frozen=True, slots=True)
class TrendBreak:
    """Point `index` begins a new segment because of these differences of fingerprints."""

    index: int
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrendSeries:
    """The points of one environment on one target, the oldest first. `environment` None: the raw baseline."""

    metric: Metric
    target: Target
    environment: str | None
    baseline: str
    accelerator: str | None
    baseline_accelerator: str | None
    points: tuple[TrendPoint, ...]
    breaks: tuple[TrendBreak, ...]
    changes: tuple[TrendChange, ...]
    margin: EquivalenceMargin
    unknown_facts: int
    """Points of which no fingerprint is kept: whether they belong to another segment is not known."""
    without_ratio: int
    """Runs with values that have no ratio: no block has both, or not all values are positive."""

    @property
    def is_emulated(self) -> bool:
        """Whether a side ran under 'tcg': the figures are no overhead then."""
        return "tcg" in (self.accelerator, self.baseline_accelerator)

    @property
    def smallest_shift(self) -> float:
        """The share up to which a shift of the ratio is no change."""
        return max(SMALLEST_SHIFT, self.margin.share)

    @property
    def lacking(self) -> int:
        """How many runs the newest segment lacks before a change can be seen in it."""
        start = self.breaks[-1].index if self.breaks else 0
        return max(0, FEWEST_RUNS - (len(self.points) - start))


@dataclass(frozen=True, slots=True)
class TrendReport:
    """All series of one benchmark, and what was left out of them."""

    benchmark: StoredBenchmark
    database: str
    runs: int
    """Runs that planned it."""
    series: tuple[TrendSeries, ...]
    left_out: tuple[str, ...]
    """What is of that name and yet not of these series, e.g. the same name with other parameters."""


def known_benchmarks(store: Store) -> list[str]:
    """Return the names of all benchmarks that a run has planned."""
    return sorted({item.benchmark.name for item in store.history.named_benchmarks()})


def trend_report(
    store: Store,
    benchmark: str,
    *,
    metric: str | None = None,
    environments: Collection[str] = (),
    hosts: Collection[str] = (),
) -> TrendReport:
    """Return the history of `benchmark` (a name in a suite): its headline metric, or another one.

    The series are those of the newest run's workload and parameters, whatever it was called before.
    `environments` and `hosts` narrow them; a pair belongs to both of its hosts. Raises UnknownName, with the
    names that come close.
    """
    named = store.history.named_benchmarks()
    mine = [item for item in named if item.benchmark.name == benchmark]
    if not mine:
        raise unknown_name(
            "the database has no benchmark", benchmark, {item.benchmark.name for item in named}
        )
    newest, runs = mine[-1].benchmark, store.history.runs()
    cells = store.history.cells_of_key(newest.key)
    chosen, other_units = _metric_of(cells, metric)
    left_out = [
        f"{counted(item.runs, 'run')} of {benchmark} as {_call(item.benchmark)}: another benchmark"
        for item in mine[:-1]
    ]
    wanted = [cell for cell in cells if chosen is not None and cell.metric.identity == chosen.identity]
    _require_known("environment", environments, {cell.environment for cell in wanted})
    _require_known("host", hosts, {host for cell in wanted for host in cell.target.hosts})
    wanted = [cell for cell in wanted if not hosts or set(cell.target.hosts) & set(hosts)]
    history = _History(newest, runs, Segments(store))
    series = [
        history.series(leg)
        for leg in _cells_by_series(wanted, runs)
        if leg.environment is None or not environments or leg.environment in environments
    ]
    planned = sum(item.runs for item in named if item.benchmark.key == newest.key)
    return TrendReport(
        benchmark=newest,
        database=store.name,
        runs=planned,
        series=tuple(one for one in series if one.points or one.without_ratio),
        left_out=(*left_out, *other_units),
    )


@dataclass(frozen=True, slots=True)
class _SeriesCells:
    """The cells of one series by run: those of the environment, and those of the baseline."""

    metric: Metric
    target: Target
    environment: str | None
    baseline: str
    accelerator: str | None
    baseline_accelerator: str | None
    cells: Mapping[str, HistoryCell]
    base_cells: Mapping[str, HistoryCell]
    aa_cells: Mapping[str, HistoryCell]

    def definitions(self, run_id: str) -> dict[str, str]:
        """Return what the names of the environments stood for in a run."""
        cells = (found for found in (self.cells.get(run_id), self.base_cells.get(run_id)) if found)
        return {cell.environment: cell.environment_key for cell in cells}


def _cells_by_series(cells: Sequence[HistoryCell], runs: Sequence[HistoryRun]) -> list[_SeriesCells]:
    """Sort cells into series: per target the raw baseline, then every environment against it.

    Guests of two accelerators are never compared, so each has a series of its own.
    """
    baselines = {run.run_id: run.baseline for run in runs}
    by_leg: dict[tuple[Target, str, str, str | None, int], dict[str, HistoryCell]] = {}
    for cell in cells:
        base = baselines[cell.run_id]
        key = (cell.target, base, cell.environment, cell.accelerator, cell.replicate)
        by_leg.setdefault(key, {})[cell.run_id] = cell
    found = []
    for (target, base, name, accelerator, replicate), base_cells in by_leg.items():
        if name != base or replicate != 1:
            continue
        metric = next(iter(base_cells.values())).metric
        again = by_leg.get((target, base, base, accelerator, 2), {})
        found.append(
            _SeriesCells(metric, target, None, base, accelerator, accelerator, {}, base_cells, again)
        )
        for other, environment_cells in by_leg.items():
            if other[:2] != (target, base) or other[2] == base or other[4] != 1:
                continue
            if accelerator is not None and other[3] is not None and accelerator != other[3]:
                continue
            found.append(
                _SeriesCells(
                    metric,
                    target,
                    other[2],
                    base,
                    other[3],
                    accelerator,
                    environment_cells,
                    base_cells,
                    again,
                )
            )
    order = {target: place for place, target in enumerate(dict.fromkeys(leg.target for leg in found))}
    return sorted(found, key=lambda leg: (order[leg.target], leg.environment or "", leg.accelerator or ""))


@dataclass(frozen=True, slots=True)
class _History:
    """What all series of a benchmark share."""

    benchmark: StoredBenchmark
    runs: Sequence[HistoryRun]
    segments: Segments

    def series(self, leg: _SeriesCells) -> TrendSeries:
        """Return one series with its segments and changes."""
        aa_points, _ = ratio_points(leg.aa_cells, leg.base_cells, self.runs)
        margin = equivalence_margin(
            [point.value for point in aa_points], resolution=_resolution(self.benchmark, leg)
        )
        if leg.environment is None:
            points, without = baseline_points(leg.base_cells, self.runs)
        else:
            points, without = ratio_points(leg.cells, leg.base_cells, self.runs)
        ids = [point.run_id for point in points]
        sources = FactSources(leg.target, tuple(filter(None, (leg.environment, leg.baseline))))
        breaks = self.segments.breaks(ids, sources, {run_id: leg.definitions(run_id) for run_id in ids})
        changes: list[TrendChange] = []
        ends = [0, *(index for index, _ in breaks), len(points)]
        for start, end in pairwise(ends):
            changes += self._changes(leg, points, range(start, end), margin, sources)
        return TrendSeries(
            *(leg.metric, leg.target, leg.environment, leg.baseline),
            *(leg.accelerator, leg.baseline_accelerator),
            points=tuple(points),
            breaks=tuple(TrendBreak(*item) for item in breaks),
            changes=tuple(changes),
            margin=margin,
            unknown_facts=self.segments.unknown(ids, sources),
            without_ratio=without,
        )

    def _changes(
        self,
        leg: _SeriesCells,
        points: Sequence[TrendPoint],
        segment: range,
        margin: EquivalenceMargin,
        sources: FactSources,
    ) -> list[TrendChange]:
        """Return the changes inside one segment. Its seed is what it is and where it begins."""
        own = [points[index] for index in segment]
        if len(own) < FEWEST_RUNS:
            return []
        found = change_points(
            [point.value for point in own],
            seed=f"{self.benchmark.key}/{leg.metric.name}/{leg.target}/{leg.environment}/{own[0].run_id}",
            blocks=None if leg.environment is None else [point.differences for point in own],
            margin=margin.share,
        )
        ends = [0, *(item.index for item in found), len(own)]
        ids = [point.run_id for point in own]
        return [
            TrendChange(
                index=segment.start + item.index,
                state=item.state.value,
                factor=math.exp(item.shift),
                p=item.p,
                block_p=item.block_p,
                reason=RAW if leg.environment is None else item.reason,
                facts=self.segments.changed_with(
                    ids[ends[place] : item.index], ids[item.index : ends[place + 2]], sources
                ),
            )
            for place, item in enumerate(found)
        ]


def _resolution(benchmark: StoredBenchmark, leg: _SeriesCells) -> float:
    """Return the tool's resolution as a share of the smallest values; 0 where nothing is known of it."""
    workload = known_workload(benchmark)
    if workload is None:
        return 0.0
    try:
        declared = workload.metrics(benchmark.parameters)
    except (PerfctlError, KeyError):  # Parameters of another version: nothing is known of its metrics.
        return 0.0
    metric = next((item for item in declared if item.name == leg.metric.name), leg.metric)
    cells = (*leg.cells.values(), *leg.base_cells.values())
    medians = [abs(median(list(cell.values.values()))) for cell in cells if cell.values]
    smallest = min(filter(None, medians), default=math.inf)
    # A ratio is compared with a ratio: a step may be lost, or won, in either.
    return max(metric.resolution or 0.0, 2 * (metric.step or 0.0) / smallest)


def _metric_of(cells: Sequence[HistoryCell], wanted: str | None) -> tuple[Metric | None, tuple[str, ...]]:
    """Return the metric asked for (default: the headline) as the newest run has it, and what is not it.

    Of one name in two units, or that was better the other way, only the newest is one series.
    """
    names = {cell.metric.name for cell in cells}
    if wanted is not None and wanted not in names and cells:
        raise unknown_name("the benchmark has no metric", wanted, names)
    mine = [cell for cell in cells if (cell.metric.name == wanted if wanted else cell.metric.headline)]
    if not mine:
        return None, ()
    newest = mine[-1].metric
    others: dict[str, set[str]] = {}
    for cell in mine:
        if cell.metric.identity != newest.identity and cell.metric.name == newest.name:
            text = f"{cell.metric.name} in {cell.metric.unit}, {cell.metric.direction} is better"
            others.setdefault(text, set()).add(cell.run_id)
    return newest, tuple(
        f"{counted(len(ids), 'run')} with {text}: not of this series" for text, ids in others.items()
    )


def _require_known(kind: str, wanted: Collection[str], known: Collection[str]) -> None:
    for name in wanted:
        if name not in known and known:
            raise unknown_name(f"the benchmark has no {kind}", name, known)


def unknown_name(what: str, name: str, known: Collection[str]) -> UnknownName:
    """Return the error with the names that come close, or all."""
    close = get_close_matches(name, known, n=3)
    if close:
        return UnknownName(f"{what} {name!r}", hint=f"did you mean {' or '.join(close)}?")
    return UnknownName(f"{what} {name!r}", hint=f"there are: {', '.join(sorted(known)) or 'none yet'}")


def _call(benchmark: StoredBenchmark) -> str:
    return " ".join(
        [benchmark.workload, *(f"{name}={value}" for name, value in benchmark.parameters.items())]
    )
