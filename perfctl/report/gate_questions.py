"""The lines of a gate before they are decided: what is tested against the limit, and what cannot be.

A one-sided test against the limit is the comparison's own test with the limit taken out of every block
difference: the same exact signed-rank, rank-sum or t test over hosts, so a gate and a report never disagree.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from perfctl.compare import format_blocks, format_effect, format_interval, format_ratio
from perfctl.compare.fleets import fleets
from perfctl.compare.pairing import FEWEST_BLOCKS, Line, Pairing, pair
from perfctl.model import Comparison, Direction, FleetComparison, Metric, Observation
from perfctl.report.comparison import ALL_METRICS, ComparisonReport, programs
from perfctl.report.conditions import conditions, differences
from perfctl.report.thresholds import declared_metrics
from perfctl.stats import paired, two_sample
from perfctl.store import RunDetail, Store

EMULATED = "emulated: what runs under tcg is never gated"
NEUTRAL = "neither more nor less of it is better"


@dataclass(frozen=True, slots=True)
class Gated:
    """One line to be decided.

    `p_beyond` is the one-sided p of "at most the limit", `p_within` of "at least the limit"; both None where
    it cannot be tested. `doubt` is what forbids to call it passed whatever the p.
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


def questions(
    store: Store, report: ComparisonReport, *, metrics: Collection[str], margin: float, per_host: bool
) -> list[Gated]:
    """Return the lines of one run. `margin` is the limit as a logarithm."""
    detail = store.run(report.run.run_id)
    lines = _lines(store, detail, report, metrics)
    told = {_key(item): item for item in report.comparisons}
    kept = [line for line in lines if not _excluded(line.comparison, report)]
    found: list[Gated] = []
    claimed: set[tuple[object, ...]] = set()
    if not per_host:
        claims, covered = _claims(kept, margin, report)
        found += claims
        claimed |= covered
    for line in lines:
        if _key(line.comparison) not in claimed:
            found.append(_of_host(line, told.get(_key(line.comparison)), report, margin))
    return found + _absent(detail, report, lines, _not_asked(store, detail, metrics))


def questions_of_two_runs(
    store: Store,
    earlier: ComparisonReport,
    report: ComparisonReport,
    *,
    metrics: Collection[str],
    margin: float,
) -> list[Gated]:
    """Return the lines of a run against those of an earlier one, per host: ratio against ratio."""
    detail, before = store.run(report.run.run_id), store.run(earlier.run.run_id)
    lines = _lines(store, detail, report, metrics)
    old_lines = _lines(store, before, earlier, metrics)
    others = {_key(line.comparison): line for line in old_lines}
    unlike = _unlike(before, detail)
    then, now = conditions(store, before.summary.run_id), conditions(store, detail.summary.run_id)
    used = programs(detail)
    told = {_key(item): item for item in report.comparisons}
    found = []
    for line in lines:
        base = _of_host(line, told.get(_key(line.comparison)), report, margin)
        other = others.pop(_key(line.comparison), None)
        if base.is_excluded or base.is_missing:
            found.append(base)
        elif reason := _first(unlike, line.comparison):
            found.append(_untested(base, reason, is_missing=True))
        elif other is None or not other.differences or other.comparison.ratio is None:
            found.append(_untested(base, "the earlier run has no such ratio", is_missing=True))
        else:
            differing = differences(other.comparison, line.comparison, then, now, used)
            found.append(_against(base, line, other, margin, "; ".join(differing.values())))
    gone = [_gone(line.comparison) for key, line in others.items()]
    not_asked = _not_asked(store, detail, metrics)
    return found + gone + _absent(detail, report, [*lines, *old_lines], not_asked)


def _lines(store: Store, detail: RunDetail, report: ComparisonReport, metrics: Collection[str]) -> list[Line]:
    """Return the comparisons of a run with their blocks, without the A/A tests."""
    run_id = detail.summary.run_id
    omissions = {
        (item.benchmark, item.target, item.environment, item.replicate, item.block): item.reason
        for item in store.omissions(run_id)
    }
    pairing = Pairing(
        report.baseline,
        [item.name for item in detail.environments],
        declared=declared_metrics(detail),
        omissions=omissions,
    )
    seen = [item for item in store.observations(run_id) if _is_wanted(item, metrics)]
    return [line for line in pair(seen, pairing) if not line.comparison.is_aa]


def _is_wanted(item: Observation, metrics: Collection[str]) -> bool:
    if ALL_METRICS in metrics:
        return True
    return item.metric.name in metrics if metrics else item.metric.headline


