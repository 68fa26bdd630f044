"""Every comparison of a run with its verdict: on a host, over the fleet, over the suite."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from perfctl.compare import fleets, suites
from perfctl.compare.confounding import Confounders, Digests
from perfctl.compare.pairing import PairedComparison, PairingContext, pair
from perfctl.compare.plausibility import Bounds, bounds_of, with_artefact
from perfctl.compare.values import InvocationKey
from perfctl.compare.verdicts import (
    Margins,
    family,
    judge,
    results_without_flagged,
    tested_p,
    without_flagged,
)
from perfctl.facts import RunChange
from perfctl.model import (
    Comparison,
    FleetComparison,
    Judgement,
    Metric,
    Observation,
    ResultWithoutFlagged,
    SuiteComparison,
)
from perfctl.stats.order import EquivalenceMargin, equivalence_margin


@dataclass(frozen=True, slots=True)
class AnalysisContext:
    """What is known of a run beside its values; everything but the baseline may be missing."""

    baseline: str
    environments: Sequence[str] = ()
    """Those that were planned: one without any value still has its line."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """Environment -> 'native', 'container' or 'vm'."""
    digests: Digests = field(default_factory=dict)
    programs: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Benchmark -> the programs that it uses (all, where it is not named)."""
    declared: Mapping[tuple[str, str], Metric] = field(default_factory=dict)
    """(benchmark, metric) -> the metric with the tool's resolution."""
    margins: Margins = field(default_factory=dict)
    omissions: Mapping[InvocationKey, str] = field(default_factory=dict)
    """(benchmark, target, environment, replicate, block) -> why there is no value."""
    bounds: Bounds = field(default_factory=dict)
    changes: Sequence[RunChange] = ()
    """What changed on hosts and in environments while they were measured."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """All comparisons of a run with their verdicts.

    `paired` are those of hosts with the differences that they rest on, the A/A tests, which have no verdict,
    among them.
    """

    paired: tuple[PairedComparison, ...]
    fleets: tuple[FleetComparison, ...]
    suites: tuple[SuiteComparison, ...]

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The comparisons of hosts alone."""
        return tuple(item.comparison for item in self.paired)


def analyse(observations: Iterable[Observation], context: AnalysisContext) -> Analysis:
    """Return all comparisons of a run, judged together. Raises as `pair` does.

    q is over everything that can have a verdict: the lines of hosts, of fleets and of suites are one family.
    Where blocks are flagged, the same is done once more without the flagged blocks of any line, q included.
    """
    lines = pair(
        observations,
        PairingContext(
            context.baseline,
            context.environments,
            Confounders(context.digests, context.programs, context.changes),
            context.declared,
            context.omissions,
        ),
    )
    judgements, claims, means = _judged(lines, context.margins)
    trimmed = without_flagged(lines)
    again = judgements if trimmed == lines else _judged(trimmed, context.margins)[0]
    others = results_without_flagged(lines, trimmed, again)
    return Analysis(
        tuple(
            _with_verdict(line, found, other, context)
            for line, found, other in zip(lines, judgements, others, strict=True)
        ),
        tuple(with_artefact(item, context.kinds) for item in claims),
        tuple(means),
    )


def _with_verdict(
    line: PairedComparison,
    judgement: Judgement | None,
    without_flagged: ResultWithoutFlagged | None,
    context: AnalysisContext,
) -> PairedComparison:
    item = replace(line.comparison, judgement=judgement, without_flagged=without_flagged)
    return replace(line, comparison=with_artefact(item, context.kinds, bounds_of(item, context.bounds)))


def _judged(
    lines: Sequence[PairedComparison], margins: Margins
) -> tuple[list[Judgement | None], list[FleetComparison], list[SuiteComparison]]:
    """Return the verdicts on every level, with one correction over all of them."""
    claims, means = fleets.claims(lines), suites.means(lines, _largest_margin(lines, margins))
    report = family(
        [tested_p(line) for line in lines],
        [claim.tested_p for claim in claims],
        [suites.tested_p(mean) for mean in means],
    )
    of_hosts, of_fleets, of_suites = report.q
    return (
        judge(lines, of_hosts, report.tests, margins),
        fleets.with_verdicts(claims, of_fleets, report.tests, margins),
        suites.with_verdicts(means, of_suites, report.tests),
    )


def _largest_margin(lines: Sequence[PairedComparison], margins: Margins) -> EquivalenceMargin:
    """Return the largest margin of the benchmarks that are compared."""
    keys = {(line.comparison.benchmark, line.comparison.metric.name): line for line in lines}
    found = [margins[key] for key in keys if key in margins]
    return max([equivalence_margin(), *found], key=lambda margin: margin.share)
