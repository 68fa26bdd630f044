"""From observations to comparisons with the baseline, verdicts, and the words for them (docs/comparison.md).

Observation ...  --analyse()-->  Analysis: hosts, fleets, suites, judged together
                                 --words(), fleet_words(), suite_words()-->  'different: 1.34x faster ...'
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from perfctl.compare.analysis import Analysis, Setting, analyse
from perfctl.compare.cells import Place
from perfctl.compare.claims import (
    fleet_words,
    raw_words,
    run_words,
    sensitivity,
    suite_words,
    verdict_depends_on_flagged,
)
from perfctl.compare.confounding import Confounders, Digests
from perfctl.compare.pairing import Line, Pairing, pair
from perfctl.compare.two_runs import RunsAnalysis, RunSide, compare_runs
from perfctl.compare.wording import EMULATED, describe, words
from perfctl.model import Comparison, Observation

__all__ = [
    "EMULATED",
    "Analysis",
    "Confounders",
    "Line",
    "Pairing",
    "Place",
    "RunSide",
    "RunsAnalysis",
    "Setting",
    "analyse",
    "compare",
    "compare_runs",
    "describe",
    "fleet_words",
    "pair",
    "raw_words",
    "run_words",
    "sensitivity",
    "suite_words",
    "verdict_depends_on_flagged",
    "words",
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
    lines = pair(observations, Pairing(baseline, environments, confounders))
    return [line.comparison for line in lines]
