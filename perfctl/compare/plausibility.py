"""Mark results that are too good to be true: better than the bare host, or than the hardware can be.

A container or a guest runs on the same hardware and does more work than the bare host. Where it is faster for
sure, the two did most likely not do the same thing: a cache answered, a limit or an option differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar, cast

from perfctl.environments import KINDS
from perfctl.model import Comparison, Direction, FleetComparison, Target, Verdict
from perfctl.model.environment import Kind

Bounds = Mapping[tuple[str, str, Target, str], tuple[str, ...]]
"""(benchmark, metric, target, environment) -> why its values lie above what the hardware has."""

_Marked = TypeVar("_Marked", Comparison, FleetComparison)


def with_artefact(item: _Marked, kinds: Mapping[str, str], bounds: tuple[str, ...] = ()) -> _Marked:
    """Return the comparison with the evidence that it is likely an artefact, if there is any.

    `kinds` has the kind of every environment ('native', 'container', 'vm'), `bounds` the sentences about
    physical bounds that are exceeded.
    """
    evidence = [*bounds, *_better_than_native(item, kinds)]
    return replace(item, artefact="; ".join(evidence)) if evidence else item


def bounds_of(item: Comparison, bounds: Bounds) -> tuple[str, ...]:
    """Return the sentences about the two sides of a comparison."""
    key = (item.benchmark, item.metric.name, item.target)
    found = [*bounds.get((*key, item.environment), ()), *bounds.get((*key, item.baseline), ())]
    return tuple(dict.fromkeys(found))


def _better_than_native(item: Comparison | FleetComparison, kinds: Mapping[str, str]) -> list[str]:
    """Return the evidence, if the side that is not native is better beyond the interval, q considered."""
    environment, baseline = kinds.get(item.environment), kinds.get(item.baseline)
    if environment is None or baseline is None or _is_overhead(environment) == _is_overhead(baseline):
        return []
    judged = item.judgement.verdict if item.judgement else Verdict.INCONCLUSIVE
    if judged not in (Verdict.DIFFERENT, Verdict.DIFFERENT_SMALL) or item.low is None or item.high is None:
        return []
    direction = item.metric.direction
    if direction is Direction.NEUTRAL:
        return []
    if not (item.low > 1 or item.high < 1):
        return []
    is_better = (item.low > 1) == (direction is Direction.HIGHER)
    other, native = item.environment, item.baseline
    if not _is_overhead(environment):
        is_better, other, native = not is_better, native, other
    if not is_better:
        return []
    return [f"{other} is better than {native} beyond the interval, which does less work on the same hardware"]


def _is_overhead(kind: str) -> bool:
    """Return whether figures of a stored environment of this kind are a cost over the host itself."""
    return KINDS[cast(Kind, kind)].is_overhead
