"""How the environments' costs changed between two runs, or differ between the hosts of one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from perfctl.compare import Confounders, PairingContext, RunsAnalysis, RunSide, compare_runs, pair
from perfctl.errors import Refused, UnknownName, UsageError
from perfctl.model import Comparison, FleetComparison, Observation, RunComparison, Target
from perfctl.report.comparison import (
    asks_for_usage,
    benchmarks_not_asked,
    chosen_metrics,
    history_before,
    programs,
    reasons,
)
from perfctl.report.conditions import DIMENSIONS, conditions, differences, redefined
from perfctl.report.health import Health, health
from perfctl.report.left_out import LeftOut, left_out, planned_hosts
from perfctl.report.margins import declared_metrics, equivalence_margins
from perfctl.store import HistoryCell, Omission, RunDetail, RunSummary, Store

if TYPE_CHECKING:
    from perfctl.store import RunReader

_Line = TypeVar("_Line", RunComparison, FleetComparison, LeftOut)


@dataclass(frozen=True, slots=True)
class RunReport:
    """The same environments in two runs (or, for `by` 'host', on two hosts of one)."""

    first: RunSummary
    second: RunSummary
    baseline: str
    by: str | None
    """The dimension that was allowed to differ."""
    comparisons: tuple[RunComparison, ...]
    """One per host (or pair)."""
    fleets: tuple[FleetComparison, ...]
    """One per benchmark, metric and environment that two hosts or more have in both runs."""
    unmatched: tuple[str, ...]
    """What could not be compared, and why."""
    left_out: tuple[tuple[LeftOut, ...], tuple[LeftOut, ...]]
    """What no figure rests on, and why, in each run; of one run's hosts the second is empty."""
    health: Health
    database: str
    other_metrics: tuple[str, ...]
    other_benchmarks: tuple[str, ...] = ()
    """Benchmarks of the runs that were not asked for: their lines count in q and are not here."""

    @property
    def is_one_run(self) -> bool:
        """Whether hosts of one run are compared: they ran side by side."""
        return self.first.run_id == self.second.run_id

    @property
    def confounded(self) -> tuple[str, ...]:
        """What else differs, each once."""
        return tuple(dict.fromkeys(item.confounded for item in self.comparisons if item.confounded))


def run_report(
    store: Store,
    run: str,
    other: str | None = None,
    *,
    by: str | None = None,
    baseline: str | None = None,
    metrics: Collection[str] = (),
    benchmarks: Collection[str] = (),
) -> RunReport:
    """Return every environment of `run` against itself in `other`; without `other`, its hosts (`by` 'host').

    `by` is the one dimension that may differ, `benchmarks` as in `comparison_report`. Raises UsageError where
    the dimension does not differ or does not fit, Refused where something else differs as well or nothing is
    in common, UnknownName for what is not there.
    """
    runs = store.run(run), store.run(other or run)
    details = runs[0].detail(), runs[1].detail()
    one_run = details[0].summary.run_id == details[1].summary.run_id
    if one_run and (other is not None or by != "host"):
        raise UsageError(
            "a run cannot be compared with itself", hint="name another run, or compare its hosts: --by host"
        )
    if by is not None and by not in DIMENSIONS:
        raise UsageError(f"runs cannot be compared by {by!r}", hint=f"one of: {', '.join(DIMENSIONS)}")
    other_benchmarks = benchmarks_not_asked(benchmarks, *details)
    chosen = baseline or details[0].baseline
    mismatches = _Mismatches(details, chosen, other_benchmarks)
    sides, lost, others = _sides(runs, details, chosen, metrics, mismatches)
    in_order = [item.run_id for item in store.history.runs()]
    newest = max(details, key=lambda item: in_order.index(item.summary.run_id))
    cells = store.history.baseline_cells()
    analysis, found = _compared(store, runs, details, newest, sides, by, cells)
    unmatched = [] if one_run else _only_in_one(sides, analysis.comparisons, details, other_benchmarks)

    def asked(items: Iterable[_Line]) -> tuple[_Line, ...]:
        return tuple(item for item in items if item.benchmark not in other_benchmarks)

    _check(asked(analysis.comparisons), found, by, mismatches.reasons)
    return RunReport(
        first=details[0].summary,
        second=details[1].summary,
        baseline=chosen,
        by=by,
        comparisons=asked(analysis.comparisons),
        fleets=asked(analysis.fleets),
        unmatched=tuple(mismatches.reasons + unmatched),
        left_out=(asked(lost[0]), () if one_run else asked(lost[1])),
        health=health(store, until=newest.summary.run_id, cells=cells),
        database=store.name,
        other_metrics=others,
        other_benchmarks=other_benchmarks,
    )


