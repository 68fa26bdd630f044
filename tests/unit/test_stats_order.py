"""Order statistics: the median's interval, flags, the threshold from A/A history, exact rates, positions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfctl.stats.equivalence import Position, log_margin, position
from perfctl.stats.order import clopper_pearson, equivalence_margin, median_interval, outliers

exactly = settings(derandomize=True, deadline=None, max_examples=150)
samples = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)


@exactly
@given(samples)
def test_the_medians_interval_by_the_binomial_law(values: list[float]) -> None:
    from scipy.stats import binom

    found = median_interval(values)
    n = len(values)
    assert found.estimate == np.median(values)
    k = int(binom.ppf(0.025, n, 0.5))
    while k > 0 and binom.cdf(k - 1, n, 0.5) > 0.025:
        k -= 1
    if k == 0:
        assert (found.low, found.high) == (None, None) and found.reason
    else:
        ordered = sorted(values)
        assert (found.low, found.high) == (ordered[k - 1], ordered[n - k])
        assert found.confidence == pytest.approx(1 - 2 * binom.cdf(k - 1, n, 0.5))


@exactly
@given(samples)
def test_turning_values_round_turns_the_interval_round(values: list[float]) -> None:
    here, there = median_interval(values), median_interval([-value for value in values])
    if here.low is not None and here.high is not None:
        assert (there.low, there.high) == (-here.high, -here.low)


def test_the_median_of_many_values() -> None:
    exact, normal = median_interval(np.arange(1000.0)), median_interval(np.arange(1001.0))
    assert exact.low is not None and normal.low is not None
    assert abs(exact.low - normal.low) <= 1
    assert median_interval([]).reason == "no value"
    with pytest.raises(ValueError, match="finite"):
        median_interval([1.0, math.nan])


# -- flags ---------------------------------------------------------------------------------------------------


@exactly
@given(st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 3)), min_size=1, max_size=40))
def test_flags_by_their_definition(values: list[float]) -> None:
    middle = np.median(values)
    mad = np.median([abs(value - middle) for value in values])
    expected = [bool(abs(value - middle) > 14.8 * mad) for value in values]
    assert outliers(values).tolist() == expected


def test_equal_values_are_not_flagged() -> None:
    assert not outliers([3.0] * 9).any()
    assert outliers([]).shape == (0,)


def test_a_step_of_the_tool_is_no_outlier() -> None:
    values = [10.0] * 8 + [10.1, 40.0]
    assert outliers(values).tolist() == [False] * 8 + [True, True]
    assert outliers(values, resolution=0.1).tolist() == [False] * 9 + [True]


# -- the equivalence margin ---------------------------------------------------------------------------------


def test_the_margin_is_the_largest_of_three() -> None:
    assert equivalence_margin().share == 0.01
    assert equivalence_margin(resolution=0.018).share == 0.018
    assert "resolution" in equivalence_margin(resolution=0.018).source
    noisy = [(-1) ** i * 0.0005 * i for i in range(1, 201)]
    found = equivalence_margin(noisy, resolution=0.018)
    assert found.share == pytest.approx(math.expm1(0.0005 * 198))
    assert found.source == "99th percentile of 200 A/A results"


def test_few_results_have_no_99th_percentile() -> None:
    assert equivalence_margin([0.5] * 19).share == 0.01
    assert equivalence_margin([0.5] * 20).share == pytest.approx(math.expm1(0.5))


@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf])
def test_an_impossible_resolution_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="resolution"):
        equivalence_margin(resolution=bad)


# -- exact rates ---------------------------------------------------------------------------------------------


@exactly
@given(st.integers(0, 300), st.integers(1, 300))
def test_the_exact_interval_of_a_rate_is_scipys(events: int, trials: int) -> None:
    from scipy.stats import binomtest

    events = min(events, trials)
    expected = binomtest(events, trials).proportion_ci(0.95, "exact")
    found = clopper_pearson(events, trials)
    assert found.low == pytest.approx(expected.low)
    assert found.high == pytest.approx(expected.high)
    assert found.estimate == events / trials


def test_no_trial_has_no_rate() -> None:
    found = clopper_pearson(0, 0)
    assert (found.estimate, found.low, found.high) == (None, None, None)
    assert found.reason == "no trial yet"
    for events, trials in ((1, 0), (-1, 5), (6, 5)):
        with pytest.raises(ValueError, match="cannot be"):
            clopper_pearson(events, trials)


# -- positions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.5, 0.5, Position.INSIDE),
        (1.1, 2.0, Position.BEYOND),
        (-2.0, -1.1, Position.BEYOND),
        (0.5, 2.0, Position.CROSSING),
        (-2.0, 2.0, Position.CROSSING),
        (1.0, 2.0, Position.CROSSING),
        (-1.0, 0.0, Position.CROSSING),
        (None, None, Position.UNKNOWN),
    ],
)
def test_where_an_interval_lies(low: float | None, high: float | None, expected: Position) -> None:
    assert position(low, high, 1.0) is expected
    if low is not None and high is not None:
        assert position(-high, -low, 1.0) is expected


@exactly
@given(st.lists(st.floats(-0.1, 0.1), min_size=6, max_size=20), st.floats(0.001, 0.2))
def test_equivalence_is_two_one_sided_tests(differences: list[float], margin: float) -> None:
    """Inside the margins: the exact test rejects both one-sided hypotheses at half the interval's level."""
    from perfctl.stats.paired import paired
    from perfctl.stats.signed_rank import p_value

    found = paired(differences)
    assert found.confidence is not None
    if position(found.low, found.high, margin) is Position.INSIDE and len(set(map(abs, differences))) == len(
        differences
    ):
        for shifted in ([d - margin for d in differences], [d + margin for d in differences]):
            assert p_value(shifted) <= 1 - found.confidence + 1e-9


def test_margins_are_the_same_up_and_down() -> None:
    assert math.exp(log_margin(0.01)) == pytest.approx(1.01)
    assert log_margin(0) == 0
    for bad in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="at least 0"):
            log_margin(bad)
