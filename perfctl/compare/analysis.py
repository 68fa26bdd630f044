"""A whole report: every comparison of a run with its verdict, on a host, over the fleet, over the suite."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from perfctl.compare import fleets, suites
from perfctl.compare.artefacts import Bounds, bounds_of, marked
from perfctl.compare.cells import Place
from perfctl.compare.confounding import Confounders, Digests
from perfctl.compare.deciding import Thresholds, alternatives, family, judge, tested, without_flagged
from perfctl.compare.pairing import Line, Pairing, pair
from perfctl.model import Comparison, FleetComparison, Judgement, Metric, Observation, SuiteComparison
from perfctl.stats import Threshold, practical_threshold


@dataclass(frozen=True, slots=True)
class Setting:
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
    thresholds: Thresholds = field(default_factory=dict)
    omissions: Mapping[Place, str] = field(default_factory=dict)
    """(benchmark, target, environment, replicate, block) -> why there is no value."""
    bounds: Bounds = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Analysis:
    """What a run says. `comparisons` has the A/A tests, which have no verdict, among the others."""

    comparisons: tuple[Comparison, ...]
    fleets: tuple[FleetComparison, ...]
    suites: tuple[SuiteComparison, ...]


def analyse(observations: Iterable[Observation], setting: Setting) -> Analysis:
    """Return all comparisons of a run, judged together. Raises as `pair` does.

    q is over everything that can have a verdict: the lines of hosts, of fleets and of suites are one family.
    Where blocks are flagged, the same is done once more without the flagged blocks of any line, q included.
    """
    lines = pair(
        observations,
        Pairing(
            setting.baseline,
            setting.environments,
            Confounders(setting.digests, setting.programs),
            setting.declared,
            setting.omissions,
        ),
    )
    judgements, claims, means = _judged(lines, setting.thresholds)
    trimmed = without_flagged(lines)
    again = judgements if trimmed == lines else _judged(trimmed, setting.thresholds)[0]
    comparisons = [
        replace(line.comparison, judgement=found, without_flagged=other)
        for line, found, other in zip(lines, judgements, alternatives(lines, trimmed, again), strict=True)
    ]
    return Analysis(
        tuple(marked(item, setting.kinds, bounds_of(item, setting.bounds)) for item in comparisons),
        tuple(marked(item, setting.kinds) for item in claims),
        tuple(means),
    )


def _judged(
    lines: Sequence[Line], thresholds: Thresholds
) -> tuple[list[Judgement | None], list[FleetComparison], list[SuiteComparison]]:
    """Return the verdicts on every level, with one correction over all of them."""
    claims, means = fleets.claims(lines), suites.means(lines, _whole(lines, thresholds))
    report = family(
        [tested(line) for line in lines],
        [claim.tested for claim in claims],
        [suites.tested(mean) for mean in means],
    )
    of_hosts, of_fleets, of_suites = report.q
    return (
        judge(lines, of_hosts, report.tests, thresholds),
        fleets.judged(claims, of_fleets, report.tests, thresholds),
        suites.judged(means, of_suites, report.tests),
    )


def _whole(lines: Sequence[Line], thresholds: Thresholds) -> Threshold:
    """Return the largest threshold of the benchmarks that are compared."""
    keys = {(line.comparison.benchmark, line.comparison.metric.name): line for line in lines}
    found = [thresholds[key] for key in keys if key in thresholds]
    return max([practical_threshold(), *found], key=lambda threshold: threshold.delta)
