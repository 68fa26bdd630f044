"""The exact signed-rank test, against scipy without ties and against brute force with them."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfctl.stats.interval_rank import EXACT_UP_TO
from perfctl.stats.signed_rank import null_cdf, p_value, p_values

VECTORS = json.loads((Path(__file__).parents[1] / "data/vectors/other_expected.json").read_text())

exactly = settings(derandomize=True, deadline=None, max_examples=150)


def brute_force_p(differences: list[float]) -> float:
    """Every sign of every difference that is not zero, all equally likely; Pratt's ranks, plain counting."""
    sizes = [abs(d) for d in differences]
    ranks = [
        sum(other < size for other in sizes) + (sum(other == size for other in sizes) + 1) / 2
        for size in sizes
    ]
    live = [(rank, d > 0) for rank, d in zip(ranks, differences, strict=True) if d != 0]
    total = sum(rank for rank, _ in live)
    observed = sum(rank for rank, positive in live if positive)
    extreme = min(observed, total - observed)
    count = 0
    for signs in itertools.product((0, 1), repeat=len(live)):
        count += sum(rank for (rank, _), sign in zip(live, signs, strict=True) if sign) <= extreme
    return min(1.0, 2.0 * count / float(2 ** len(live)))


@exactly
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=10))
def test_ties_and_zeros_are_exact(values: list[int]) -> None:
    differences = [float(value) for value in values]
    assert p_value(differences) == pytest.approx(brute_force_p(differences), rel=1e-12)


@exactly
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40, unique_by=abs).filter(lambda x: 0.0 not in x))
def test_without_ties_it_is_scipys_exact_test(differences: list[float]) -> None:
    from scipy.stats import wilcoxon

    assert p_value(differences) == pytest.approx(wilcoxon(differences, method="exact").pvalue, rel=1e-9)


@pytest.mark.parametrize("case", ["pairs", "pairs_notie"])
def test_agrees_with_the_recorded_vectors(case: str) -> None:
    vector = VECTORS[case]
    assert p_value(vector["log_ratio"]) == pytest.approx(vector["wilcoxon_exact_p"], rel=1e-12)


@exactly
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_swapping_the_legs_changes_nothing(differences: list[float]) -> None:
    assert p_value(differences) == p_value([-d for d in differences])


@pytest.mark.parametrize("n", range(1, 6))
def test_fewer_than_six_are_never_below_five_percent(n: int) -> None:
    assert p_value([1.0 + i for i in range(n)]) == 2 / 2**n > 0.05


def test_six_can_be() -> None:
    assert p_value([1, 2, 3, 4, 5, 6]) == 2 / 64


def test_zeros_do_not_count_as_evidence() -> None:
    assert p_value([0.0] * 20 + [1, 2, 3, 4, 5]) == 2 / 32
    assert p_value([0.0] * 8) == 1.0


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf]])
def test_no_number_is_an_error(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="difference"):
        p_value(bad)


def test_rows_are_independent_of_each_other() -> None:
    rows = np.round(np.random.default_rng(5).normal(size=(300, 12)), 1)
    assert p_values(rows).tolist() == [p_value(row) for row in rows]


def test_the_distribution_sums_to_one_at_its_largest_size() -> None:
    n = EXACT_UP_TO
    # n(n+1)/2 is even here, so the lower half and the middle make (1 + P(middle)) / 2.
    cdf = null_cdf(n)
    assert 2 * cdf[-1] - (cdf[-1] - cdf[-2]) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.2])
def test_the_normal_law_takes_over_smoothly(shift: float) -> None:
    from scipy.stats import wilcoxon

    differences = np.random.default_rng(3).normal(size=EXACT_UP_TO + 500) + shift
    expected = wilcoxon(differences, method="asymptotic", correction=True).pvalue
    assert p_value(differences) == pytest.approx(expected, rel=1e-9)
    assert p_value(differences[:EXACT_UP_TO]) == pytest.approx(
        wilcoxon(differences[:EXACT_UP_TO], method="asymptotic", correction=True).pvalue, rel=0.05
    )


def test_all_zeros_beyond_the_exact_range() -> None:
    assert p_value(np.zeros(EXACT_UP_TO + 1)) == 1.0


def noise(kind: str, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a benchmark that takes 1 on average, by the kind of its noise."""
    if kind == "normal":
        return 1 + 0.01 * generator.normal(size=shape)
    if kind == "lognormal":
        return generator.lognormal(0, 0.05, size=shape)
    if kind == "heavy":
        return np.exp(0.01 * generator.standard_t(2, size=shape))
    spikes = (generator.random(shape) < 0.1) * generator.exponential(0.5, size=shape)
    return 1 + 0.01 * generator.normal(size=shape) + spikes


@pytest.mark.parametrize("kind", ["normal", "lognormal", "heavy", "spiky"])
@pytest.mark.parametrize("n", [10, 30])
def test_false_positives_stay_at_five_percent(kind: str, n: int) -> None:
    """M1: 2,000 comparisons of a thing with itself."""
    values = noise(kind, np.random.default_rng(20), (2, 2000, n))
    differences = np.log(values[0]) - np.log(values[1])
    assert (p_values(differences) <= 0.05).mean() <= 0.062


def test_against_the_mean_of_two_baselines_they_would_not() -> None:
    """Why only the first replicate is the baseline: skewed noise minus a mean of two is not symmetric."""
    values = np.log(noise("spiky", np.random.default_rng(20), (3, 2000, 30)))
    assert (p_values(values[0] - values[1:].mean(axis=0)) <= 0.05).mean() > 0.062
    assert (p_values(values[0] - values[1]) <= 0.05).mean() <= 0.062
