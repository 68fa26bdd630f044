"""`compare` of one run: what each environment costs against the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perfctl.compare import (
    format_difference,
    format_difference_interval,
    format_interval,
    format_labelled_p,
    format_p,
    format_ratio,
    format_without_flagged,
    verdict_depends_on_flagged,
)
from perfctl.model import Comparison, Direction, FleetComparison, Reach, SuiteComparison, Verdict
from perfctl.model.quantity import counted
from perfctl.render.comparison_records import FIELDS, comparison_records
from perfctl.render.figures import (
    RATIO_LEAD,
    VERDICT_TONES,
    by_heading,
    environment_text,
    figure_cells,
    figure_section,
    fleet_remarks,
    heading,
    not_shown,
    shared_remarks,
    unfinished,
    value_text,
    verdict_text,
)
from perfctl.render.health import rate_note
from perfctl.render.left_out import left_out_sections
from perfctl.render.outliers import outlier_sections
from perfctl.render.text import WIDTH
from perfctl.render.view import Column, Remarks, Section, View, columns
from perfctl.report import ComparisonReport
from perfctl.report.sweep import Sweep
from perfctl.stats.precision import PILOT_BLOCKS

_SUITE = "all benchmarks  geometric mean of the headline ratios (slower is always worse)"
_OTHER_WAY = "the two medians point the other way than the ratio, which comes from pairs within blocks"


def comparison_view(
    report: ComparisonReport,
    *,
    sweep: Sweep | None = None,
    sensitivity: bool = False,
    has_aa: bool = False,
) -> View:
    """Return the view of a run's comparisons.

    `sweep` has one table for all benchmarks that differ in its parameter, and none for the others.
    `sensitivity` adds what comes out without flagged blocks also where it is the same, `has_aa` the rows of
    the A/A tests; where nothing else was measured people see those in any case.
    """
    remarks = Remarks()
    others = [item for item in report.comparisons if not item.is_aa]
    hosts = report.comparisons if has_aa or not others else others
    tables = _tables([*hosts, *report.fleets], sweep)
    sections = [
        comparison_section(report, title, items, remarks, sweep=sweep, sensitivity=sensitivity)
        for title, items in tables.items()
    ]
    if report.suites and sweep is None:
        sections.append(suite_section(report, remarks))
    return View(
        "comparison",
        columns(*FIELDS, *(("parameter", "parameter_value") if sweep else ())),
        comparison_records(report, sweep),
        sections=sections,
        warnings=unfinished(report.run),
        lead=RATIO_LEAD if sections else "",
        remarks=remarks.texts,
        appendix=[
            *left_out_sections({"": report.left_out}),
            *outlier_sections(report.outliers, report.run.run_id),
        ],
        footer=_footer(report),
        database=report.database,
        widest=WIDTH,
    )


def _tables(
    items: Sequence[Comparison | FleetComparison], sweep: Sweep | None
) -> dict[str, list[Comparison | FleetComparison]]:
    if sweep is None:
        return by_heading(items)
    found = [item for item in items if item.benchmark in sweep.groups]
    ranks = {name: rank for rank, name in enumerate(sweep.values)}
    found.sort(key=lambda item: (isinstance(item, FleetComparison), ranks[item.benchmark]))
    tables: dict[str, list[Comparison | FleetComparison]] = {}
    for item in found:
        title = heading(sweep.groups[item.benchmark], item.metric, is_emulated=item.is_emulated)
        tables.setdefault(f"{title}  by {sweep.parameter}", []).append(item)
    # Each environment on each target from its first value to its last.
    return {title: sorted(rows, key=_place) for title, rows in tables.items()}


def _place(item: Comparison | FleetComparison) -> tuple[bool, str, str, bool]:
    if isinstance(item, FleetComparison):
        return (True, "", item.environment, False)
    return (False, str(item.target), item.environment, item.is_aa)


# ---- rows for people ---------------------------------------------------------------------------------------


def comparison_section(
    report: ComparisonReport,
    title: str,
    items: Sequence[Comparison | FleetComparison],
    remarks: Remarks,
    *,
    sweep: Sweep | None = None,
    sensitivity: bool = False,
) -> Section:
    """Return the table of one benchmark and metric, a row per item; what is to be known goes to `remarks`."""
    rows = [_row(item, remarks, report.run.suite, sensitivity=sensitivity) for item in items]
    shown = _columns(report.baseline)
    if sweep is not None:
        shown.insert(2, Column("parameter_value", sweep.parameter, align="right"))
        rows = [
            row | {"parameter_value": str(sweep.values[item.benchmark])}
            for row, item in zip(rows, items, strict=True)
        ]
    return figure_section(title, shown, rows)


def _columns(baseline: str) -> list[Column]:
    return [
        *columns("target", "environment"),
        Column("baseline_value", baseline, align="right"),
        *columns("value", "ratio", "cost", align="right"),
        Column("interval", "95 % CI", align="right"),
        Column("verdict", tones=VERDICT_TONES),
        *columns("q", "n", align="right"),
        Column("note"),
    ]


def _row(
    item: Comparison | FleetComparison, remarks: Remarks, suite: str, *, sensitivity: bool
) -> dict[str, Any]:
    if isinstance(item, FleetComparison):
        cost, own = "", fleet_remarks(item)
    else:
        cost, own = format_difference(item), _host_remarks(item, sensitivity=sensitivity)
    note = remarks.add(
        *shared_remarks(item, suite),
        *own,
        f"likely artefact: {item.artefact}" if item.artefact else "",
        _OTHER_WAY if _medians_disagree(item) else "",
    )
    return figure_cells(item) | {
        "baseline_value": value_text(item.baseline_value),
        "value": value_text(item.value),
        "cost": cost,
        "note": note,
    }


def _host_remarks(item: Comparison, *, sensitivity: bool) -> list[str]:
    cost = format_difference_interval(item)
    return [
        f"A/A: the baseline against itself, {format_labelled_p(item.p)}" if item.is_aa and item.p else "",
        f"absolute cost: 95 % CI {cost}" if cost else "",
        f"{counted(item.left_out, 'block')} left out" if item.left_out else "",
        format_without_flagged(item) if sensitivity or verdict_depends_on_flagged(item) else "",
    ]


def _medians_disagree(item: Comparison | FleetComparison) -> bool:
    """Return whether the medians differ in the other direction than the ratio says."""
    if item.ratio is None or item.value is None or item.baseline_value is None:
        return False
    return (item.value - item.baseline_value) * (item.ratio - 1) < 0


def suite_section(report: ComparisonReport, remarks: Remarks) -> Section:
    """Return the table of the means over all benchmarks."""
    shown = [
        *columns("target", "environment"),
        *columns("ratio", align="right"),
        Column("interval", "95 % CI", align="right"),
        Column("verdict", tones=VERDICT_TONES),
        Column("q", align="right"),
        Column("benchmarks", align="right"),
        Column("note"),
    ]
    return figure_section(_SUITE, shown, [_suite_row(item, remarks, _more(report)) for item in report.suites])


def _more(report: ComparisonReport) -> str:
    """Return the command that measures as many blocks as the lines of benchmarks need."""
    needed = [item.judgement.to_decide for item in report.comparisons if item.judgement]
    blocks = max([2 * PILOT_BLOCKS, *(number for number in needed if number is not None)])
    return f"more blocks decide a mean, too: perfctl run --suite {report.run.suite} --blocks {blocks}"


def _suite_row(item: SuiteComparison, remarks: Remarks, more: str) -> dict[str, Any]:
    is_open = item.judgement.verdict is Verdict.INCONCLUSIVE and item.ratio is not None
    why = item.judgement.why
    return {
        "target": counted(len(item.targets), item.scope),
        "environment": environment_text(item),
        "ratio": None if item.ratio is None else format_ratio(item.ratio, Direction.LOWER),
        "interval": None if item.ratio is None else format_interval(item.ratio, item.low, item.high),
        "verdict": verdict_text(item),
        "q": format_p(item.judgement.q),
        "benchmarks": len(item.benchmarks),
        "note": remarks.add(
            f"no mean: {item.note}" if item.ratio is None else item.note,
            why if why != item.note else "",
            more if is_open and not item.is_emulated else "",
            "about these hosts only: fewer than five" if item.reach is Reach.THESE_HOSTS else "",
            "this mean is emulated: not an overhead figure" if item.is_emulated else "",
        ),
    }


# ---- footer ------------------------------------------------------------------------------------------------


def _footer(report: ComparisonReport) -> list[str]:
    """Return what a reader must know beside the tables."""
    run = report.run
    found = [
        f"run {run.run_id}: suite {run.suite}, {run.status}, hosts {', '.join(run.hosts)},"
        f" {blocks_note(report)}",
        ended_note(report),
    ]
    if not report.comparisons:
        found.append(
            f"nothing to compare: `perfctl show {run.run_id}` says why, `perfctl resume` tries again"
        )
    found += [*margin_notes(report), *flagged_notes(report), *_aa(report)]
    if report.emulated:
        found.append(
            f"emulated: {', '.join(report.emulated)} ran under tcg, which imitates a processor in software:"
            " such figures show what works there, not what a virtual machine costs"
        )
    found += [f"confounded: {text}" for text in report.confounded]
    found += not_shown(report.other_benchmarks)
    if report.other_metrics:
        found.append(f"not shown: {', '.join(report.other_metrics)} (--all-metrics shows them)")
    if report.comparisons:
        found.append(f"from a line to its blocks and raw output: perfctl why {run.run_id} METRIC")
    return found


def blocks_note(report: ComparisonReport) -> str:
    """Return how many blocks have values, of how many."""
    verb = "has" if report.planned_blocks == 1 else "have"
    return f"{report.blocks} of {counted(report.planned_blocks, 'block')} {verb} values{_growth(report)}"


def _growth(report: ComparisonReport) -> str:
    first = report.first_planned_blocks
    if first is None or first >= report.planned_blocks:
        return ""
    return f" ({first} were planned at first, second stages added {report.planned_blocks - first})"


def margin_notes(report: ComparisonReport) -> list[str]:
    """Return which equivalence margins were used."""
    judgements = [item.judgement for item in report.comparisons if item.judgement is not None]
    margins = sorted(
        {(share, item.margin_source) for item in judgements if (share := item.equivalence_margin) is not None}
    )
    if not margins:
        return []
    some = ", ".join(f"±{100 * share:.3g} % ({source})" for share, source in margins[:4])
    more = f" and {len(margins) - 4} more" if len(margins) > 4 else ""
    return [
        f"equivalence margin: {some}{more}, effects inside it count as equal;"
        " q: Benjamini-Hochberg over the report"
    ]


def flagged_notes(report: ComparisonReport) -> list[str]:
    """Return how many verdicts rest on flagged blocks."""
    flagged = [item for item in report.comparisons if item.judgement is not None and item.flagged]
    if not flagged:
        return []
    turned = sum(map(verdict_depends_on_flagged, flagged))
    whole = sum(len(item.flagged) >= item.blocks for item in flagged)
    if whole == len(flagged):
        return [
            f"flagged: all blocks of {counted(whole, 'line')}: the host was not quiet, and without them"
            " nothing is left to compare (perfctl why names what was counted)"
        ]
    of_whole = f", in {counted(whole, 'line')} all of them: the host was not quiet" if whole else ""
    return [
        f"flagged: {counted(sum(len(item.flagged) for item in flagged), 'block')} in"
        f" {counted(len(flagged), 'line')}{of_whole}: far off or disturbed; all are in the figures,"
        f" {counted(turned, 'verdict') if turned else 'no verdict'} would change without them"
        " (--sensitivity shows all)"
    ]


def _aa(report: ComparisonReport) -> list[str]:
    here, *others = aa_notes(report)
    return [f"{here} (--aa shows the rows)" if report.aa_tests else here, *others]


def aa_notes(report: ComparisonReport) -> list[str]:
    """Return the A/A result of this run, the rate over the database up to it, and who is in quarantine."""
    found = []
    if report.aa_tests:
        below = sum(item.p is not None and item.p <= 0.05 for item in report.aa_tests)
        found.append(
            f"A/A: {below} of {counted(len(report.aa_tests), 'test')} of the baseline against itself"
            f" {'has' if len(report.aa_tests) == 1 else 'have'} p <= 0.05, by chance 1 in 20 does"
        )
    found.append(rate_note(report.health) or "A/A over the database: no test of 6 blocks or more yet")
    quarantined = [str(item.target) for item in report.health.quarantined]
    if quarantined:
        found.append(f"quarantined (their A/A tests fail too often): {', '.join(quarantined)}")
    return found


def ended_note(report: ComparisonReport) -> str:
    """Return how many invocations are ok, and how the others ended."""
    # Blocks that failed are run once more, so more may have been tried than the plan had.
    tried = max(report.run.planned, sum(item.invocations for item in report.counts))
    ok = f"{report.run.ok} of {counted(tried, 'invocation')} ok"
    other = [f"{item.invocations} {item.status} ({item.reason})" for item in report.failed]
    if other:
        return f"{ok}, left out: {', '.join(other)}"
    return ok if report.left_out else f"{ok}, left out: nothing"
