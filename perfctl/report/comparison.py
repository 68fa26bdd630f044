"""What each environment of a run costs against the baseline, with all that a reader needs to judge it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfctl.compare import Analysis, AnalysisContext, InvocationKey, PairedComparison, analyse
from perfctl.errors import DataError, UnknownName
from perfctl.model import (
    USAGE_METRICS,
    Comparison,
    FleetComparison,
    Metric,
    Observation,
    Status,
    SuiteComparison,
)
from perfctl.plan import plan_from_json
from perfctl.report.health import Health, health
from perfctl.report.left_out import LeftOut, left_out, planned_hosts
from perfctl.report.margins import declared_metrics, equivalence_margins
from perfctl.report.outliers import Outlier, outliers
from perfctl.report.trend import unknown_name
from perfctl.stats.precision import PILOT_BLOCKS
from perfctl.store import Count, HistoryCell, Omission, RunDetail, RunSummary, Store
from perfctl.workloads import known_workload

if TYPE_CHECKING:
    from perfctl.store import RunReader

ALL_METRICS = "all"
USAGE_NAMES = frozenset(metric.name for metric in USAGE_METRICS)
"""What commands used is compared where it is asked for by name: `all` are the metrics of the reports."""


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """The comparisons of one run. `counts` says how its invocations ended, failures by reason."""

    run: RunSummary
    baseline: str
    database: str
    """The path of the database the figures came from."""
    paired: tuple[PairedComparison, ...]
    """One per host (or pair) with the differences it rests on, the A/A tests among them."""
    fleets: tuple[FleetComparison, ...]
    """One per benchmark, metric and environment that has two hosts or more."""
    suites: tuple[SuiteComparison, ...]
    """One per environment that has two benchmarks or more."""
    health: Health
    """The rolling A/A rate over the database up to this run."""
    left_out: tuple[LeftOut, ...]
    outliers: tuple[Outlier, ...]
    """Of the values in the comparisons, with what was counted as each was measured."""
    counts: tuple[Count, ...]
    blocks: int
    """Blocks with at least one value, over all benchmarks and targets."""
    planned_blocks: int
    """Of the plan as it is now: second stages are in it as soon as they are decided."""
    first_planned_blocks: int | None
    """Of the plan that the run began with, where second stages were decided; None where none was."""
    other_metrics: tuple[str, ...]
    """Metrics of the run that were not asked for."""
    other_benchmarks: tuple[str, ...] = ()
    """Benchmarks of the run that were not asked for: their lines count in q and are not here."""

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The comparisons of hosts and pairs."""
        return tuple(item.comparison for item in self.paired)

    @property
    def failed(self) -> tuple[Count, ...]:
        """The counts of the invocations that gave no value."""
        return tuple(item for item in self.counts if item.status is not Status.OK)

    @property
    def aa_tests(self) -> tuple[Comparison, ...]:
        """The built-in A/A tests that have a p."""
        return tuple(item for item in self.comparisons if item.is_aa and item.p is not None)

    @property
    def emulated(self) -> tuple[str, ...]:
        """The environments that ran under tcg, each once: their figures are no overhead."""
        found = [item.environment for item in self.comparisons if item.accelerator == "tcg"]
        found += [item.baseline for item in self.comparisons if item.baseline_accelerator == "tcg"]
        return tuple(dict.fromkeys(found))

    @property
    def confounded(self) -> tuple[str, ...]:
        """What else differs between legs that were compared, each once."""
        return tuple(dict.fromkeys(item.confounded for item in self.comparisons if item.confounded))


def comparison_report(
    store: Store,
    run: str,
    *,
    baseline: str | None = None,
    metrics: Collection[str] = (),
    benchmarks: Collection[str] = (),
    cells: Sequence[HistoryCell] | None = None,
) -> ComparisonReport:
    """Return the comparisons of `run` (an id, its beginning or end, 'latest') with its baseline or another.

    Without `metrics` only headline metrics are compared; 'all' among them is every metric. `benchmarks` keeps
    the lines of these alone (default: all) with the verdicts that they have among all benchmarks, and no
    means over the suite. `cells` are those of the baselines of all runs, where they have been read already.
    Raises UnknownName for a run, environment, metric or benchmark that is not there.
    """
    stored = store.run(run)
    detail, seen = stored.detail(), stored.observations(with_usage=asks_for_usage(metrics))
    environments = [item.name for item in detail.environments]
    chosen = baseline or detail.baseline
    if chosen not in environments:
        raise UnknownName(
            f"the run has no environment {chosen!r}",
            where=f"run {stored.id}",
            hint=f"it has: {', '.join(environments)}",
        )
    other_benchmarks = benchmarks_not_asked(benchmarks, detail)
    wanted, others = chosen_metrics(seen, metrics)
    omissions = stored.omissions()
    cells = store.history.baseline_cells() if cells is None else cells
    found = _analysis(stored, detail, chosen, wanted, omissions, history_before(store, detail, wanted, cells))
    paired = tuple(item for item in found.paired if item.comparison.benchmark not in other_benchmarks)
    comparisons = [item.comparison for item in paired]
    return ComparisonReport(
        run=detail.summary,
        baseline=chosen,
        database=store.name,
        paired=paired,
        fleets=tuple(item for item in found.fleets if item.benchmark not in other_benchmarks),
        suites=() if other_benchmarks else found.suites,
        health=health(store, until=stored.id, cells=cells),
        left_out=tuple(
            item
            for item in left_out(omissions, comparisons, seen, planned=planned_hosts(stored, detail))
            if item.benchmark not in other_benchmarks
        ),
        outliers=outliers(stored, comparisons),
        counts=detail.counts,
        blocks=len({(item.benchmark, item.target.host, item.target.peer, item.block) for item in seen}),
        # Every block has each environment once and the baseline twice.
        planned_blocks=detail.summary.planned // (len(environments) + 1),
        first_planned_blocks=_first_planned_blocks(stored),
        other_metrics=others,
        other_benchmarks=other_benchmarks,
    )


