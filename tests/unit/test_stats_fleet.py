"""Several hosts: t over hosts, these hosts only, the bootstrap, I^2, and a suite's geometric mean."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfctl.stats.fleet import Population, fleet, geometric_mean
from perfctl.stats.hodges_lehmann import estimates as hodges_lehmann
from perfctl.stats.hodges_lehmann import intervals
from perfctl.stats.hosts import bca, heterogeneity, over_hosts, standard_error
from perfctl.stats.paired import PairedResult, paired, paired_rows
from perfctl.stats.signed_rank import p_value
from perfctl.stats.stratified import stratified

exactly = settings(derandomize=True, deadline=None, max_examples=100)
numbers = st.floats(-100, 100).map(lambda x: round(x, 6))


@exactly
@given(st.lists(numbers, min_size=2, max_size=40).filter(lambda x: np.std(x) > 1e-3))
def test_over_hosts_is_scipys_t_interval(values: list[float]) -> None:
    from scipy.stats import ttest_1samp

    expected = ttest_1samp(values, 0.0)
    interval = expected.confidence_interval(0.95)
    found = over_hosts(values)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert found.low == pytest.approx(interval.low, rel=1e-7, abs=1e-7)
    assert found.high == pytest.approx(interval.high, rel=1e-7, abs=1e-7)
    assert found.n == len(values)
    assert found.estimate == pytest.approx(statistics.fmean(values))


@pytest.mark.parametrize(
    ("values", "why"),
    [([], "no host"), ([0.1], "one host"), ([0.1] * 7, "zero variance"), ([0.0, 0.0], "zero variance")],
)
def test_hosts_without_spread_have_no_p(values: list[float], why: str) -> None:
    found = over_hosts(values)
    assert (found.p, found.low, found.high, found.confidence) == (None,) * 4
    assert why in found.reason
    assert found.estimate == (pytest.approx(values[0]) if values else None)


@pytest.mark.parametrize("function", [over_hosts, lambda x: bca(x, seed="s"), lambda x: stratified([x])])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_no_number_is_an_error(function, bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        function([1.0, bad, 2.0])


# -- these hosts only ----------------------------------------------------------------------------------------


def by_enumeration(hosts: list[list[float]]) -> float:
    """Every sign of every difference of every host, all equally likely."""
    ranks: list[tuple[float, float]] = []
    for host in hosts:
        sizes = [abs(d) for d in host]
        for size, d in zip(sizes, host, strict=True):
            rank = sum(s < size for s in sizes) + (sizes.count(size) + 1) / 2
            if d:
                ranks.append((rank, d))
    seen = sum(rank for rank, d in ranks if d > 0)
    extreme = min(seen, sum(rank for rank, _ in ranks) - seen)
    counted = 0
    for signs in itertools.product((0, 1), repeat=len(ranks)):
        counted += sum(rank for (rank, _), sign in zip(ranks, signs, strict=True) if sign) <= extreme
    return min(1.0, 2.0 * counted / float(2 ** len(ranks)))


@exactly
@given(st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=5), min_size=1, max_size=3))
def test_the_stratified_p_is_exact_with_ties(hosts: list[list[int]]) -> None:
    rows = [[float(value) for value in host] for host in hosts]
    if sum(map(len, rows)) > 1:
        assert stratified(rows).p == pytest.approx(by_enumeration(rows), rel=1e-12)


@exactly
@given(st.lists(numbers, min_size=2, max_size=30))
def test_one_stratum_is_the_plain_test(values: list[float]) -> None:
    one, plain = stratified([values]), paired(values)
    assert (one.p, one.estimate, one.low, one.high) == (plain.p, plain.estimate, plain.low, plain.high)
    assert one.confidence == pytest.approx(plain.confidence)


def test_a_few_blocks_on_two_hosts_can_have_an_interval() -> None:
    """3 + 3 signs are as many as 6, though no host alone could have one."""
    found = stratified([[1.0, 2.0, 3.0], [1.5, 2.5, 3.5]])
    assert found.p == 2 / 64
    assert (found.low, found.high, found.confidence) == (1.0, 3.5, 1 - 2 / 64)


def test_the_level_of_a_host_is_never_mixed_with_anothers() -> None:
    """The average of +1 and +9 is nobody's: the estimate comes from averages within hosts."""
    found = stratified([[1.0] * 5, [9.0] * 5])
    assert found.estimate in (1.0, 5.0, 9.0)
    assert (found.low, found.high) == (1.0, 9.0)


@exactly
@given(st.lists(st.lists(numbers, min_size=1, max_size=8), min_size=1, max_size=4))
def test_swapping_the_legs_turns_the_strata_round(hosts: list[list[float]]) -> None:
    here, there = stratified(hosts), stratified([[-d for d in host] for host in hosts])
    assert here.p == there.p
    assert here.estimate is not None and there.estimate == -here.estimate
    if here.low is not None and here.high is not None:
        assert (there.low, there.high) == (-here.high, -here.low)


