"""Decide whether a run may pass, line by line, with a known chance of error (docs/gates.md has the rule).

Every line is tested twice against the limit: that the regression is beyond it, and that it is not. Both tests
are one-sided, exact, and Holm-adjusted over all lines of the gate. What neither shows is undecided, what has
no value is missing, and neither is ever called passed. A gate that decided nothing at all is no success.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

from perfctl.compare import format_labelled_p
from perfctl.compare.pairing import FEWEST_BLOCKS
from perfctl.errors import DataError, RegressionFound, UsageError
from perfctl.model import Direction, Metric
from perfctl.model.quantity import counted
from perfctl.report.comparison import ComparisonReport, comparison_report
from perfctl.report.gate_tests import GateTest, gate_tests, gate_tests_of_two_runs
from perfctl.report.health import TargetHealth
from perfctl.stats.multiplicity import holm
from perfctl.store import RunSummary, Store

LEVEL = 0.05
"""The chance, over all lines of a gate, of any wrong 'crossed'; and of any wrong 'passed'."""

_MOST_BLOCKS = 1000
"""Nobody measures more; then the limit is too near to the estimate to be decided."""

_UNFINISHED = {
    "running": "is still going (or perfctl was killed)",
    "interrupted": "was stopped",
    "planned": "was not measured whole",
}


class GateState(StrEnum):
    """The decision on one line of a gate."""

    CROSSED = "crossed"
    """The regression is beyond the limit."""
    PASSED = "passed"
    """It is not: a regression beyond the limit is excluded."""
    UNDECIDED = "undecided"
    """Neither is shown."""
    MISSING = "missing"
    """There is nothing to decide by: no value, or nothing to compare it with."""
    EXCLUDED = "excluded"
    """It is not gated by rule: emulated, in quarantine, or of a metric without a better side."""


@dataclass(frozen=True, slots=True)
class GateLine:
    """One decision. `target` is a host, a pair, or e.g. '5 hosts'; `metric` None: all of the benchmark."""

    benchmark: str
    metric: Metric | None
    target: str
    environment: str
    baseline: str
    state: GateState
    why: str
    """Why it is not decided, or what else must be known of it."""
    worse: float | None
    """The estimated regression as a share, of times and rates alike: 0.05 is 1.05x worse, below 0 better."""
    ratio: float | None
    """environment / baseline (of two runs: the new ratio / the old one), then its interval."""
    low: float | None
    high: float | None
    p_crossed: float | None
    """Holm-adjusted p of "not beyond the limit": at most 0.05 where the gate is crossed."""
    p_passed: float | None
    """Holm-adjusted p of "beyond the limit": at most 0.05 where it is passed."""
    words: str
    """The figures and the gate's own sentence, e.g. '...; worse by more than 5 %: p=0.047'."""
    confounded: str
    needed: int | None = None
    """Of an undecided line: about how many blocks would decide it; None where more of them would not."""


@dataclass(frozen=True, slots=True)
class GateReport:
    """All decisions of a gate."""

    run: RunSummary
    baseline_run: RunSummary | None
    database: str
    max_regression: float
    lines: tuple[GateLine, ...]
    quarantined: tuple[TargetHealth, ...]
    """Hosts and pairs of the run that were left out."""
    tests: int
    """Lines that were tested, which is what the adjustment is for."""

    def of(self, *states: GateState) -> list[GateLine]:
        """Return the lines in any of these states."""
        return [line for line in self.lines if line.state in states]

    def fails(self, *, strict: bool) -> list[GateLine]:
        """Return the lines that make the gate fail; `strict`: also those undecided or missing."""
        states = [GateState.CROSSED]
        return self.of(*states, GateState.UNDECIDED, GateState.MISSING) if strict else self.of(*states)

    def raise_for_regression(self, *, strict: bool) -> None:
        """Raise RegressionFound when the gate fails, DataError when there was nothing to decide."""
        where = f"run {self.run.run_id}"
        failed = self.fails(strict=strict)
        if failed:
            states = ", ".join(
                f"{sum(line.state is state for line in failed)} {state}"
                for state in dict.fromkeys(line.state for line in failed)
            )
            raise RegressionFound(
                f"the gate of {100 * self.max_regression:g} % fails: {states}"
                f" of {counted(len(self.lines), 'line')}",
                where=where,
                hint=f"from a value to its blocks: perfctl why {self.run.run_id} {_what(failed[0])}",
            )
        if not self.of(GateState.PASSED, GateState.UNDECIDED):
            raise DataError(
                "the gate had nothing to decide: every line is missing or excluded",
                where=where,
                hint=f"what failed: perfctl show {self.run.run_id}; who is in quarantine: perfctl selftest",
            )
        if not self.of(GateState.PASSED):
            raise DataError(
                f"the gate of {100 * self.max_regression:g} % decided nothing:"
                f" {counted(len(self.of(GateState.UNDECIDED)), 'line')} undecided, none passed",
                where=where,
                hint=self.what_decides,
            )

    @property
    def what_decides(self) -> str:
        """What would decide the undecided lines, as a command where more blocks would; '' where none is."""
        undecided = self.of(GateState.UNDECIDED)
        needed = [line.needed for line in undecided if line.needed is not None]
        if not undecided:
            return ""
        if not needed:
            return "more blocks do not help; the notes say what stands in the way of each line"
        lines = f"{counted(len(needed), 'line')} {'needs' if len(needed) == 1 else 'need'}"
        most = max(needed)
        if most > _MOST_BLOCKS:
            return f"{lines} more than {_MOST_BLOCKS:,} blocks, or a limit farther from what was measured"
        return f"{lines} about {most} blocks: perfctl run --suite {self.run.suite} --blocks {most}"

    def conclusion(self, *, strict: bool) -> str:
        """Return the whole gate in one line, which begins with PASS, FAIL or NOT DECIDED."""
        failed, passed = self.fails(strict=strict), self.of(GateState.PASSED)
        lines = counted(len(self.lines), "line")
        decides = self.what_decides
        if failed:
            states = dict.fromkeys(line.state for line in failed)
            counts = ", ".join(f"{sum(line.state is state for line in failed)} {state}" for state in states)
            needs = f" (--strict){'; ' if decides else ''}{decides}" if strict else ""
            return f"FAIL: {counts} of {lines}{needs}"
        if not passed:
            return f"NOT DECIDED: {decides or 'every line is missing or excluded'}"
        rest = f"; not decided: {decides}" if decides else ""
        return f"PASS: {len(passed)} passed of {lines}{rest}"