def _compared(
    store: Store,
    runs: tuple[RunReader, RunReader],
    details: tuple[RunDetail, RunDetail],
    newest: RunDetail,
    sides: tuple[RunSide, RunSide],
    by: str | None,
    cells: Sequence[HistoryCell],
) -> tuple[RunsAnalysis, dict[str, list[str]]]:
    """Return the comparisons, and by dimension what else differs between their sides."""
    first, second = map(conditions, runs)
    used = programs(details[0])
    found: dict[str, list[str]] = defaultdict(list)

    def confounding(one: Comparison, two: Comparison) -> str:
        different = differences(one, two, first, second, used)
        for dimension, text in different.items():
            found[dimension].append(text)
        return "; ".join(text for dimension, text in different.items() if dimension != by)

    declared = declared_metrics(newest)
    margins = equivalence_margins(newest, declared, history_before(store, newest, (), cells))
    one_run = details[0].summary.run_id == details[1].summary.run_id
    analysis = compare_runs(
        *sides,
        margins=margins,
        confounding=confounding,
        targets=_targets(sides, by=by, one_run=one_run),
        across_accelerators=by == "accelerator",
    )
    return analysis, found


class _Mismatches:
    """What has the same name in two runs and is not the same."""

    def __init__(
        self, details: tuple[RunDetail, RunDetail], baseline: str, not_asked: Collection[str]
    ) -> None:
        found = redefined(*details)
        self.benchmarks = {name for kind, name in found if kind == "benchmark"}
        self.environments = {name for kind, name in found if kind == "environment"}
        for detail in details:
            names = [item.name for item in detail.environments]
            if baseline not in names:
                raise UnknownName(
                    f"the run has no environment {baseline!r}",
                    where=f"run {detail.summary.run_id}",
                    hint=f"it has: {', '.join(names)}",
                )
        if baseline in self.environments:
            raise Refused(
                f"the baseline {baseline!r} is another environment in each run",
                hint="`perfctl show` has both",
            )
        self.reasons = [
            f"benchmark {name}: other parameters in each run"
            for name in sorted(self.benchmarks.difference(not_asked))
        ]
        self.reasons += [
            f"environment {name}: another environment in each run" for name in sorted(self.environments)
        ]

    def keeps(self, item: Observation | Omission) -> bool:
        """Return whether an observation means the same in both runs."""
        return item.benchmark not in self.benchmarks and item.environment not in self.environments