def test_strata_without_blocks() -> None:
    assert stratified([]).reason == "no host has a block"
    assert stratified([[], [0.1]]).p is None
    assert "no 95% interval" in stratified([[0.1], [0.2]]).reason
    many = stratified([[0.1] * 600, [0.2] * 600])
    assert many.estimate is None and many.reason == "1200 blocks in all are too many for the exact test"


# -- how much hosts disagree ---------------------------------------------------------------------------------


def test_i2_by_hand() -> None:
    """Weights 1, 1, 1/4: mean 4.5 / 2.25 = 2, Q = 4 + 1 + 9/4 = 7.25."""
    found = heterogeneity([0.0, 3.0, 6.0 - 1.0], [1.0, 1.0, 2.0])
    mean = (0 + 3 + 5 / 4) / 2.25
    q = mean**2 + (3 - mean) ** 2 + (5 - mean) ** 2 / 4
    assert found.q == pytest.approx(q)
    assert found.i2 == pytest.approx(1 - 2 / q)
    assert found.p == pytest.approx(math.exp(-q / 2))  # The tail of chi-squared with 2 degrees.


def test_hosts_that_agree_have_no_heterogeneity() -> None:
    found = heterogeneity([0.1, 0.1, 0.1], [0.01, 0.02, 0.03])
    assert found.q == pytest.approx(0.0, abs=1e-20)
    assert found.i2 == 0.0
    assert found.p == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("estimates", "errors", "why"), [([0.1], [0.1], "two hosts"), ([0.1, 0.2], [0.1, 0.0], "zero variance")]
)
def test_unknown_heterogeneity_says_why(estimates: list[float], errors: list[float], why: str) -> None:
    found = heterogeneity(estimates, errors)
    assert found.i2 is None and why in found.reason


@pytest.mark.parametrize(("estimates", "errors"), [([1, 2], [1]), ([1, 2], [1, -1]), ([1, math.nan], [1, 1])])
def test_impossible_errors_are_refused(estimates: list[float], errors: list[float]) -> None:
    with pytest.raises(ValueError):
        heterogeneity(estimates, errors)


@pytest.mark.parametrize(("blocks", "least", "most"), [(8, 0.8, 0.97), (10, 0.9, 1.03), (30, 0.95, 1.05)])
def test_q_of_equal_hosts_is_about_its_degrees_of_freedom(blocks: int, least: float, most: float) -> None:
    """Why the standard error is the half-width over the normal quantile."""
    rows = np.random.default_rng(31).normal(size=(600 * 8, blocks))
    found = intervals(rows)
    assert found is not None
    low, high, confidence = found
    errors = ((high - low) / standard_error(0, 1, confidence) ** -1).reshape(600, 8)
    middles = hodges_lehmann(rows).reshape(600, 8)
    q = [heterogeneity(x, e).q or 0.0 for x, e in zip(middles, errors, strict=True)]
    assert least < np.mean(q) / 7 < most


# -- the bootstrap -------------------------------------------------------------------------------------------