def _key(item: Comparison) -> tuple[object, ...]:
    metric = (item.metric.name, item.metric.unit, item.metric.direction)
    guests = (item.accelerator, item.baseline_accelerator)
    return (item.benchmark, metric, item.target, item.environment, item.baseline, guests, item.is_aa)


def _excluded(item: Comparison, report: ComparisonReport) -> str:
    """Return the rule by which a line is not gated, '' when it is."""
    if item.is_emulated:
        return EMULATED
    if item.metric.direction is Direction.NEUTRAL:
        return NEUTRAL
    bar = report.health.bars(item.target)
    if bar is None:
        return ""
    return f"{bar.target} is in quarantine: {bar.failed} of {bar.tests} A/A tests failed"


def _missing(item: Comparison) -> str:
    """Return why there is nothing to decide by, '' when there is."""
    if item.blocks:
        return ""
    reasons = ", ".join(f"{reason} ({blocks})" for reason, blocks in item.reasons)
    return "; ".join(filter(None, [item.note, reasons]))


def _untestable(item: Comparison, differences: Sequence[float]) -> str:
    """Return why a line with values cannot be tested, '' when it can."""
    if item.ratio is None:
        return item.note or "no ratio"
    if item.blocks < FEWEST_BLOCKS:
        return f"n < {FEWEST_BLOCKS} cannot be significant"
    if min(differences) == max(differences):
        return "zero variance: every block gave the same difference"
    if len({abs(difference) for difference in differences}) == 1:
        return "all differences are ties: they have one size, as a tool's step has"
    return ""


