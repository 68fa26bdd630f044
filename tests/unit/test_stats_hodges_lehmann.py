"""Estimate and interval from Walsh averages."""

from __future__ import annotations

import itertools
import json
import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfctl.stats.hodges_lehmann import _walsh_by_counting, estimates, intervals
from perfctl.stats.interval_rank import interval_rank
from perfctl.stats.paired import paired, paired_rows
from perfctl.stats.signed_rank import p_value

VECTORS = json.loads((Path(__file__).parents[1] / "data/vectors/other_expected.json").read_text())

exactly = settings(derandomize=True, deadline=None, max_examples=150)
samples = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=25)


def walsh(differences: list[float]) -> list[float]:
    pairs = itertools.combinations_with_replacement(differences, 2)
    return sorted((a + b) / 2 for a, b in pairs)


@exactly
@given(samples)
def test_the_estimate_is_the_median_of_the_walsh_averages(differences: list[float]) -> None:
    assert paired(differences).estimate == statistics.median(walsh(differences))


@exactly
@given(samples)
def test_swapping_the_legs_negates_everything_bit_for_bit(differences: list[float]) -> None:
    here, there = paired(differences), paired([-d for d in differences])
    assert there.estimate == -here.estimate
    assert (there.p, there.confidence) == (here.p, here.confidence)
    if here.low is not None and here.high is not None:
        assert (there.low, there.high) == (-here.high, -here.low)


@exactly
@given(st.lists(st.floats(-100, 100), min_size=6, max_size=20, unique_by=abs).filter(lambda x: 0.0 not in x))
def test_the_interval_holds_what_the_test_does_not_reject(differences: list[float]) -> None:
    """Without ties the interval leaves out 0 exactly when p <= 1 - achieved confidence."""
    result = paired(differences)
    assert result.low is not None and result.high is not None and result.confidence is not None
    assert result.low <= result.estimate <= result.high
    excludes_zero = result.low > 0 or result.high < 0
    # 0 may itself be a bound (a Walsh average of x and -x): then the test sits exactly on its limit.
    if 0.0 not in (result.low, result.high):
        assert excludes_zero == (p_value(differences) <= 1 - result.confidence + 1e-12)


@pytest.mark.parametrize(
    ("n", "rank", "confidence"),
    # Hollander, Wolfe & Chicken, table of the signed-rank distribution: P(T+ <= rank - 1) on each side.
    [
        (6, 1, 1 - 2 / 64),
        (7, 3, 1 - 6 / 128),
        (8, 4, 1 - 10 / 256),
        (9, 6, 1 - 20 / 512),
        (10, 9, 1 - 50 / 1024),
    ],
)
def test_the_ranks_of_the_95_percent_interval(n: int, rank: int, confidence: float) -> None:
    found = interval_rank(n)
    assert found is not None
    assert found.rank == rank
    assert found.confidence == pytest.approx(confidence, abs=1e-15)


@pytest.mark.parametrize("n", range(1, 6))
def test_no_interval_below_six(n: int) -> None:
    assert interval_rank(n) is None
    assert intervals(np.ones((1, n))) is None
    result = paired([1.0] * n)
    assert (result.low, result.high, result.confidence) == (None, None, None)
    assert result.estimate == 1.0


def test_one_difference_has_no_p() -> None:
    assert paired([0.3]).p is None
    assert paired([0.3, 0.4]).p == 0.5


@pytest.mark.parametrize("n", [6, 10, 11, 30, 100, 1000, 1001, 5000])
def test_the_achieved_confidence_is_at_least_the_wanted(n: int) -> None:
    found = interval_rank(n)
    assert found is not None
    assert 0.95 <= found.confidence < 0.97


def test_the_recorded_pairs() -> None:
    vector = VECTORS["pairs"]
    result = paired(vector["log_ratio"])
    # The t interval of the same numbers: another method, so near it and no more.
    low, high = np.log(vector["t_ci_ratio"])
    assert result.low == pytest.approx(low, abs=0.002)
    assert result.high == pytest.approx(high, abs=0.002)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rows = np.random.default_rng(11).standard_t(3, size=(4000, 10)) + 0.7
    found = intervals(rows)
    assert found is not None
    low, high, confidence = found
    covered = ((low <= 0.7) & (high >= 0.7)).mean()
    assert covered == pytest.approx(confidence, abs=0.011)


@exactly
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=30), st.data())
def test_counting_finds_the_same_walsh_averages(values: list[int], data: st.DataObject) -> None:
    ordered = np.sort(np.array(values, dtype=float))
    expected = walsh(ordered.tolist())
    rank = data.draw(st.integers(1, len(expected)))
    assert _walsh_by_counting(ordered, rank) == pytest.approx(expected[rank - 1], abs=1e-9)


def test_thousands_of_differences() -> None:
    row = np.random.default_rng(2).normal(size=(1, 2500)) + 1
    made = (row[0][:, None] + row[0][None, :]) / 2
    expected = np.median(made[np.triu_indices(2500)])
    assert estimates(row)[0] == pytest.approx(expected, abs=1e-9)


def test_rows_are_independent_of_each_other() -> None:
    rows = np.random.default_rng(4).normal(size=(50, 9))
    assert paired_rows(rows) == [paired(row) for row in rows]
