"""Trace a value in a table back to its blocks, its invocations and the lines of output it was read from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfctl.compare.values import LegValues
from perfctl.errors import DataError
from perfctl.model import USAGE_METRICS, Metric, Status, Target
from perfctl.report.margins import declared_metrics
from perfctl.report.outliers import counted_words
from perfctl.report.output_lines import OutputLines, output_lines
from perfctl.report.trend import unknown_name
from perfctl.store import Evidence, RunDetail, Store
from perfctl.workloads import known_workload

if TYPE_CHECKING:
    from perfctl.store import RunReader

MOST_CELLS = 8
"""Cells that are shown with all their invocations and lines; more are only listed."""


@dataclass(frozen=True, slots=True)
class WhyInvocation:
    """One invocation of a cell: the environment's or the baseline's, in one attempt at one block."""

    evidence: Evidence
    flags: tuple[str, ...]
    """'outlier', 'flagged', 'invalid', or why it has no value."""
    findings: tuple[str, ...]
    """What the counters around it say, in sentences."""
    lines: OutputLines

    @property
    def counted(self) -> str:
        """What was counted while it ran, in words: the likely cause of an outlier, if there is one."""
        return counted_words(self.findings, self.evidence.validity)


@dataclass(frozen=True, slots=True)
class WhyBlock:
    """One attempt at a block. `order` names all legs as they ran, the second baseline as A2."""

    block: int
    attempt: int
    counts: bool
    order: tuple[str, ...]
    base: WhyInvocation | None
    leg: WhyInvocation | None
    difference: float | None
    """d_b = ln(environment / baseline); None where there is none, or where the attempt does not count."""


@dataclass(frozen=True, slots=True)
class WhyCell:
    """One environment against the baseline, for one benchmark and target; against itself an A/A test."""

    benchmark: str
    target: Target
    environment: str
    baseline: str
    unit: str | None
    blocks: tuple[WhyBlock, ...]

    @property
    def complete(self) -> int:
        """How many blocks have a difference."""
        return sum(block.difference is not None for block in self.blocks)


@dataclass(frozen=True, slots=True)
class WhyReport:
    """The cells of one metric of one run. Above `MOST_CELLS` no lines were read."""

    run_id: str
    metric: str
    database: str
    cells: tuple[WhyCell, ...]
    has_lines: bool


def why_report(
    store: Store,
    run: str,
    metric: str,
    *,
    benchmark: str | None = None,
    environment: str | None = None,
    host: str | None = None,
) -> WhyReport:
    """Return the blocks and invocations behind the values of `metric` in `run`.

    Without `environment` all but the baseline; the baseline itself, which is its A/A test, where there is no
    other. A metric that is declared and has no value has its invocations, and why they gave none. Raises
    UnknownName, with close names.
    """
    stored = store.run(run)
    detail, evidence = stored.detail(), stored.evidence(metric)
    declared = declared_metrics(detail)
    mine = {item.benchmark for item in evidence if item.samples}
    mine |= {name for name, declared_name in declared if declared_name == metric}
    if not mine:
        known = {item.metric.name for item in stored.observations()} | {name for _, name in declared}
        raise unknown_name("the run has no metric", metric, known)
    if benchmark is not None and benchmark not in mine:
        raise unknown_name(f"no benchmark of the run with {metric} is called", benchmark, mine)
    names = [item.name for item in detail.environments]
    if environment is not None and environment not in names:
        raise unknown_name("the run has no environment", environment, names)
    if host is not None and host not in detail.summary.hosts:
        raise unknown_name("the run has no host", host, detail.summary.hosts)
    groups: dict[tuple[str, Target], list[Evidence]] = {}
    for item in evidence:
        is_wanted = item.benchmark in mine and benchmark in (None, item.benchmark)
        if is_wanted and host in (None, item.target.host, item.target.peer):
            groups.setdefault((item.benchmark, item.target), []).append(item)
    others = [name for name in names if name != detail.baseline]
    wanted = [environment] if environment else others or [detail.baseline]
    used = next((item for item in USAGE_METRICS if item.name == metric), None)
    has_lines = len(groups) * len(wanted) <= MOST_CELLS
    reader = _Reader(stored, detail, metric, has_lines)
    cells = [
        _cell(group, name, detail.baseline, declared.get((place[0], metric), used), reader)
        for place, group in groups.items()
        for name in wanted
    ]
    return WhyReport(stored.id, metric, store.name, tuple(cells), has_lines)


class _Reader:
    """Finds the lines of an invocation, each output once."""

    def __init__(self, run: RunReader, detail: RunDetail, metric: str, has_lines: bool) -> None:
        self._run = run
        self._benchmarks = {item.name: item for item in detail.benchmarks}
        self._metric = metric
        self._has_lines = has_lines
        self.findings = run.findings()
        self._known: dict[str, OutputLines] = {}

    def lines(self, item: Evidence) -> OutputLines:
        """Return the lines that the value was read from; none where there is no value or no output."""
        if not (self._has_lines and item.samples and item.stdout_sha256):
            return OutputLines((), 0, "")
        if item.invocation_id not in self._known:
            try:
                output = self._run.artifact(item.stdout_sha256)
            except DataError as error:
                return OutputLines((), 0, error.message)
            text = output.decode("utf-8", "backslashreplace")
            values = self._run.values_of(item.invocation_id, self._metric)
            benchmark = self._benchmarks[item.benchmark]
            self._known[item.invocation_id] = output_lines(
                text, values, self._metric, known_workload(benchmark), benchmark.parameters
            )
        return self._known[item.invocation_id]


def _cell(
    group: Sequence[Evidence], environment: str, baseline: str, declared: Metric | None, reader: _Reader
) -> WhyCell:
    leg, base = (environment, 2 if environment == baseline else 1), (baseline, 1)
    outliers = {key: _outliers(group, key, declared) for key in (leg, base)}
    attempts: dict[tuple[int, int], list[Evidence]] = {}
    for item in group:
        attempts.setdefault((item.block, item.attempt), []).append(item)
    blocks = []
    for (block, attempt), items in attempts.items():
        found = {(item.environment, item.replicate): item for item in items}
        one, two = (
            _invocation(found[key], outliers[key], reader) if key in found else None for key in (base, leg)
        )
        counts = items[0].counts
        blocks.append(
            WhyBlock(
                block,
                attempt,
                counts,
                tuple(_leg_text(item) for item in sorted(items, key=lambda item: item.position)),
                one,
                two,
                _difference(one, two) if counts else None,
            )
        )
    first = group[0]
    unit = next((item.unit for item in group if item.unit), declared.unit if declared else None)
    return WhyCell(first.benchmark, first.target, environment, baseline, unit, tuple(blocks))


def _outliers(group: Sequence[Evidence], leg: tuple[str, int], declared: Metric | None) -> set[str]:
    """Return the invocations of one leg that a comparison flags as outliers."""
    if declared is None:
        return set()
    counted = {
        item.block: item
        for item in group
        if item.counts and (item.environment, item.replicate) == leg and _counts(item)
    }
    values = LegValues({block: item.value for block, item in counted.items() if item.value is not None})
    values.flag_outliers(declared)
    return {counted[block].invocation_id for block in values.flagged}


def _counts(item: Evidence) -> bool:
    return item.status is Status.OK and item.value is not None and item.validity != "invalid"


def _invocation(item: Evidence, outliers: set[str], reader: _Reader) -> WhyInvocation:
    flags = ["outlier"] if item.invocation_id in outliers else []
    if item.status is not Status.OK:
        flags.append(f"{item.status} ({item.reason})" if item.reason else str(item.status))
    elif item.value is None:
        flags.append("no such value")
    if item.validity in ("flagged", "invalid"):
        flags.append(item.validity)
    findings = reader.findings.get(item.invocation_id, ())
    return WhyInvocation(item, tuple(flags), findings, reader.lines(item))


def _difference(one: WhyInvocation | None, two: WhyInvocation | None) -> float | None:
    if one is None or two is None or not (_counts(one.evidence) and _counts(two.evidence)):
        return None
    base, value = one.evidence, two.evidence
    if "tcg" in (base.accelerator, value.accelerator) and "kvm" in (base.accelerator, value.accelerator):
        return None
    if base.value is None or value.value is None or min(base.value, value.value) <= 0:
        return None
    return math.log(value.value) - math.log(base.value)


def _leg_text(item: Evidence) -> str:
    return f"{item.environment} A2" if item.replicate == 2 else item.environment
