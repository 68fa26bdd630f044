"""Values far from the others of their environment, each with what was counted while it was measured.

An outlier is never dropped. What the counters around its invocation say is its likely cause; that they say
nothing is worth knowing, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfctl.model import Comparison, Metric, Target

if TYPE_CHECKING:
    from perfctl.store import RunReader


@dataclass(frozen=True, slots=True)
class Outlier:
    """One value that is an outlier among those of its environment there; `replicate` 2: the baseline's A2."""

    benchmark: str
    target: Target
    metric: Metric
    environment: str
    replicate: int
    block: int
    value: float
    invocation_id: str
    findings: tuple[str, ...]
    """What the rules of validity found of its invocation, in sentences."""
    counted: str
    """The same in words, also where there is none."""


def outliers(run: RunReader, comparisons: Iterable[Comparison]) -> tuple[Outlier, ...]:
    """Return the outliers of these comparisons, each once, in their order."""
    places = {
        (item.benchmark, str(item.target), block, environment, replicate, item.metric.name): item
        for item in comparisons
        for environment, replicate, block in item.outliers
    }
    if not places:
        return ()
    found = []
    for place, seen in run.judged_values(list(places)):
        benchmark, _, block, environment, replicate, _ = place
        item, words = places[place], counted_words(seen.findings, seen.validity)
        where = (benchmark, item.target, item.metric, environment, replicate, block)
        found.append(Outlier(*where, seen.value, seen.invocation_id, seen.findings, words))
    return tuple(found)


def counted_words(findings: Sequence[str], validity: str | None) -> str:
    """Return what was counted around an invocation: its findings, or that there are none."""
    if findings:
        return "; ".join(findings)
    return "nothing was counted: it was not judged" if validity is None else "nothing unusual was counted"
