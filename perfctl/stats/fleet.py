"""Joint estimates over the hosts of a fleet, and the geometric mean over a suite of benchmarks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from perfctl.stats.distributions import t_quantile, t_two_sided_p
from perfctl.stats.estimate import Estimate
from perfctl.stats.hosts import Heterogeneity, heterogeneity, over_hosts, standard_error
from perfctl.stats.paired import PairedResult
from perfctl.stats.stratified import stratified

FEWEST_HOSTS = 5
"""From here on a claim about hosts like these is made; below it is about these hosts only."""

DISAGREE = 0.5
"""I^2 above which one number for all hosts says too little, and their range is the headline."""


class Population(Enum):
    """The hosts that a claim speaks for."""

    HOSTS_LIKE_THESE = "hosts like these"
    THESE_HOSTS_ONLY = "these hosts only"
    ONE_HOST = "this host only"


@dataclass(frozen=True, slots=True)
class FleetResult:
    """The joint estimate of the hosts, on the scale of the block differences (logarithms)."""

    claim: Estimate
    """The estimate to state: the mean over hosts, the common shift of these hosts, or the one host's own."""
    population: Population
    mean: Estimate
    """Mean of per-host estimates with the t interval (H - 1), also where it is not the claim."""
    heterogeneity: Heterogeneity
    lowest: float | None
    """Smallest and largest per-host estimate: the headline when `disagree`."""
    highest: float | None

    @property
    def disagree(self) -> bool:
        """Whether I^2 > 50 %."""
        return self.heterogeneity.i2 is not None and self.heterogeneity.i2 > DISAGREE


CommonShiftTest = Callable[[Sequence[Any]], Estimate]
"""The exact test of one shift that a few hosts have in common, from the row of each."""


def fleet(
    hosts: Sequence[PairedResult], rows: Sequence[Any], *, few_hosts_test: CommonShiftTest = stratified
) -> FleetResult:
    """Return the claim of a fleet: one result and the row that it came from per host, in one order.

    H >= 5: the mean of per-host estimates with the t interval. H = 2..4: the stratified exact test
    `few_hosts_test`, for these hosts only; where it has no figure, their mean without an interval. One host:
    its own result. A row is what `few_hosts_test` takes: block differences, or for `stratified_two_sample`
    both samples. Raises ValueError when the two have not the same length.
    """
    if len(hosts) != len(rows):
        raise ValueError("one row of differences is needed per host")
    estimates = [host.estimate for host in hosts]
    mean = over_hosts(estimates)
    if len(hosts) >= FEWEST_HOSTS:
        claim, population = mean, Population.HOSTS_LIKE_THESE
    elif len(hosts) == 1:
        claim, population = _of_one(hosts[0]), Population.ONE_HOST
    else:
        claim, population = common_shift(rows, mean, few_hosts_test), Population.THESE_HOSTS_ONLY
    return FleetResult(
        claim,
        population,
        mean,
        _heterogeneity(hosts),
        min(estimates, default=None),
        max(estimates, default=None),
    )


def common_shift(rows: Sequence[Any], mean: Estimate, few_hosts_test: CommonShiftTest) -> Estimate:
    """Return what `few_hosts_test` says; where that is nothing, the mean alone with the reason."""
    found = few_hosts_test(rows)
    if found.estimate is not None:
        return found
    return Estimate(len(rows), mean.estimate, None, None, None, None, found.reason)


def _of_one(host: PairedResult) -> Estimate:
    reason = host.reason if host.low is None else ""
    return Estimate(host.n, host.estimate, host.low, host.high, host.confidence, host.p, reason)


def _heterogeneity(hosts: Sequence[PairedResult]) -> Heterogeneity:
    errors = [_error_of(host) for host in hosts]
    known = [error for error in errors if error is not None]
    if len(known) < len(errors):
        return Heterogeneity(len(hosts), None, None, None, "a host has no interval of its own")
    return heterogeneity([host.estimate for host in hosts], known)


def _error_of(host: PairedResult) -> float | None:
    if host.low is None or host.high is None or host.confidence is None:
        return None
    return standard_error(host.low, host.high, host.confidence)


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """The geometric mean of benchmarks' ratios as a logarithm; above 0 is worse (slower, less)."""

    benchmarks: tuple[str, ...]
    claim: Estimate
    """`n` is the number of hosts. exp() gives the ratio."""
    population: Population


def geometric_mean(
    hosts: Sequence[Mapping[str, PairedResult]], *, higher_is_better: Mapping[str, bool]
) -> SuiteResult:
    """Return the mean logarithm over all benchmarks and hosts, with directions aligned and a 95 % interval.

    `hosts` has per host a result per benchmark, `higher_is_better` the direction of every benchmark that
    the mean is to cover. A rate's logarithm changes its sign, so that above 0 is always worse. Five hosts
    or more: the t interval over per-host means. Fewer: the errors of all cells combined, se^2 = sum se_hb^2
    / (H B)^2, with Satterthwaite's degrees of freedom, for these hosts only.

    Hosts or benchmarks that are missing anywhere make the sets differ: refused, no estimate, with the reason
    (means over different sets cannot be compared). Raises ValueError without a benchmark.
    """
    names = tuple(sorted(higher_is_better))
    if not names:
        raise ValueError("a geometric mean needs at least one benchmark")
    population = _population(len(hosts))
    refusal = _sets_differ(hosts, names)
    if refusal:
        return SuiteResult(names, Estimate(len(hosts), None, None, None, None, None, refusal), population)
    signs = np.array([-1.0 if higher_is_better[name] else 1.0 for name in names])
    cells = np.array([[host[name].estimate for name in names] for host in hosts]) * signs
    if population is Population.HOSTS_LIKE_THESE:
        return SuiteResult(names, over_hosts(cells.mean(axis=1)), population)
    return SuiteResult(names, _of_cells(cells, [host[name] for host in hosts for name in names]), population)


def _population(hosts: int) -> Population:
    if hosts == 1:
        return Population.ONE_HOST
    return Population.HOSTS_LIKE_THESE if hosts >= FEWEST_HOSTS else Population.THESE_HOSTS_ONLY


def _sets_differ(hosts: Sequence[Mapping[str, PairedResult]], names: Sequence[str]) -> str:
    if not hosts:
        return "no host has a result"
    for number, host in enumerate(hosts, 1):
        missing = [name for name in names if name not in host]
        if missing:
            return f"host {number} of {len(hosts)} has no result of {', '.join(missing)}"
    return ""


def _of_cells(cells: np.ndarray, results: Sequence[PairedResult]) -> Estimate:
    mean = math.fsum(cells.reshape(-1).tolist()) / cells.size
    count = len(cells)
    errors = [_error_of(result) for result in results]
    known = [error for error in errors if error is not None]
    if len(known) < len(errors):
        return Estimate(count, mean, None, None, None, None, "a benchmark has too few blocks for an interval")
    variances = [error**2 for error in known]
    total = math.fsum(variances)
    if total == 0:
        return Estimate(count, mean, None, None, None, None, "every benchmark has zero variance")
    parts = zip(variances, results, strict=True)
    degrees = total**2 / math.fsum(variance**2 / (result.n - 1) for variance, result in parts)
    error = math.sqrt(total) / cells.size
    half = t_quantile(0.975, degrees) * error
    p = t_two_sided_p(mean / error, degrees)
    return Estimate(count, mean, mean - half, mean + half, 0.95, p)
