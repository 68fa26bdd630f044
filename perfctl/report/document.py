"""All that one page shows of a run: its comparisons, and the invocations behind every one of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from perfctl.compare import compare
from perfctl.facts import diff
from perfctl.model import Comparison, Metric, Target
from perfctl.report.comparison import ComparisonReport, comparison_report
from perfctl.report.host_facts import HostFacts, host_facts
from perfctl.report.made_of import EnvironmentFact, environment_facts
from perfctl.report.odd_hosts import OddHosts, odd_hosts
from perfctl.report.two_runs import RunReport, run_report
from perfctl.store import Evidence, RunDetail, Store, ValidityCount

PERCENTILE = re.compile(r"(?P<stem>.+)_p(?P<percent>\d+)")
"""The name of a metric that is a percentile, e.g. latency_p99."""


@dataclass(frozen=True, slots=True)
class MeasuredCell:
    """The invocations of one benchmark on one target, with their values of one metric.

    They are those of the attempts that count, in the order in which they ran.
    """

    benchmark: str
    metric: Metric
    target: Target
    invocations: tuple[Evidence, ...]
    comparisons: tuple[Comparison, ...]
    """Of this benchmark, metric and target: each environment against the baseline, and the A/A tests."""
    differences: Mapping[tuple[str, int], float]
    """(environment, block) -> d_b, the difference of logarithms that the comparison rests on."""


@dataclass(frozen=True, slots=True)
class RunDocument:
    """One run, to be read as a whole. `percentiles` have a ratio and an interval, and no verdict."""

    comparison: ComparisonReport
    detail: RunDetail
    cells: tuple[MeasuredCell, ...]
    """In the order of the plan."""
    percentiles: tuple[Comparison, ...]
    validity: tuple[ValidityCount, ...]
    findings: Mapping[str, tuple[str, ...]]
    """Invocation -> what the counters around it say, in sentences."""
    facts: HostFacts
    odd: OddHosts
    made_of: tuple[EnvironmentFact, ...]
    """Images, engines, kernels and tools of the environments."""
    digests: Mapping[tuple[str, str], Mapping[str, str]]
    """(host, environment) -> program -> sha256."""

    def percentiles_of(self, benchmark: str) -> tuple[Comparison, ...]:
        """The comparisons of a benchmark's percentiles."""
        return tuple(item for item in self.percentiles if item.benchmark == benchmark)


def run_document(
    store: Store, run: str, *, baseline: str | None = None, metrics: Collection[str] = ()
) -> RunDocument:
    """Return everything that is known of `run`, compared as `comparison_report` does with these arguments."""
    report = comparison_report(store, run, baseline=baseline, metrics=metrics)
    run_id = report.run.run_id
    detail = store.run(run_id)
    facts = _host_facts(store, run_id, detail.summary.hosts)
    return RunDocument(
        comparison=report,
        detail=detail,
        cells=_cells(store, report),
        percentiles=_percentiles(store, report),
        validity=store.validity_counts(run_id),
        findings=store.findings(run_id),
        facts=facts,
        odd=odd_hosts(report, facts),
        made_of=environment_facts(
            store, run_id, [item.name for item in detail.environments], detail.summary.hosts
        ),
        digests=store.digests(run_id),
    )


def run_odd_hosts(store: Store, run: str) -> OddHosts:
    """Return the odd hosts of `run` by its headline metrics."""
    report = comparison_report(store, run)
    return odd_hosts(report, _host_facts(store, report.run.run_id, report.run.hosts))


def _host_facts(store: Store, run_id: str, hosts: Sequence[str]) -> HostFacts:
    return host_facts({host: store.facts(run_id, host) for host in hosts})


def _cells(store: Store, report: ComparisonReport) -> tuple[MeasuredCell, ...]:
    places: dict[tuple[str, Metric, Target], list[Comparison]] = {}
    differences: dict[tuple[str, Metric, Target], dict[tuple[str, int], float]] = {}
    for line in report.paired:
        item = line.comparison
        place = (item.benchmark, item.metric, item.target)
        places.setdefault(place, []).append(item)
        if not item.is_aa and item.ratio is not None:
            found = zip(line.blocks, line.differences, strict=True)
            of_place = differences.setdefault(place, {})
            of_place |= {(item.environment, block): difference for block, difference in found}
    evidence = {name: _evidence(store, report, name) for name in {metric.name for _, metric, _ in places}}
    return tuple(
        MeasuredCell(
            benchmark,
            metric,
            target,
            tuple(evidence[metric.name].get((benchmark, target), ())),
            tuple(comparisons),
            differences.get((benchmark, metric, target), {}),
        )
        for (benchmark, metric, target), comparisons in places.items()
    )


def _evidence(
    store: Store, report: ComparisonReport, metric: str
) -> dict[tuple[str, Target], list[Evidence]]:
    found: dict[tuple[str, Target], list[Evidence]] = {}
    for item in store.evidence(report.run.run_id, metric):
        if item.counts:
            found.setdefault((item.benchmark, item.target), []).append(item)
    for several in found.values():
        several.sort(key=lambda item: (item.started_at, item.block, item.position))
    return found


def _percentiles(store: Store, report: ComparisonReport) -> tuple[Comparison, ...]:
    """Return the comparisons of percentiles, without verdicts: few reports have asked for one of them."""
    seen = [item for item in store.observations(report.run.run_id) if PERCENTILE.fullmatch(item.metric.name)]
    found = compare(seen, baseline=report.baseline) if seen else []
    return tuple(item for item in found if not item.is_aa)


@dataclass(frozen=True, slots=True)
class TwoRunsDocument:
    """Two runs, to be read as a whole. `runs` are each of them alone, with the blocks behind the change."""

    comparison: RunReport
    runs: tuple[ComparisonReport, ComparisonReport]
    details: tuple[RunDetail, RunDetail]
    validity: tuple[tuple[ValidityCount, ...], tuple[ValidityCount, ...]]
    changed_facts: Mapping[str, tuple[str, ...]]
    """Host -> which of its static facts are others in the second run, in words."""


def two_runs_document(
    store: Store,
    run: str,
    other: str,
    *,
    baseline: str | None = None,
    metrics: Collection[str] = (),
) -> TwoRunsDocument:
    """Return everything that is known of two runs, compared as `run_report` does with these arguments."""
    report = run_report(store, run, other, baseline=baseline, metrics=metrics)
    first, second = report.first.run_id, report.second.run_id
    both = [host for host in report.first.hosts if host in report.second.hosts]
    changes = {host: diff(store.facts(first, host), store.facts(second, host)) for host in both}
    return TwoRunsDocument(
        comparison=report,
        runs=(_alone(store, first, report, metrics), _alone(store, second, report, metrics)),
        details=(store.run(first), store.run(second)),
        validity=(store.validity_counts(first), store.validity_counts(second)),
        changed_facts={host: tuple(map(str, found)) for host, found in changes.items() if found},
    )


def _alone(store: Store, run_id: str, report: RunReport, metrics: Collection[str]) -> ComparisonReport:
    return comparison_report(store, run_id, baseline=report.baseline, metrics=metrics)