def _sides(
    runs: tuple[RunReader, RunReader],
    details: tuple[RunDetail, RunDetail],
    baseline: str,
    metrics: Collection[str],
    mismatches: _Mismatches,
) -> tuple[tuple[RunSide, RunSide], list[tuple[LeftOut, ...]], tuple[str, ...]]:
    """Return the runs' lines and values, what is left out of each, and metrics that were not asked for."""
    sides: list[RunSide] = []
    lost: list[tuple[LeftOut, ...]] = []
    others: list[str] = []
    for run, detail in zip(runs, details, strict=True):
        measured = run.observations(with_usage=asks_for_usage(metrics))
        wanted, rest = chosen_metrics(measured, metrics)
        seen = [item for item in wanted if mismatches.keeps(item)]
        omissions = [item for item in run.omissions() if mismatches.keeps(item)]
        pairing = PairingContext(
            baseline,
            [item.name for item in detail.environments if item.name not in mismatches.environments],
            Confounders(run.digests(), programs(detail), run.changes()),
            declared_metrics(detail),
            reasons(omissions),
        )
        sides.append(RunSide(pair(seen, pairing), _values(seen)))
        lost.append(
            left_out(
                omissions,
                [line.comparison for line in sides[-1].lines],
                measured,
                planned=[
                    place for place in planned_hosts(run, detail) if place[0] not in mismatches.benchmarks
                ],
            )
        )
        others += rest
    return (sides[0], sides[1]), lost, tuple(dict.fromkeys(others))


def _values(seen: Iterable[Observation]) -> dict[tuple[str, str, Target, str], list[float]]:
    found: dict[tuple[str, str, Target, str], list[float]] = defaultdict(list)
    for item in seen:
        if item.replicate == 1 and item.validity != "invalid":
            found[item.benchmark, item.metric.name, item.target, item.environment].append(item.value)
    return found


def _targets(
    sides: tuple[RunSide, RunSide], *, by: str | None, one_run: bool
) -> Sequence[Mapping[Target, Target]]:
    """Return which targets stand for which: one host for another; nothing where the names are the same."""
    if by != "host":
        return ()
    targets = [[line.comparison.target for line in side.lines] for side in sides]
    found = [list(dict.fromkeys(item for item in side if item.peer is None)) for side in targets]
    if one_run and len(found[0]) >= 2:
        reference, *rest = found[0]
        return [{reference: target} for target in rest]
    if not one_run and len(found[0]) == len(found[1]) == 1:
        return [{found[0][0]: found[1][0]}]
    raise UsageError(
        "hosts can be compared within a run of several, or between two runs of one host each",
        hint=f"the runs have {len(found[0])} and {len(found[1])}",
    )


def _check(
    comparisons: Sequence[RunComparison],
    found: Mapping[str, Sequence[str]],
    by: str | None,
    reasons: Sequence[str],
) -> None:
    """Refuse where nothing can be compared, or more differs than what `by` names."""
    if not comparisons:
        raise Refused(
            "the runs have nothing in common that could be compared",
            hint="; ".join(reasons) or "they need the same benchmarks, environments and hosts",
        )
    if by is None:
        return
    if by not in found:
        raise UsageError(f"the two do not differ in {by}", hint="leave --by away")
    others = {dimension: texts for dimension, texts in found.items() if dimension not in (by, "settings")}
    if others:
        texts = [text for several in others.values() for text in dict.fromkeys(several)]
        raise Refused(
            f"not only the {by} differs, also {', '.join(sorted(others))}: {'; '.join(texts[:3])}",
            hint="without --by it is compared all the same, and marked as confounded",
        )


def _only_in_one(
    sides: tuple[RunSide, RunSide],
    comparisons: Sequence[RunComparison],
    details: tuple[RunDetail, RunDetail],
    not_asked: Collection[str],
) -> list[str]:
    """Return what only one of the two has, of the benchmarks asked for."""
    pairs = [(item.benchmark, item.environment) for item in comparisons]
    first = {(*pair, item.target) for pair, item in zip(pairs, comparisons, strict=True)}
    second = {(*pair, item.other_target) for pair, item in zip(pairs, comparisons, strict=True)}
    found: dict[str, None] = {}
    for side, known, detail in zip(sides, (first, second), details, strict=True):
        for line in side.lines:
            item = line.comparison
            if item.is_aa or item.benchmark in not_asked:
                continue
            if (item.benchmark, item.environment, item.target) not in known:
                place = f"{item.benchmark} in {item.environment} on {item.target}"
                found[f"{place}: only in run {detail.summary.run_id}"] = None
    return list(found)
