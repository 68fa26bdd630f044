"""All that one page shows of a run: its comparisons, and the invocations behind every one of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfctl.compare import compare
from perfctl.facts import diff
from perfctl.model import Comparison, Metric, Target
from perfctl.report.comparison import ComparisonReport, comparison_report
from perfctl.report.host_facts import HostFacts, host_facts
from perfctl.report.made_of import EnvironmentFact, environment_facts
from perfctl.report.odd_hosts import OddHosts, odd_hosts
from perfctl.report.two_runs import RunReport, run_report
from perfctl.store import Evidence, RunDetail, Store, ValidityCount

if TYPE_CHECKING:
    from perfctl.store import RunReader

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
    stored = store.run(report.run.run_id)
    detail = stored.detail()
    facts = _host_facts(stored, detail.summary.hosts)
    return RunDocument(
        comparison=report,
        detail=detail,
        cells=_cells(stored, report),
        percentiles=_percentiles(stored, report),
        validity=stored.validity_counts(),
        findings=stored.findings(),
        facts=facts,
        odd=odd_hosts(report, facts),
        made_of=environment_facts(stored, [item.name for item in detail.environments], detail.summary.hosts),
        digests=stored.digests(),
    )


def run_odd_hosts(store: Store, run: str) -> OddHosts:
    """Return the odd hosts of `run` by its headline metrics."""
    report = comparison_report(store, run)
    return odd_hosts(report, _host_facts(store.run(report.run.run_id), report.run.hosts))


def _host_facts(stored: RunReader, hosts: Sequence[str]) -> HostFacts:
    return host_facts({host: stored.facts(host) for host in hosts})


def _cells(stored: RunReader, report: ComparisonReport) -> tuple[MeasuredCell, ...]:
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
    evidence = {name: _evidence(stored, name) for name in {metric.name for _, metric, _ in places}}
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


def _evidence(stored: RunReader, metric: str) -> dict[tuple[str, Target], list[Evidence]]:
    found: dict[tuple[str, Target], list[Evidence]] = {}
    for item in stored.evidence(metric):
        if item.counts:
            found.setdefault((item.benchmark, item.target), []).append(item)
    for several in found.values():
        several.sort(key=lambda item: (item.started_at, item.block, item.position))
    return found


def _percentiles(stored: RunReader, report: ComparisonReport) -> tuple[Comparison, ...]:
    """Return the comparisons of percentiles, without verdicts: few reports have asked for one of them."""
    seen = [item for item in stored.observations() if PERCENTILE.fullmatch(item.metric.name)]
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
    first, second = store.run(report.first.run_id), store.run(report.second.run_id)
    both = [host for host in report.first.hosts if host in report.second.hosts]
    changes = {host: diff(first.facts(host), second.facts(host)) for host in both}
    return TwoRunsDocument(
        comparison=report,
        runs=(_alone(store, first.id, report, metrics), _alone(store, second.id, report, metrics)),
        details=(first.detail(), second.detail()),
        validity=(first.validity_counts(), second.validity_counts()),
        changed_facts={host: tuple(map(str, found)) for host, found in changes.items() if found},
    )


def _alone(store: Store, run_id: str, report: RunReport, metrics: Collection[str]) -> ComparisonReport:
    return comparison_report(store, run_id, baseline=report.baseline, metrics=metrics)
