"""What tables of comparisons have in common: headings, environments, verdicts and their colours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from perfctl.compare import (
    EMULATED,
    format_host_range,
    format_interval,
    format_n,
    format_needs,
    format_p,
    format_ratio,
)
from perfctl.model import (
    Comparison,
    Direction,
    FleetComparison,
    Metric,
    Reach,
    RunComparison,
    SuiteComparison,
    Verdict,
)
from perfctl.model.quantity import counted, number, percent
from perfctl.render.view import Column, Section, Tone
from perfctl.store import RunSummary

RATIO_LEAD = "Ratios come from pairs within blocks (n of them), not from the two medians shown."
"""Stands above tables with medians and a ratio: the two may even point in different directions."""

UNFINISHED = {
    "running": "is still going (or perfctl was killed): the figures may change",
    "interrupted": "was stopped: only a part of the plan was measured",
    "planned": "was not measured whole",
}
"""Statuses of runs that have no end yet, and what that means for their figures."""

EMULATED_VERDICT = "emulated"
"""Stands where a verdict would: figures under tcg say nothing about overhead."""

VERDICT_TONES: dict[str, Tone] = {
    Verdict.DIFFERENT: "notable",
    Verdict.DIFFERENT_SMALL: "notable",
    Verdict.EQUIVALENT: "good",
    Verdict.INCONCLUSIVE: "doubtful",
    EMULATED_VERDICT: "doubtful",
}

_PREFIXES = ((1e12, 1e12, "T"), (1e9, 1e9, "G"), (1e7, 1e6, "M"))
"""(from which size on, divisor, prefix)"""

CONFOUNDED = "confounded: more than the environment differs, as named below"

_BETTER = {
    Direction.HIGHER: "higher is better",
    Direction.LOWER: "lower is better",
    Direction.NEUTRAL: "neither more nor less is better",
}


class _OfMetric(Protocol):
    """What belongs below the heading of a benchmark and metric."""

    @property
    def benchmark(self) -> str: ...
    @property
    def metric(self) -> Metric: ...
    @property
    def is_emulated(self) -> bool: ...


_Item = TypeVar("_Item", bound=_OfMetric)


def unfinished(*runs: RunSummary) -> list[str]:
    """Return a warning for every run that is still going or was stopped."""
    return [
        f"UNFINISHED: run {run.run_id} {UNFINISHED[run.status]}; {_way_on(run)}"
        for run in runs
        if run.status in UNFINISHED
    ]


def _way_on(run: RunSummary) -> str:
    if run.missing:
        return f"missing: {run.missing} (perfctl run --plan FILE --shard N/COUNT, or merge where it was run)"
    return f"to finish it: perfctl resume {run.run_id}"


def by_heading(items: Iterable[_Item]) -> dict[str, list[_Item]]:
    """Return the items by the heading of their table, in the order in which headings first appear."""
    found: dict[str, list[_Item]] = {}
    for item in items:
        found.setdefault(heading(item.benchmark, item.metric, is_emulated=item.is_emulated), []).append(item)
    return found


def heading(benchmark: str, metric: Metric, *, is_emulated: bool = False) -> str:
    """Return e.g. 'tcp-rr  transactions_per_second (transactions/s, higher is better)'.

    Emulated figures have tables of their own, whose heading says that they are no overhead.
    """
    text = f"{benchmark}  {metric.name} ({metric.unit}, {_BETTER[metric.direction]})"
    return f"{text}  {EMULATED}" if is_emulated else text


def figure_section(title: str, columns: Iterable[Column], rows: Sequence[Mapping[str, Any]]) -> Section:
    """Return a table; costs and notes have a column only where a row has one."""
    shown = [
        item for item in columns if item.name not in ("cost", "note") or any(row[item.name] for row in rows)
    ]
    return Section(shown, rows, title)


def value_text(value: float | None) -> str | None:
    """Return a median in at most nine characters, e.g. '10,953' or '1.950 G' for 1,950,019,896."""
    if value is None:
        return None
    for least, size, prefix in _PREFIXES:
        if abs(value) >= least:
            return f"{number(value / size)} {prefix}"
    return number(value)


def figure_cells(item: Comparison | FleetComparison | RunComparison) -> dict[str, Any]:
    """Return the cells that rows of all comparisons have."""
    return {
        "target": hosts_text(item) if isinstance(item, FleetComparison) else str(item.target),
        "environment": environment_text(item),
        "ratio": format_ratio(item.ratio, item.metric.direction) if item.ratio is not None else None,
        "interval": format_interval(item.ratio, item.low, item.high) if item.ratio is not None else None,
        "verdict": verdict_text(item),
        "q": format_p(item.judgement.q) if item.judgement else None,
        "n": format_n(item),
    }


def verdict_text(item: Comparison | FleetComparison | RunComparison | SuiteComparison) -> str:
    """Return the verdict, or that the figure is emulated; '' for an A/A test."""
    if item.is_emulated:
        return EMULATED_VERDICT
    return "" if item.judgement is None else str(item.judgement.verdict)


def environment_text(item: Comparison | FleetComparison | SuiteComparison | RunComparison) -> str:
    """Return the environment with its accelerator, so that two lines of one environment can be told apart."""
    parts = [item.environment]
    if item.accelerator:
        parts.append(f"({item.accelerator})")
    elif item.baseline_accelerator:
        parts.append(f"(against {item.baseline_accelerator})")
    if isinstance(item, Comparison) and item.is_aa:
        parts.append("A2 (A/A)")
    return " ".join(parts)


def hosts_text(item: FleetComparison) -> str:
    """Return e.g. '5 hosts'."""
    return counted(len(item.hosts), "pair" if item.hosts[0].target.peer else "host")


def shared_remarks(item: Comparison | FleetComparison | RunComparison, suite: str) -> list[str]:
    """Return what is to be known beside the figures of any comparison; empty texts are no remarks.

    `suite` is what to run again where a line is inconclusive.
    """
    why = item.judgement.why if item.judgement else ""
    return [
        format_needs(item, suite),
        item.note,
        why if why not in item.note else "",
        CONFOUNDED if item.confounded else "",
    ]


def fleet_remarks(item: FleetComparison) -> list[str]:
    """Return what is to be known of several hosts together."""
    share = "" if item.i2 is None else f"I^2 = {percent(item.i2)}"
    differing = f"{share}: the hosts differ, {format_host_range(item)}" if item.disagree else ""
    missing = ", ".join(map(str, item.missing))
    return [
        "about these hosts only: fewer than five" if item.reach is Reach.THESE_HOSTS else "",
        differing or (f"{share}: so much of the variance between hosts is not chance" if share else ""),
        f"without {missing}" if missing else "",
    ]


def not_shown(benchmarks: Sequence[str]) -> list[str]:
    """Return the note on benchmarks that were not asked for: choosing lines does not change their q."""
    if not benchmarks:
        return []
    return [
        f"not shown: {', '.join(benchmarks)}; their lines count in q and in what is needed, so every line has"
        " the verdict that it has without --benchmark"
    ]