def gate_report(
    store: Store,
    run: str,
    *,
    max_regression: float,
    baseline_run: str | None = None,
    metrics: Collection[str] = (),
    per_host: bool = False,
    unfinished: bool = False,
) -> GateReport:
    """Return the decisions on `run`: against its own baseline, or against the ratios of `baseline_run`.

    `max_regression` is a share: 0.02 allows 1.02x worse. Lines are those of fleets where a claim over hosts
    exists, else of hosts; `per_host` and two runs have one per host. Without `metrics` headlines are gated.
    Raises UsageError for a limit below 0 or not finite, UnknownName for a run or metric that is not there,
    and DataError for a run that is still going or was stopped, unless `unfinished` ones may be gated.
    """
    if not (math.isfinite(max_regression) and max_regression >= 0):
        raise UsageError("a limit is a share from 0 % up", hint="for example: --max-regression 2%")
    cells = store.history.baseline_cells()
    report = comparison_report(store, run, metrics=metrics, cells=cells)
    if not unfinished:
        _require_finished(report.run)
    margin = math.log1p(max_regression)
    if baseline_run is None:
        gated = gate_tests(store, report, metrics=metrics, margin=margin, per_host=per_host)
        earlier = None
    else:
        earlier = comparison_report(store, baseline_run, metrics=metrics, cells=cells)
        if earlier.run.run_id == report.run.run_id:
            raise UsageError(
                "a run cannot be gated against itself", hint="without --baseline: its own baseline"
            )
        if not unfinished:
            _require_finished(earlier.run)
        gated = gate_tests_of_two_runs(store, earlier, report, metrics=metrics, margin=margin)
    lines, tests = decide(gated, max_regression)
    return GateReport(
        run=report.run,
        baseline_run=None if earlier is None else earlier.run,
        database=store.name,
        max_regression=max_regression,
        lines=tuple(lines),
        quarantined=tuple(item for item in report.health.quarantined if _is_of(item, report)),
        tests=tests,
    )


def _what(line: GateLine) -> str:
    """Return the arguments of `why` that choose this line."""
    metric = line.metric.name if line.metric else "METRIC"
    return f"{metric} --benchmark {line.benchmark}" if line.benchmark != "all" else metric


def _require_finished(run: RunSummary) -> None:
    """Raise DataError for a run that is still going or was stopped."""
    if run.status not in _UNFINISHED:
        return
    missing = f" ({run.missing} missing)" if run.missing else ""
    go_on = f"perfctl resume {run.run_id}"
    if run.missing:
        go_on = "perfctl run --plan FILE --shard N/COUNT, or perfctl db merge where it was run"
    raise DataError(
        f"the run {_UNFINISHED[run.status]}{missing}: what it has so far may not be what it ends with",
        where=f"run {run.run_id}",
        hint=f"wait for its end, or {go_on}; --unfinished gates what is there",
    )


def _is_of(item: TargetHealth, report: ComparisonReport) -> bool:
    return set(item.target.hosts) <= set(report.run.hosts)