def test_the_bootstrap_is_efrons_bca() -> None:
    from scipy.stats import bootstrap

    values = np.random.default_rng(5).exponential(size=40)
    expected = bootstrap(
        (values,), np.mean, method="BCa", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    found = bca(values, seed="s", resamples=20_000)
    assert found.low == pytest.approx(expected.low, abs=0.01)
    assert found.high == pytest.approx(expected.high, abs=0.015)
    assert found.p is None


def test_the_same_seed_gives_the_same_bootstrap() -> None:
    values = np.random.default_rng(6).normal(size=25)
    assert bca(values, seed="a") == bca(values, seed="a") != bca(values, seed="b")


@pytest.mark.parametrize("hosts", [0, 1, 2, 19])
def test_the_bootstrap_refuses_few_hosts(hosts: int) -> None:
    found = bca(np.arange(hosts), seed="s")
    assert (found.low, found.high) == (None, None)
    assert found.reason


def test_the_bootstrap_without_spread() -> None:
    assert "zero variance" in bca([0.3] * 30, seed="s").reason


# -- the rule of a fleet -------------------------------------------------------------------------------------


def made(hosts: int, blocks: int = 10, shift: float = 0.02, between: float = 0.0) -> np.ndarray:
    generator = np.random.default_rng(hosts)
    rows = shift + 0.01 * generator.normal(size=(hosts, blocks))
    return np.asarray(rows + between * np.arange(hosts)[:, None])


@pytest.mark.parametrize("hosts", [5, 12])
def test_five_hosts_speak_for_hosts_like_them(hosts: int) -> None:
    rows = made(hosts)
    found = fleet(paired_rows(rows), tuple(rows))
    assert found.population is Population.HOSTS_LIKE_THESE
    assert found.claim == found.mean == over_hosts([paired(row).estimate for row in rows])


@pytest.mark.parametrize("hosts", [2, 3, 4])
def test_few_hosts_speak_for_themselves(hosts: int) -> None:
    rows = made(hosts)
    found = fleet(paired_rows(rows), tuple(rows))
    assert found.population is Population.THESE_HOSTS_ONLY
    assert found.claim == stratified(tuple(rows))
    assert found.mean.n == hosts


def test_one_host_is_that_host() -> None:
    rows = made(1)
    found = fleet(paired_rows(rows), tuple(rows))
    alone = paired(rows[0])
    assert found.population is Population.ONE_HOST
    assert (found.claim.estimate, found.claim.low, found.claim.p) == (alone.estimate, alone.low, alone.p)
    assert found.mean.p is None and found.heterogeneity.i2 is None


def test_no_host_claims_nothing() -> None:
    found = fleet([], [])
    assert (found.claim.estimate, found.claim.p, found.lowest) == (None, None, None)
    assert found.claim.reason


def test_hosts_that_disagree_show_their_range() -> None:
    rows = made(6, between=0.05)
    found = fleet(paired_rows(rows), tuple(rows))
    assert found.disagree
    assert found.lowest is not None and found.highest is not None
    assert found.highest - found.lowest > 0.2
    assert not fleet(paired_rows(made(6)), tuple(made(6))).disagree


def test_too_few_blocks_on_a_host_leave_i2_unknown() -> None:
    rows = made(6, blocks=4)
    found = fleet(paired_rows(rows), tuple(rows))
    assert found.heterogeneity.i2 is None and not found.disagree
    assert found.claim.p is not None  # The hosts are the unit: five estimates are five values.


def test_a_row_is_needed_per_host() -> None:
    with pytest.raises(ValueError, match="per host"):
        fleet([paired([0.1, 0.2])], [])


# -- one host with too little --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("differences", "why"),
    [
        ([0.1], "one block"),
        ([0.1, 0.2, 0.3], "3 blocks"),
        ([0.1] * 10, "zero variance"),
        ([0.0] * 10, "zero"),
    ],
)
def test_what_supports_no_claim_says_why(differences: list[float], why: str) -> None:
    assert why in paired(differences).reason


def test_ties_alone_are_no_fault() -> None:
    assert paired([0.1, 0.1, 0.1, 0.2, 0.2, 0.2, -0.1]).reason == ""


# -- a suite -------------------------------------------------------------------------------------------------


def result(estimate: float, half: float = 0.01, n: int = 10) -> PairedResult:
    return PairedResult(n, estimate, estimate - half, estimate + half, 0.95, 0.01)


def test_directions_are_aligned_before_the_mean() -> None:
    """Twice the time and half the rate are both twice as bad."""
    host = {"time": result(math.log(2)), "rate": result(math.log(0.5))}
    found = geometric_mean([host], higher_is_better={"time": False, "rate": True})
    assert found.claim.estimate == pytest.approx(math.log(2))
    assert found.population is Population.ONE_HOST
    assert found.benchmarks == ("rate", "time")
    assert found.claim.low is not None and found.claim.high is not None
    # Two equal errors: each half as large in the mean of two, together 1 / sqrt(2); 18 degrees of freedom.
    error = standard_error(-0.01, 0.01, 0.95) / math.sqrt(2)
    assert found.claim.high - found.claim.low == pytest.approx(2 * 2.100922 * error, rel=1e-6)


def test_a_suite_on_many_hosts_takes_the_host_as_unit() -> None:
    hosts = [{"a": result(0.1 + 0.01 * h), "b": result(0.3 - 0.02 * h)} for h in range(6)]
    found = geometric_mean(hosts, higher_is_better={"a": False, "b": False})
    expected = over_hosts([0.2 - 0.005 * h for h in range(6)])
    assert found.claim.n == 6
    assert found.claim.p == pytest.approx(expected.p)
    assert found.population is Population.HOSTS_LIKE_THESE


@pytest.mark.parametrize(
    "hosts",
    [[], [{"a": result(0.1)}], [{"a": result(0.1), "b": result(0.1)}, {"b": result(0.1)}]],
    ids=["no host", "one benchmark", "unequal hosts"],
)
def test_sets_that_differ_are_refused(hosts: list[dict[str, PairedResult]]) -> None:
    found = geometric_mean(hosts, higher_is_better={"a": False, "b": False})
    assert found.claim.estimate is None
    assert found.claim.reason


def test_a_suite_with_too_few_blocks_has_a_mean_and_no_interval() -> None:
    host = {"a": paired([0.1, 0.2]), "b": result(0.1)}
    found = geometric_mean([host], higher_is_better={"a": False, "b": False})
    assert found.claim.estimate is not None and found.claim.low is None and "too few" in found.claim.reason
    with pytest.raises(ValueError, match="benchmark"):
        geometric_mean([host], higher_is_better={})


def test_a_tested_pair_of_hosts_agrees_with_pooled_signs() -> None:
    """Two hosts of one block each are two coins: no p below a half."""
    assert stratified([[0.1], [0.2]]).p == 0.5 == p_value([0.1, 0.2])