def _of_host(line: Line, told: Comparison | None, report: ComparisonReport, margin: float) -> Gated:
    item = told or line.comparison
    base = Gated(
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
    missing = _missing(line.comparison)
    if missing:
        return replace(base, reason=missing, is_missing=True)
    obstacle = _untestable(line.comparison, line.differences)
    if obstacle:
        return replace(base, reason=obstacle)
    result = paired(_shifted(line, margin))
    return with_p(base, result.estimate, result.p, _sign(item.metric), smallest=2.0**-item.blocks)


def _sign(metric: Metric) -> float:
    """Return 1 where more is worse, -1 where less is."""
    return -1.0 if metric.direction is Direction.HIGHER else 1.0


def _shifted(line: Line, margin: float) -> list[float]:
    """Return the block differences with the limit taken out: 0 is just at the limit."""
    limit = _sign(line.comparison.metric) * margin
    return [difference - limit for difference in line.differences]


def with_p(
    base: Gated, estimate: float | None, p: float | None, sign: float, *, smallest: float | None
) -> Gated:
    """Return the line with both one-sided p from a two-sided one and the side that the estimate is on."""
    if p is None or estimate is None:
        return replace(base, reason=base.reason or "there is no p")
    beyond, within = (p / 2, 1 - p / 2) if sign * estimate > 0 else (1 - p / 2, p / 2)
    if estimate == 0:
        beyond = within = 1.0
    return replace(base, p_beyond=beyond, p_within=within, smallest_p=smallest)


def _claims(
    lines: Sequence[Line], margin: float, report: ComparisonReport
) -> tuple[list[Gated], set[tuple[object, ...]]]:
    """Return the claims over several hosts, and the keys of the lines that they stand for."""
    usable = [line for line in lines if line.comparison.ratio is not None]
    moved = []
    for line in usable:
        differences = _shifted(line, margin)
        moved.append(replace(line, differences=tuple(differences), result=paired(differences)))
    told = {_claim_key(item): item for item in report.fleets}
    found, covered = [], set()
    for plain, shifted in zip(fleets(usable, {}), fleets(moved, {}), strict=True):
        # The report's own claim has the verdict; without hosts in quarantine it is another one.
        item = told.get(_claim_key(plain), plain)
        item = item if len(item.hosts) == len(plain.hosts) else plain
        found.append(_of_fleet(item, shifted, margin))
        for line in usable:
            one = line.comparison
            if _claim_key(one) == _claim_key(plain) and one.target in {host.target for host in plain.hosts}:
                covered.add(_key(one))
    return found, covered


def _claim_key(item: Comparison | FleetComparison) -> tuple[object, ...]:
    target = item.target if isinstance(item, Comparison) else item.hosts[0].target
    metric = (item.metric.name, item.metric.unit, item.metric.direction)
    guests = (item.accelerator, item.baseline_accelerator)
    return (item.benchmark, metric, item.environment, item.baseline, guests, target.peer is None)


def _of_fleet(item: FleetComparison, shifted: FleetComparison, margin: float) -> Gated:
    sign = _sign(item.metric)
    kind = "hosts" if item.hosts[0].target.peer is None else "pairs"
    beyond = [host for host in item.hosts if sign * math.log(host.ratio) > margin]
    doubts = [f"likely artefact: {item.artefact}" if item.artefact else ""]
    if item.disagree and beyond:
        worst = max(beyond, key=lambda host: sign * math.log(host.ratio))
        size = format_ratio(worst.ratio, item.metric.direction)
        doubts.append(f"the hosts disagree, and {worst.target} is at {size}: --per-host gates each")
    base = Gated(
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
    estimate = math.log(shifted.ratio) if shifted.ratio is not None else None
    return with_p(base, estimate, shifted.p, sign, smallest=None)


def _unlike(before: RunDetail, after: RunDetail) -> dict[tuple[str, str], str]:
    """Return why benchmarks and environments that share a name in two runs are not the same."""
    found = {}
    for kind, old, new, reason in (
        ("benchmark", before.benchmarks, after.benchmarks, "has other parameters"),
        ("environment", before.environments, after.environments, "is defined otherwise"),
    ):
        keys = {item.name: item.key for item in new}
        for item in old:
            if keys.get(item.name, item.key) != item.key:
                found[kind, item.name] = f"the {kind} {item.name} {reason} in the earlier run: not the same"
    return found


def _first(unlike: Mapping[tuple[str, str], str], item: Comparison) -> str:
    names = (("benchmark", item.benchmark), ("environment", item.environment), ("environment", item.baseline))
    return next((unlike[name] for name in names if name in unlike), "")


def _against(base: Gated, line: Line, other: Line, margin: float, differing: str) -> Gated:
    """Return the line of two runs: what became of the ratio to the baseline of its own run.

    `differing` is what else is not the same in the two runs: it is told, and decides nothing.
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
    obstacle = _untestable(other.comparison, other.differences) or plain.reason
    if obstacle:
        return replace(found, reason=f"the earlier run: {obstacle}")
    smallest = 1 / math.comb(len(line.differences) + len(other.differences), len(line.differences))
    return with_p(found, moved.estimate, moved.p, _sign(metric), smallest=smallest)


def _untested(base: Gated, reason: str, *, is_missing: bool) -> Gated:
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


def _gone(item: Comparison) -> Gated:
    base = Gated(item.benchmark, item.metric, str(item.target), _environment(item), item.baseline)
    return replace(base, reason="the earlier run has it, this one has not", is_missing=True)


def _not_asked(store: Store, detail: RunDetail, metrics: Collection[str]) -> frozenset[str]:
    """Return the benchmarks that have none of the metrics asked for, and the hosts that ran only those.

    A benchmark has the metrics that its workload declares and those of which it has a value.
    """
    if not metrics or ALL_METRICS in metrics:
        return frozenset()
    seen = store.observations(detail.summary.run_id)
    having = {name for name, metric in declared_metrics(detail) if metric in metrics}
    having |= {item.benchmark for item in seen if item.metric.name in metrics}
    known = {name for name, _ in declared_metrics(detail)} | {item.benchmark for item in seen}
    without = {item.name for item in detail.benchmarks if item.name in known} - having
    others = [item.target for item in seen if item.benchmark in without]
    hosts = {name for target in others for name in (target.host, target.peer) if name}
    return frozenset(without | hosts)


def _absent(
    detail: RunDetail, report: ComparisonReport, lines: Iterable[Line], not_asked: Collection[str]
) -> list[Gated]:
    """Return a line for every benchmark of the plan without any, and for every host without any value.

    What is not asked for, by the name of a benchmark or host, has none.
    """
    known = [line.comparison for line in lines]
    benchmarks = {item.benchmark for item in known}
    hosts = {host for item in known for host in (item.target.host, item.target.peer)}
    others = ", ".join(item.name for item in detail.environments if item.name != report.baseline)
    reason = "no value at all" if others else "only the baseline was measured: compare runs, --baseline RUN"
    found = [
        Gated(item.name, None, "all", others, report.baseline, reason, is_missing=True)
        for item in detail.benchmarks
        if item.name not in benchmarks and item.name not in not_asked
    ]
    return found + [
        Gated("all", None, host, others, report.baseline, reason, is_missing=True)
        for host in detail.summary.hosts
        if host not in hosts and benchmarks and host not in not_asked
    ]


def _environment(item: Comparison | FleetComparison) -> str:
    return f"{item.environment} ({item.accelerator})" if item.accelerator else item.environment
