"""Joint estimates over pairs of hosts: pairs that share a host are dependent, so hosts are the clusters.

In network work every pair has an estimate, and a slow host is in all of its pairs: with pairs for units it
would count many times. `over_pairs` leaves out one host at a time, with all of its pairs (the delete-one
jackknife for a mean over pairs: Arvesen 1969, Annals of Mathematical Statistics 40:2076).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from perfctl.stats.distributions import t_quantile, t_two_sided_p
from perfctl.stats.estimate import Estimate, finite
from perfctl.stats.fleet import FEWEST_HOSTS, CommonShiftTest, FleetResult, Population, common_shift, fleet
from perfctl.stats.paired import PairedResult
from perfctl.stats.stratified import stratified

Pair = tuple[str, str]


def over_pairs(estimates: ArrayLike, pairs: Sequence[Pair], *, confidence: float = 0.95) -> Estimate:
    """Return the mean of one estimate per pair, with the jackknife's t interval (H - 1) and p; `n` is H.

    V = (H-1)/H sum_h (m_(-h) - m)^2, m_(-h) the mean of the pairs without host h. When effects belong to
    hosts V is right, when they belong to pairs it is more than twice the variance: it never understates
    (Efron & Stein 1981, Annals of Statistics 9:586). Fewer than five hosts, or a host without which no pair
    is left: no interval, with the reason. Raises ValueError for NaN, infinity or lengths that differ.
    """
    row = finite(estimates)
    if len(row) != len(pairs):
        raise ValueError("one estimate is needed per pair")
    hosts = sorted({host for pair in pairs for host in pair})
    if len(row) == 0:
        return Estimate(0, None, None, None, None, None, "no pair has an estimate")
    mean = math.fsum(row.tolist()) / len(row)
    if len(hosts) < FEWEST_HOSTS:
        reason = f"{len(hosts)} hosts say too little about others: it needs {FEWEST_HOSTS}"
        return Estimate(len(hosts), mean, None, None, None, None, reason)
    without = [np.array([host not in pair for pair in pairs]) for host in hosts]
    if not all(kept.any() for kept in without):
        return Estimate(len(hosts), mean, None, None, None, None, "one host is in every pair")
    shifts = np.array([math.fsum(row[kept].tolist()) / int(kept.sum()) for kept in without]) - mean
    error = math.sqrt((len(hosts) - 1) / len(hosts) * math.fsum((shifts**2).tolist()))
    if error <= 1e-15 * abs(mean):
        reason = "all pairs gave the same estimate: zero variance"
        return Estimate(len(hosts), mean, None, None, None, None, reason)
    half = t_quantile((1 + confidence) / 2, len(hosts) - 1) * error
    p = t_two_sided_p(mean / error, len(hosts) - 1)
    return Estimate(len(hosts), mean, mean - half, mean + half, confidence, p)


def fleet_of_pairs(
    results: Sequence[PairedResult],
    rows: Sequence[Any],
    pairs: Sequence[Pair],
    *,
    few_hosts_test: CommonShiftTest = stratified,
) -> FleetResult:
    """Return the claim of a fleet measured in pairs; as `fleet`, with hosts as the clusters.

    From five hosts on `over_pairs`; below, or where that has no interval, the stratified exact test
    with a pair as stratum, for these pairs only: given the hosts, blocks of different pairs are
    independent. Raises ValueError when lengths differ.
    """
    if not len(results) == len(rows) == len(pairs):
        raise ValueError("one result and one row of differences are needed per pair")
    whole = fleet(results, rows, few_hosts_test=few_hosts_test)
    mean = over_pairs([result.estimate for result in results], pairs)
    if len(results) == 1:
        return whole
    if mean.low is not None:
        return replace(whole, claim=mean, population=Population.HOSTS_LIKE_THESE, mean=mean)
    claim = common_shift(rows, mean, few_hosts_test)
    return replace(whole, claim=claim, population=Population.THESE_HOSTS_ONLY, mean=mean)
