"""From observations to comparisons with the baseline, verdicts and sentences (docs/comparison.md).

Observation ...  --analyse()-->  Analysis: hosts, fleets, suites, judged together
                                 --format_comparison(), ...-->  'different: 1.34x faster, 95 % CI ...'
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from perfctl.compare.analysis import Analysis, AnalysisContext, analyse
from perfctl.compare.confounding import Confounders, Digests
from perfctl.compare.formatting import (
    EMULATED,
    format_blocks,
    format_difference,
    format_difference_interval,
    format_interval,
    format_labelled_p,
    format_n,
    format_p,
    format_ratio,
)
from perfctl.compare.pairing import PairedComparison, PairingContext, pair
from perfctl.compare.sentences import (
    format_comparison,
    format_effect,
    format_fleet,
    format_host_range,
    format_needs,
    format_run_comparison,
    format_suite,
    format_without_flagged,
    verdict_depends_on_flagged,
)
from perfctl.compare.two_runs import RunsAnalysis, RunSide, compare_runs
from perfctl.compare.values import InvocationKey
from perfctl.model import Comparison, Observation

__all__ = [
    "EMULATED",
    "Analysis",
    "AnalysisContext",
    "Confounders",
    "InvocationKey",
    "PairedComparison",
    "PairingContext",
    "RunSide",
    "RunsAnalysis",
    "analyse",
    "compare",
    "compare_runs",
    "format_blocks",
    "format_comparison",
    "format_difference",
    "format_difference_interval",
    "format_effect",
    "format_fleet",
    "format_host_range",
    "format_interval",
    "format_labelled_p",
    "format_n",
    "format_needs",
    "format_p",
    "format_ratio",
    "format_run_comparison",
    "format_suite",
    "format_without_flagged",
    "pair",
    "verdict_depends_on_flagged",
]


def compare(
    observations: Iterable[Observation],
    *,
    baseline: str,
    environments: Sequence[str] = (),
    digests: Digests | None = None,
    programs: Mapping[str, Collection[str]] | None = None,
) -> list[Comparison]:
    """Return the comparisons of a run without verdicts, in the order of `pair`.

    `environments` names those that were planned. `digests` are the sha256 of the programs as seen inside
    each environment, `programs` those that a benchmark uses (all, where it is not named); a program that
    differs marks the comparison as confounded. Raises as `pair` does.
    """
    confounders = Confounders(digests or {}, programs or {})
    lines = pair(observations, PairingContext(baseline, environments, confounders))
    return [line.comparison for line in lines]
