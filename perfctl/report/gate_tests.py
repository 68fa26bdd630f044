"""The tests of a gate: what is tested against the limit, and what cannot be.

A one-sided test against the limit is the comparison's own test with the limit taken out of every block
difference: the same exact signed-rank, rank-sum or t test over hosts, on the differences that the report
decided on.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from perfctl.compare import format_blocks, format_effect, format_interval, format_ratio
from perfctl.compare.fleets import claim_key, fleets
from perfctl.compare.pairing import PairedComparison
from perfctl.compare.verdicts import hidden_by_step
from perfctl.model import Comparison, Direction, FleetComparison, Metric
from perfctl.report.comparison import ALL_METRICS, ComparisonReport, asks_for_usage, programs
from perfctl.report.conditions import conditions, differences, redefined
from perfctl.report.margins import declared_metrics
from perfctl.stats.paired import paired
from perfctl.stats.two_sample import two_sample
from perfctl.store import RunDetail, Store

if TYPE_CHECKING:
    from perfctl.store import RunReader

_EMULATED = "emulated: what runs under tcg is never gated"
_NEUTRAL = "neither more nor less of it is better"


@dataclass(frozen=True, slots=True)
class GateTest:
    """One line of a gate before it is decided.

    `p_beyond` is the one-sided p of "at most the limit", `p_within` of "at least the limit"; both None where
    it cannot be tested. `doubt` is why it cannot be called passed whatever the p.
    """

    benchmark: str
    metric: Metric | None
    target: str
    environment: str
    baseline: str
    reason: str = ""
    is_excluded: bool = False
    is_missing: bool = False
    doubt: str = ""
    p_beyond: float | None = None
    p_within: float | None = None
    smallest_p: float | None = None
    """The smallest one-sided p that so many blocks can have; None where there is no such floor."""
    blocks: int = 0
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    words: str = ""
    confounded: str = ""


def gate_tests(
    store: Store, report: ComparisonReport, *, metrics: Collection[str], margin: float, per_host: bool
) -> list[GateTest]:
    """Return the lines of one run. `margin` is the limit as a logarithm."""
    run = store.run(report.run.run_id)
    detail, lines = run.detail(), _paired(report)
    kept = [line for line in lines if not (_excluded(line.comparison, report) or line.comparison.changed)]
    found: list[GateTest] = []
    claimed: set[tuple[object, ...]] = set()
    if not per_host:
        claims, covered = _claims(kept, margin, report)
        found += claims
        claimed |= covered
    for line in lines:
        if _key(line.comparison) not in claimed:
            found.append(_of_host(line, report, margin))
    return found + _absent(detail, report, lines, _not_asked(run, detail, metrics))


def gate_tests_of_two_runs(
    store: Store,
    earlier: ComparisonReport,
    report: ComparisonReport,
    *,
    metrics: Collection[str],
    margin: float,
) -> list[GateTest]:
    """Return the lines of a run against those of an earlier one, per host: ratio against ratio."""
    run, before = store.run(report.run.run_id), store.run(earlier.run.run_id)
    detail = run.detail()
    lines, old_lines = _paired(report), _paired(earlier)
    others = {_key(line.comparison): line for line in old_lines}
    mismatches = _mismatches(before.detail(), detail)
    then, now = conditions(before), conditions(run)
    used = programs(detail)
    found = []
    for line in lines:
        base = _of_host(line, report, margin)
        other = others.pop(_key(line.comparison), None)
        if base.is_excluded or base.is_missing:
            found.append(base)
        elif reason := _mismatch_of(mismatches, line.comparison):
            found.append(_untested(base, reason, is_missing=True))
        elif other is None or not other.differences or other.comparison.ratio is None:
            found.append(_untested(base, "the earlier run has no such ratio", is_missing=True))
        else:
            differing = differences(other.comparison, line.comparison, then, now, used)
            found.append(_against(base, line, other, margin, "; ".join(differing.values())))
    gone = [_gone(line.comparison) for key, line in others.items()]
    not_asked = _not_asked(run, detail, metrics)
    return found + gone + _absent(detail, report, [*lines, *old_lines], not_asked)


def _paired(report: ComparisonReport) -> list[PairedComparison]:
    """Return the comparisons that the report decided on, without the A/A tests."""
    return [line for line in report.paired if not line.comparison.is_aa]


def _key(item: Comparison) -> tuple[object, ...]:
    guests = (item.accelerator, item.baseline_accelerator)
    return (
        item.benchmark,
        item.metric.identity,
        item.target,
        item.environment,
        item.baseline,
        guests,
        item.is_aa,
    )


def _excluded(item: Comparison, report: ComparisonReport) -> str:
    """Return the rule by which a line is not gated, '' when it is."""
    if item.is_emulated:
        return _EMULATED
    if item.metric.direction is Direction.NEUTRAL:
        return _NEUTRAL
    found = report.health.quarantine_of(item.target)
    if found is None:
        return ""
    return f"{found.target} is in quarantine: {found.failed} of {found.tests} A/A tests failed"


def _missing(item: Comparison) -> str:
    """Return why there is nothing to decide by, '' when there is."""
    if item.blocks:
        return ""
    reasons = ", ".join(f"{reason} ({blocks})" for reason, blocks in item.reasons)
    return "; ".join(filter(None, [item.note, reasons]))


def _of_host(line: PairedComparison, report: ComparisonReport, margin: float) -> GateTest:
    item = line.comparison
    base = GateTest(
        benchmark=item.benchmark,
        metric=item.metric,
        target=str(item.target),
        environment=_environment(item),
        baseline=item.baseline,
        blocks=item.blocks,
        ratio=item.ratio,
        low=item.low,
        high=item.high,
        words=format_effect(item),
        confounded=item.confounded,
        doubt=f"likely artefact: {item.artefact}" if item.artefact else "",
    )
    excluded = _excluded(item, report)
    if excluded:
        return replace(base, reason=excluded, is_excluded=True)
    missing = _missing(item)
    if missing:
        return replace(base, reason=missing, is_missing=True)
    obstacle = _untestable(line) or hidden_by_step(
        item.metric, (item.value, item.baseline_value), math.expm1(margin)
    )
    if obstacle:
        return replace(base, reason=obstacle)
    result = paired(_shifted(line, margin))
    return with_p(base, result.estimate, result.p, _sign(item.metric), smallest=2.0**-item.blocks)


def _untestable(line: PairedComparison) -> str:
    """Return why a line with values cannot be tested, '' when it can."""
    if line.comparison.changed:
        return line.comparison.changed
    if line.comparison.ratio is None:
        return line.comparison.note or "no ratio"
    return line.obstacle


def _sign(metric: Metric) -> float:
    """Return 1 where more is worse, -1 where less is."""
    return -1.0 if metric.direction is Direction.HIGHER else 1.0


def _shifted(line: PairedComparison, margin: float) -> list[float]:
    """Return the block differences with the limit taken out: 0 is just at the limit."""
    limit = _sign(line.comparison.metric) * margin
    return [difference - limit for difference in line.differences]


def with_p(
    base: GateTest, estimate: float | None, p: float | None, sign: float, *, smallest: float | None
) -> GateTest:
    """Return the line with both one-sided p from a two-sided one and the side that the estimate is on."""
    if p is None or estimate is None:
        return replace(base, reason=base.reason or "there is no p")
    beyond, within = (p / 2, 1 - p / 2) if sign * estimate > 0 else (1 - p / 2, p / 2)
    if estimate == 0:
        beyond = within = 1.0
    return replace(base, p_beyond=beyond, p_within=within, smallest_p=smallest)


def _claims(
    lines: Sequence[PairedComparison], margin: float, report: ComparisonReport
) -> tuple[list[GateTest], set[tuple[object, ...]]]:
    """Return the claims over several hosts, and the keys of the lines that they stand for."""
    usable = [line for line in lines if line.comparison.ratio is not None]
    moved = []
    for line in usable:
        differences = _shifted(line, margin)
        moved.append(replace(line, differences=tuple(differences), result=paired(differences)))
    reported = {claim_key(item): item for item in report.fleets}
    found, covered = [], set()
    for plain, shifted in zip(fleets(usable, {}), fleets(moved, {}), strict=True):
        # The report's own claim has the verdict; without hosts in quarantine it is another one.
        item = reported.get(claim_key(plain), plain)
        item = item if len(item.hosts) == len(plain.hosts) else plain
        found.append(_of_fleet(item, shifted, margin))
        for line in usable:
            one = line.comparison
            if claim_key(one) == claim_key(plain) and one.target in {host.target for host in plain.hosts}:
                covered.add(_key(one))
    return found, covered


def _of_fleet(item: FleetComparison, shifted: FleetComparison, margin: float) -> GateTest:
    sign = _sign(item.metric)
    kind = "hosts" if item.hosts[0].target.peer is None else "pairs"
    beyond = [host for host in item.hosts if sign * math.log(host.ratio) > margin]
    doubts = [f"likely artefact: {item.artefact}" if item.artefact else ""]
    if item.disagree and beyond:
        worst = max(beyond, key=lambda host: sign * math.log(host.ratio))
        size = format_ratio(worst.ratio, item.metric.direction)
        doubts.append(f"the hosts disagree, and {worst.target} is at {size}: --per-host gates each")
    base = GateTest(
        benchmark=item.benchmark,
        metric=item.metric,
        target=f"{len(item.hosts)} {kind}",
        environment=_environment(item),
        baseline=item.baseline,
        blocks=min(min(host.blocks) for host in item.hosts),
        ratio=item.ratio,
        low=item.low,
        high=item.high,
        words=format_effect(item),
        confounded=item.confounded,
        doubt="; ".join(filter(None, doubts)),
    )
    if item.low is None or item.ratio is None:
        return replace(base, reason=item.note or "no interval")
    if item.low == item.high:
        return replace(base, reason="zero variance: every block gave the same difference")
    hidden = hidden_by_step(item.metric, (item.value, item.baseline_value), math.expm1(margin))
    if hidden:
        return replace(base, reason=hidden)
    estimate = math.log(shifted.ratio) if shifted.ratio is not None else None
    return with_p(base, estimate, shifted.p, sign, smallest=None)


def _mismatches(before: RunDetail, after: RunDetail) -> dict[tuple[str, str], str]:
    """Return why benchmarks and environments that share a name in two runs are not the same."""
    reasons = {"benchmark": "has other parameters", "environment": "is defined otherwise"}
    return {
        (kind, name): f"the {kind} {name} {reasons[kind]} in the earlier run: not the same"
        for kind, name in redefined(before, after)
    }


def _mismatch_of(mismatches: Mapping[tuple[str, str], str], item: Comparison) -> str:
    names = (("benchmark", item.benchmark), ("environment", item.environment), ("environment", item.baseline))
    return next((mismatches[name] for name in names if name in mismatches), "")


def _against(
    base: GateTest, line: PairedComparison, other: PairedComparison, margin: float, differing: str
) -> GateTest:
    """Return the line of two runs: how the ratio to the baseline of its own run changed.

    `differing` is what else is not the same in the two runs: it is reported, and decides nothing.
    """
    plain = two_sample(other.differences, line.differences)
    moved = two_sample(other.differences, _shifted(line, margin))
    ratio, low, high = (
        None if value is None else math.exp(value) for value in (plain.estimate, plain.low, plain.high)
    )
    metric = line.comparison.metric
    text = ""
    if ratio is not None:
        interval = format_interval(ratio, low, high)
        text = f"{format_ratio(ratio, metric.direction)} than in the earlier run"
        text += f", 95 % CI {interval}" if interval else ""
        text += f", n={format_blocks([len(other.differences), len(line.differences)])}"
    found = replace(
        base,
        p_beyond=None,
        p_within=None,
        ratio=ratio,
        low=low,
        high=high,
        words=text,
        smallest_p=None,
        confounded="; ".join(dict.fromkeys(filter(None, (base.confounded, differing)))),
    )
    if base.reason:
        return found
    obstacle = _untestable(other) or plain.reason
    if obstacle:
        return replace(found, reason=f"the earlier run: {obstacle}")
    smallest = 1 / math.comb(len(line.differences) + len(other.differences), len(line.differences))
    return with_p(found, moved.estimate, moved.p, _sign(metric), smallest=smallest)


def _untested(base: GateTest, reason: str, *, is_missing: bool) -> GateTest:
    return replace(
        base,
        reason=reason,
        is_missing=is_missing,
        p_beyond=None,
        p_within=None,
        ratio=None,
        low=None,
        high=None,
        words="",
    )


def _gone(item: Comparison) -> GateTest:
    base = GateTest(item.benchmark, item.metric, str(item.target), _environment(item), item.baseline)
    return replace(base, reason="the earlier run has it, this one has not", is_missing=True)


def _not_asked(run: RunReader, detail: RunDetail, metrics: Collection[str]) -> frozenset[str]:
    """Return the benchmarks that have none of the metrics asked for, and the hosts that ran only those.

    A benchmark has the metrics that its workload declares, those of which it has a value, and what its
    commands used.
    """
    if not metrics or ALL_METRICS in metrics or asks_for_usage(metrics):
        return frozenset()
    seen = run.observations()
    having = {name for name, metric in declared_metrics(detail) if metric in metrics}
    having |= {item.benchmark for item in seen if item.metric.name in metrics}
    known = {name for name, _ in declared_metrics(detail)} | {item.benchmark for item in seen}
    without = {item.name for item in detail.benchmarks if item.name in known} - having
    others = [item.target for item in seen if item.benchmark in without]
    hosts = {name for target in others for name in target.hosts}
    return frozenset(without | hosts)


def _absent(
    detail: RunDetail, report: ComparisonReport, lines: Iterable[PairedComparison], not_asked: Collection[str]
) -> list[GateTest]:
    """Return a line for every benchmark of the plan without any, and for every host without any value.

    What is not asked for, by the name of a benchmark or host, has none.
    """
    known = [line.comparison for line in lines]
    benchmarks = {item.benchmark for item in known}
    hosts = {host for item in known for host in item.target.hosts}
    others = ", ".join(item.name for item in detail.environments if item.name != report.baseline)
    reason = "no value at all" if others else "only the baseline was measured: compare runs, --baseline RUN"
    found = [
        GateTest(item.name, None, "all", others, report.baseline, reason, is_missing=True)
        for item in detail.benchmarks
        if item.name not in benchmarks and item.name not in not_asked
    ]
    return found + [
        GateTest("all", None, host, others, report.baseline, reason, is_missing=True)
        for host in detail.summary.hosts
        if host not in hosts and benchmarks and host not in not_asked
    ]


def _environment(item: Comparison | FleetComparison) -> str:
    return f"{item.environment} ({item.accelerator})" if item.accelerator else item.environment
