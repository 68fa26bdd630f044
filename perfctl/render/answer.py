"""The answer of a comparison in three sentences, made of its verdicts: what, how much, how sure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from perfctl.compare import format_effect, format_host_range
from perfctl.model import Comparison, Direction, FleetComparison, RunComparison, Verdict
from perfctl.model.quantity import counted, percent
from perfctl.render.figures import environment_text
from perfctl.report import ComparisonReport, RunReport

Line = Comparison | FleetComparison | RunComparison

_SHOWN = (Verdict.DIFFERENT, Verdict.DIFFERENT_SMALL, Verdict.EQUIVALENT, Verdict.INCONCLUSIVE)
_WORDS = {
    Verdict.DIFFERENT: "different",
    Verdict.DIFFERENT_SMALL: "different but small",
    Verdict.EQUIVALENT: "equivalent",
    Verdict.INCONCLUSIVE: "inconclusive",
}


def main_lines(report: ComparisonReport | RunReport) -> list[Line]:
    """Return the lines that answer: those over several hosts, and of hosts where there is none over several.

    A/A tests are not among them.
    """
    fleets = list(report.fleets)
    covered = {_place(item) for item in fleets}
    hosts = [item for item in report.comparisons if not (isinstance(item, Comparison) and item.is_aa)]
    found: list[Line] = [*fleets, *(item for item in hosts if _place(item) not in covered)]
    order = {name: place for place, name in enumerate(dict.fromkeys(item.benchmark for item in hosts))}
    return sorted(found, key=lambda item: order.get(item.benchmark, len(order)))


def _place(item: Line) -> tuple[str, str, str, str | None]:
    return (item.benchmark, item.metric.name, item.environment, item.accelerator)


def answer(report: ComparisonReport | RunReport) -> list[str]:
    """Return three sentences: how many lines have which verdict, the largest effect, and how sure that is."""
    lines = [item for item in main_lines(report) if not item.is_emulated]
    if not lines:
        return [_nothing(report)]
    what = "cost" if isinstance(report, ComparisonReport) else "change for the worse"
    return [_verdicts(lines), _largest(lines, what), _sure(report, lines)]


def _nothing(report: ComparisonReport | RunReport) -> str:
    if any(item.is_emulated for item in main_lines(report)):
        return "Nothing can be said of a cost: all figures are of emulated guests."
    return "Nothing can be compared: no line has values of both sides."


def _verdicts(lines: Sequence[Line]) -> str:
    found = Counter(item.judgement.verdict for item in lines if item.judgement)
    parts = [f"{found[verdict]} {_WORDS[verdict]}" for verdict in _SHOWN if found[verdict]]
    return f"{counted(len(lines), 'comparison')}: {', '.join(parts)}."


def _cost(item: Line) -> float:
    """Return the factor by which a line is worse; below 1 where it is better."""
    ratio = item.ratio or 1.0
    return 1 / ratio if item.metric.direction is Direction.HIGHER else ratio


def _largest(lines: Sequence[Line], what: str) -> str:
    sure = [
        item
        for item in lines
        if item.ratio is not None
        and item.metric.direction is not Direction.NEUTRAL
        and item.judgement
        and item.judgement.verdict in (Verdict.DIFFERENT, Verdict.DIFFERENT_SMALL)
    ]
    worse = [item for item in sure if _cost(item) > 1]
    better = [item for item in sure if _cost(item) < 1]
    if worse:
        return f"The largest {what}: {_sentence(max(worse, key=_cost))}."
    if better:
        return f"Nothing became slower for sure; the largest gain: {_sentence(min(better, key=_cost))}."
    return "No difference was shown; only what is called equivalent was shown to be small."


def _sentence(item: Line) -> str:
    place = "" if isinstance(item, FleetComparison) else f" on {item.target}"
    words = (
        f"{environment_text(item)} in {item.benchmark} ({item.metric.name}){place} is {format_effect(item)}"
    )
    if isinstance(item, FleetComparison) and item.disagree:
        words += f"; its hosts differ, {format_host_range(item)}"
    return words


def _sure(report: ComparisonReport | RunReport, lines: Sequence[Line]) -> str:
    still = [item for item in lines if item.judgement and item.judgement.verdict is Verdict.INCONCLUSIVE]
    seen = [item.judgement.mde for item in still if item.judgement and item.judgement.mde is not None]
    parts = []
    if isinstance(report, ComparisonReport) and report.aa_tests:
        below = sum(item.p is not None and item.p <= 0.05 for item in report.aa_tests)
        verb = "has" if 1 in (below, len(report.aa_tests)) else "have"
        tests = counted(len(report.aa_tests), "test")
        parts.append(
            f"{below} of {tests} of the baseline against itself {verb} p <= 0.05 (by chance 1 in 20)"
        )
    if still:
        text = f"{counted(len(still), 'line')} decided nothing"
        if seen:
            ends = (
                percent(min(seen))
                if min(seen) == max(seen)
                else f"{percent(min(seen))} to {percent(max(seen))}"
            )
            text += f" and would have detected effects of {ends}"
        parts.append(text)
    if report.confounded:
        parts.append("some lines are confounded: more than the environment differs")
    if not parts:
        parts.append("every line has a verdict, corrected for their number (Benjamini-Hochberg, q <= 0.05)")
    return f"How sure: {'; '.join(parts)}."