def decide(gated: Sequence[GateTest], limit: float) -> tuple[list[GateLine], int]:
    """Return the decisions on all lines and how many were tested, Holm-adjusted over those that can be."""
    crossed = holm([item.p_beyond for item in gated])
    passed = holm([item.p_within for item in gated])
    tests = sum(item.p_beyond is not None for item in gated)
    return [
        _line(item, one, two, tests, limit) for item, one, two in zip(gated, crossed, passed, strict=True)
    ], tests


def _line(
    item: GateTest, p_crossed: float | None, p_passed: float | None, tests: int, limit: float
) -> GateLine:
    why = [item.reason]
    needed: int | None = None
    if item.is_excluded:
        state = GateState.EXCLUDED
    elif item.is_missing:
        state = GateState.MISSING
    elif p_crossed is None or p_passed is None:
        state = GateState.UNDECIDED
        needed = FEWEST_BLOCKS if item.blocks < FEWEST_BLOCKS else None
    elif p_crossed <= LEVEL:
        state = GateState.CROSSED
    elif p_passed <= LEVEL and not item.doubt:
        state = GateState.PASSED
    else:
        state = GateState.UNDECIDED
        why += [item.doubt, "" if p_passed <= LEVEL else _undecided(item, tests)]
        needed = None if p_passed <= LEVEL else _blocks_needed(item, tests, limit)
    return GateLine(
        benchmark=item.benchmark,
        metric=item.metric,
        target=item.target,
        environment=item.environment,
        baseline=item.baseline,
        state=state,
        why="; ".join(filter(None, why)),
        worse=worse_by(item.ratio, item.metric),
        ratio=item.ratio,
        low=item.low,
        high=item.high,
        p_crossed=p_crossed,
        p_passed=p_passed,
        words="; ".join(filter(None, (item.words, _sentence(state, p_crossed, p_passed, limit)))),
        confounded=item.confounded,
        needed=needed,
    )


def _sentence(state: GateState, p_crossed: float | None, p_passed: float | None, limit: float) -> str:
    """Return what the gate found, with the p that it went by, e.g. 'worse by more than 5 %: p=0.047'."""
    if p_crossed is None or p_passed is None:
        return ""
    beyond = f"worse by more than {100 * limit:g} %"
    if state is GateState.CROSSED:
        return f"{beyond}: {format_labelled_p(p_crossed)}"
    if state is GateState.PASSED:
        return f"not {beyond}: {format_labelled_p(p_passed)}"
    return f"neither {beyond} ({format_labelled_p(p_crossed)}) nor by less ({format_labelled_p(p_passed)})"


def _undecided(item: GateTest, tests: int) -> str:
    if item.smallest_p is not None and item.smallest_p * tests > LEVEL:
        return (
            f"{counted(item.blocks, 'block')} cannot decide among {counted(tests, 'line')}:"
            f" it takes {_least_blocks(item, tests)} blocks or more, or fewer lines"
        )
    return "the data allow a regression on either side of the limit"


def _least_blocks(item: GateTest, tests: int) -> int:
    """Return the fewest blocks whose smallest one-sided p decides a line among so many.

    It is 1 / 2^n, of two runs 1 / (2n over n); over several hosts there is no such floor.
    """
    blocks = FEWEST_BLOCKS
    if item.smallest_p is None:
        return blocks
    is_one_run = item.smallest_p == 2.0**-item.blocks
    while tests > LEVEL * (2**blocks if is_one_run else math.comb(2 * blocks, blocks)):
        blocks += 1
    return blocks


def _blocks_needed(item: GateTest, tests: int, limit: float) -> int | None:
    """Return about how many blocks decide an undecided line, if its estimate and noise stay as they are."""
    least = _least_blocks(item, tests)
    if item.low is None or item.high is None or not item.ratio or item.low <= 0 or item.metric is None:
        return max(least, item.blocks + 1)
    half_width = (math.log(item.high) - math.log(item.low)) / 2
    worse = worse_by(item.ratio, item.metric)
    distance = 0.0 if worse is None or worse <= -1 else abs(math.log1p(worse) - math.log1p(limit))
    if not distance:
        return None
    normal = NormalDist()
    strict = normal.inv_cdf(1 - LEVEL / max(tests, 1)) / normal.inv_cdf(1 - LEVEL / 2)
    return max(least, item.blocks + 1, math.ceil(item.blocks * (strict * half_width / distance) ** 2))


def worse_by(ratio: float | None, metric: Metric | None) -> float | None:
    """Return by what share a ratio is worse: of a rate, that by which its inverse is above 1."""
    if ratio is None or metric is None or metric.direction is Direction.NEUTRAL:
        return None
    return (1 / ratio if metric.direction is Direction.HIGHER else ratio) - 1
