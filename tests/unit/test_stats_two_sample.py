"""Two unpaired samples: against scipy without ties, against counting every choice with ties."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import pytest

from perfctl.stats.two_sample import rank_sum_p, stratified_two_sample, two_sample


def counted_p(x: list[float], y: list[float]) -> float:
    """Return the p from all choices of len(y) of the pooled midranks."""
    pooled = np.array([*x, *y])
    ranks = np.array([2 * (pooled < v).sum() + (pooled == v).sum() + 1 for v in pooled])
    seen = ranks[len(x) :].sum()
    sums = np.array([ranks[list(chosen)].sum() for chosen in combinations(range(len(pooled)), len(y))])
    return float(min(1.0, 2 * min((sums <= seen).mean(), (sums >= seen).mean())))


@pytest.mark.parametrize(("m", "n"), [(1, 3), (4, 4), (6, 10), (10, 6), (10, 10), (30, 30)])
def test_without_ties_p_is_that_of_scipy(m: int, n: int) -> None:
    from scipy.stats import mannwhitneyu

    generator = np.random.default_rng(m * 100 + n)
    for shift in (0.0, 0.7, 3.0):
        x, y = generator.normal(size=m), generator.normal(size=n) + shift
        assert rank_sum_p(x, y) == pytest.approx(mannwhitneyu(y, x, method="exact").pvalue, rel=1e-9)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1.0, 2, 2, 3, 5], [2.0, 3, 3, 5, 6, 6]),
        ([1.0, 1, 1], [1.0, 2, 2, 2]),
        ([1.0, 1, 1, 1], [1.0, 1, 1]),
        ([1.0, 2, 2], [2.0, 3, 3]),
    ],
)
def test_with_ties_p_is_exact(x: list[float], y: list[float]) -> None:
    """scipy's exact method ignores ties; here every choice is counted."""
    assert rank_sum_p(x, y) == pytest.approx(counted_p(x, y), rel=1e-12)
    assert rank_sum_p(y, x) == rank_sum_p(x, y)


@pytest.mark.parametrize(("m", "n"), [(5, 9), (10, 10), (12, 10), (80, 90)])
def test_exchanging_the_samples_negates_the_shift_bit_for_bit(m: int, n: int) -> None:
    generator = np.random.default_rng(3)
    for decimals in (1, 12):
        x = np.round(generator.normal(size=m), decimals)
        y = np.round(generator.normal(size=n) + 0.4, decimals)
        there, back = two_sample(x, y), two_sample(y, x)
        assert there.estimate is not None and there.low is not None and there.high is not None
        assert (back.estimate, back.low, back.high) == (-there.estimate, -there.high, -there.low)
        assert (back.p, back.confidence) == (there.p, there.confidence)


def test_the_interval_covers_the_true_shift_and_p_keeps_its_level() -> None:
    generator = np.random.default_rng(17)
    held = rejected = 0
    for _ in range(2000):
        x, y = generator.standard_t(3, size=10), 1.0 + generator.standard_t(3, size=12)
        found = two_sample(x, y)
        assert found.low is not None and found.high is not None
        held += found.low <= 1.0 <= found.high
        rejected += rank_sum_p(x, y - 1.0) <= 0.05
    assert held >= 0.94 * 2000
    assert rejected <= 0.062 * 2000


def test_what_cannot_be_had_is_none_with_a_reason() -> None:
    few = two_sample([1.0, 2, 3], [4.0, 5, 6, 7])
    assert (few.low, few.high, few.confidence) == (None, None, None)
    assert "no 95% interval" in few.reason and few.estimate == 3.5
    nothing = two_sample([], [1.0])
    assert (nothing.estimate, nothing.p) == (None, None) and nothing.reason == "a sample has no value"
    with pytest.raises(ValueError, match="finite"):
        two_sample([1.0, float("nan")], [1.0])
    with pytest.raises(ValueError, match="both samples"):
        rank_sum_p([], [1.0])


def test_the_normal_law_of_many_values_is_near_the_exact_one() -> None:
    from scipy.stats import mannwhitneyu

    generator = np.random.default_rng(5)
    x, y = np.round(generator.normal(size=100), 1), np.round(generator.normal(size=90) + 0.3, 1)
    assert rank_sum_p(x, y) == pytest.approx(mannwhitneyu(x, y, method="asymptotic").pvalue, rel=1e-6)
    assert rank_sum_p([2.0] * 100, [2.0] * 100) == 1.0