def _first_planned_blocks(run: RunReader) -> int | None:
    try:
        plan = plan_from_json(run.plan_json())
    except DataError:
        # Of another version of perfctl: how it came about is not known.
        return None
    decided = {item.benchmark for item in plan.decisions}
    if not decided:
        return None
    return sum(block.benchmark not in decided or block.index < PILOT_BLOCKS for block in plan.blocks())


def _analysis(
    run: RunReader,
    detail: RunDetail,
    baseline: str,
    wanted: Sequence[Observation],
    omissions: Sequence[Omission],
    history: Sequence[HistoryCell],
) -> Analysis:
    declared = declared_metrics(detail)
    return analyse(
        wanted,
        AnalysisContext(
            baseline=baseline,
            environments=[item.name for item in detail.environments],
            kinds={item.name: item.kind for item in detail.environments},
            digests=run.digests(),
            programs=programs(detail),
            declared=declared,
            margins=equivalence_margins(detail, declared, history),
            omissions=reasons(omissions),
            bounds=run.suspect_values(),
            changes=run.changes(),
        ),
    )


def reasons(omissions: Sequence[Omission]) -> dict[InvocationKey, str]:
    """Return why there is no value, by benchmark, target, environment, replicate and block."""
    return {
        (item.benchmark, item.target, item.environment, item.replicate, item.block): item.reason
        for item in omissions
    }


def history_before(
    store: Store, detail: RunDetail, wanted: Sequence[Observation], cells: Sequence[HistoryCell]
) -> list[HistoryCell]:
    """Return the values of both replicates of the baseline in the runs before this one.

    `cells` are those of all headlines; a benchmark of which other metrics are wanted is read whole.
    """
    ids = [run.run_id for run in store.history.runs()]
    earlier = frozenset(ids[: ids.index(detail.summary.run_id)])
    if not earlier:
        return []
    # How what commands used differs from one A/A test to the next is not kept.
    told = (item for item in wanted if item.metric.name not in USAGE_NAMES)
    others = {item.benchmark for item in told if not item.metric.headline}
    found = [cell for cell in cells if cell.benchmark not in others]
    for benchmark in sorted(others):
        found += store.history.benchmark_cells(benchmark)
    return [cell for cell in found if cell.run_id in earlier]


def asks_for_usage(metrics: Collection[str]) -> bool:
    """Return whether one of the metrics is of what commands used."""
    return not USAGE_NAMES.isdisjoint(metrics)


def chosen_metrics(
    seen: Sequence[Observation], metrics: Collection[str]
) -> tuple[list[Observation], tuple[str, ...]]:
    """Return the observations of the metrics asked for, and the names of the other metrics."""
    names = {item.metric.name for item in seen}
    unknown = sorted(set(metrics) - names - {ALL_METRICS})
    if unknown and seen:
        known = sorted(names - USAGE_NAMES)
        raise UnknownName(
            f"the run has no metric {unknown[0]!r}",
            hint=f"it has: {', '.join(known)}, or all; what commands used: {', '.join(sorted(USAGE_NAMES))}",
        )

    def is_asked(metric: Metric) -> bool:
        if metric.name in metrics:
            return True
        return metric.name not in USAGE_NAMES if ALL_METRICS in metrics else not metrics and metric.headline

    chosen = [item for item in seen if is_asked(item.metric)]
    return chosen, tuple(sorted(names - USAGE_NAMES - {item.metric.name for item in chosen}))


def benchmarks_not_asked(asked: Collection[str], *runs: RunDetail) -> tuple[str, ...]:
    """Return the benchmarks of the runs that are not among those asked for; none where none is asked for.

    Raises UnknownName, with close names, for one that no run has.
    """
    names = list(dict.fromkeys(item.name for detail in runs for item in detail.benchmarks))
    for name in asked:
        if name not in names:
            raise unknown_name(
                f"the {'run has' if len(runs) == 1 else 'runs have'} no benchmark", name, names
            )
    return tuple(name for name in names if asked and name not in asked)


def programs(detail: RunDetail) -> dict[str, tuple[str, ...]]:
    """Return the programs that each benchmark uses; one of a workload that is gone may use any."""
    return {
        item.name: workload.programs
        for item in detail.benchmarks
        if (workload := known_workload(item)) is not None
    }