# -- over a few hosts ----------------------------------------------------------------------------------------


def counted_over_hosts(hosts: Sequence[tuple[list[float], list[float]]]) -> float:
    """p from every choice of the second samples on every host, counted one by one."""
    sums: list[list[float]] = []
    seen = 0.0
    for x, y in hosts:
        pooled = [*x, *y]
        ranks = [
            sum(other < v for other in pooled) + (sum(other == v for other in pooled) + 1) / 2 for v in pooled
        ]
        seen += sum(ranks[len(x) :])
        sums.append([sum(chosen) for chosen in combinations(ranks, len(y))])
    totals = [sum(choice) for choice in product(*sums)]
    low = sum(total <= seen + 1e-9 for total in totals)
    high = sum(total >= seen - 1e-9 for total in totals)
    return min(1.0, 2 * min(low, high) / len(totals))


@pytest.mark.parametrize(
    "hosts",
    [
        [([1.0, 2, 4], [3.0, 5, 6]), ([10.0, 30, 20], [15.0, 40])],
        [([1.0, 2, 2, 3], [2.0, 3, 3]), ([7.0, 7], [7.0, 8, 8])],
        [([1.0, 1], [1.0, 1]), ([2.0, 2], [2.0, 2])],
    ],
)
def test_over_hosts_every_choice_is_counted(hosts: list[tuple[list[float], list[float]]]) -> None:
    assert stratified_two_sample(hosts).p == pytest.approx(counted_over_hosts(hosts), rel=1e-12)


def test_one_host_is_the_two_sample_test() -> None:
    generator = np.random.default_rng(5)
    x, y = generator.normal(size=9), generator.normal(size=12) + 0.5
    one, alone = two_sample(x, y), stratified_two_sample([(x, y)])
    assert (alone.estimate, alone.low, alone.high, alone.confidence) == (
        one.estimate,
        one.low,
        one.high,
        one.confidence,
    )
    assert alone.p == pytest.approx(one.p, rel=1e-12)


def test_over_hosts_exchanging_the_samples_negates_bit_for_bit() -> None:
    generator = np.random.default_rng(6)
    for decimals in (1, 12):
        hosts = [
            (np.round(generator.normal(size=m), decimals), np.round(generator.normal(size=n) + 0.3, decimals))
            for m, n in ((6, 9), (10, 10), (12, 7))
        ]
        there = stratified_two_sample(hosts)
        back = stratified_two_sample([(y, x) for x, y in reversed(hosts)])
        assert there.estimate is not None and there.low is not None and there.high is not None
        assert (back.estimate, back.low, back.high) == (-there.estimate, -there.high, -there.low)
        assert (back.p, back.confidence) == (there.p, there.confidence)


def test_over_hosts_levels_do_not_matter_and_the_interval_keeps_its_promise() -> None:
    """Each host has its own level; the shift that they share is covered, and p keeps its level."""
    generator = np.random.default_rng(18)
    held = below = 0
    for _ in range(1000):
        levels = generator.normal(scale=50, size=3)
        hosts = [
            (level + generator.normal(size=6), level + 0.4 + generator.normal(size=8)) for level in levels
        ]
        found = stratified_two_sample(hosts)
        assert found.low is not None and found.high is not None
        held += found.low <= 0.4 <= found.high
        null = stratified_two_sample([(x, y - 0.4) for x, y in hosts])
        assert null.p is not None
        below += null.p <= 0.05
    assert 930 <= held <= 975
    assert below <= 65


def test_over_hosts_what_cannot_be_had_says_why() -> None:
    assert stratified_two_sample([([], [1.0])]).reason == "no host has values in both samples"
    assert "no 95% interval" in stratified_two_sample([([1.0], [2.0]), ([1.0], [2.0])]).reason
    many = stratified_two_sample([([0.0] * 70, [1.0] * 70)])
    assert many.estimate is None and "more than 120 values on a host" in many.reason
    with pytest.raises(ValueError, match="finite"):
        stratified_two_sample([([1.0, float("nan")], [1.0])])
