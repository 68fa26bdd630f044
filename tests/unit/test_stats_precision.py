"""How many blocks: Stein's second stage, power, and where spread arises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import stdtrit

from perfctl.stats import interval_rank, signed_rank
from perfctl.stats.distributions import t_quantile
from perfctl.stats.hosts import over_hosts
from perfctl.stats.levels import best_repetitions, variance_components
from perfctl.stats.precision import (
    blocks_needed,
    minimum_detectable_effect,
    minimum_detectable_effect_over_hosts,
    second_stage,
    stdev,
)
from perfctl.stats.signed_rank import p_values

exactly = settings(derandomize=True, deadline=None, max_examples=150)
T_9 = 2.26215716279820


def test_the_sentence_of_the_specification() -> None:
    stage = second_stage(0.01 * math.sqrt(74) / T_9 * 0.9999, tau=0.01)
    assert (stage.wanted, stage.blocks, stage.is_capped) == (74, 30, True)
    assert stage.expected == pytest.approx(0.01 * math.sqrt(74 / 30), rel=1e-3)
    assert stage.words() == "needs 74 blocks for ±1 %; capped at 30, expect ±1.6 %"


@exactly
@given(st.floats(0, 1), st.floats(1e-3, 0.2))
def test_stein_by_its_formula(s_d: float, tau: float) -> None:
    stage = second_stage(s_d, tau=tau)
    exact = (T_9 * s_d / tau) ** 2
    assert max(1, math.ceil(exact * (1 - 1e-8))) <= stage.wanted <= max(1, math.ceil(exact * (1 + 1e-8)))
    assert stage.blocks == min(max(stage.wanted, 10), 30)
    assert stage.expected == pytest.approx(T_9 * s_d / math.sqrt(stage.blocks), rel=1e-9)
    assert stage.is_capped == (stage.wanted > 30)


def test_a_quiet_benchmark_stops_with_the_pilot() -> None:
    stage = second_stage(0.0, tau=0.01)
    assert (stage.wanted, stage.blocks, stage.expected) == (1, 10, 0.0)
    assert second_stage(0.005, tau=0.01).words() == "needs 2 blocks for ±1 %; with 10 expect ±0.36 %"


@pytest.mark.parametrize(
    "bad", [{"s_d": -1.0}, {"s_d": math.nan}, {"tau": 0.0}, {"pilot": 1}, {"n_max": 9}, {"tau": math.inf}]
)
def test_an_impossible_plan_is_refused(bad: dict[str, float]) -> None:
    arguments = {"s_d": 0.01, "tau": 0.01} | bad
    with pytest.raises(ValueError):
        second_stage(arguments.pop("s_d"), **arguments)  # type: ignore[arg-type]


def test_spread_needs_two_blocks() -> None:
    assert stdev([]) is None
    assert stdev([0.1]) is None
    assert stdev([0.1, 0.3]) == pytest.approx(math.sqrt(0.02))


# -- power ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [6, 7, 8, 10, 14, 20, 30])
def test_the_detectable_effect_is_found_four_times_in_five(blocks: int) -> None:
    effect = minimum_detectable_effect(blocks, 1.0)
    assert effect is not None
    rows = np.random.default_rng(41).normal(size=(6000, blocks)) + effect
    assert (p_values(rows) <= 0.05).mean() == pytest.approx(0.8, abs=0.022)


@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_too_few_blocks_detect_nothing(blocks: int) -> None:
    assert minimum_detectable_effect(blocks, 1.0) is None


def test_no_spread_detects_everything() -> None:
    assert minimum_detectable_effect(10, 0.0) == 0.0
    with pytest.raises(ValueError):
        minimum_detectable_effect(10, -1.0)


@exactly
@given(st.floats(1e-3, 3), st.floats(1e-3, 1))
def test_blocks_needed_is_the_least_that_is_enough(effect: float, s_d: float) -> None:
    blocks = blocks_needed(effect, s_d)
    if blocks is None:
        largest = minimum_detectable_effect(100_000, s_d)
        assert largest is not None and largest > effect
        return
    found = minimum_detectable_effect(blocks, s_d)
    assert found is not None and found <= effect
    before = minimum_detectable_effect(blocks - 1, s_d)
    assert before is None or before > effect


def test_blocks_needed_for_no_effect() -> None:
    with pytest.raises(ValueError, match="effect of 0"):
        blocks_needed(0.0, 0.1)
    assert blocks_needed(1e-9, 1.0) is None
    assert blocks_needed(-0.02, 0.01) == blocks_needed(0.02, 0.01)


def test_the_detectable_effect_over_hosts() -> None:
    effect = minimum_detectable_effect_over_hosts(8, 1.0)
    assert effect is not None
    rows = np.random.default_rng(42).normal(size=(3000, 8)) + effect
    hits = [(over_hosts(row).p or 1.0) <= 0.05 for row in rows]
    assert np.mean(hits) == pytest.approx(0.8, abs=0.03)
    assert minimum_detectable_effect_over_hosts(1, 1.0) is None
    with pytest.raises(ValueError):
        minimum_detectable_effect_over_hosts(5, math.nan)


# -- levels --------------------------------------------------------------------------------------------------


def test_components_are_found_again() -> None:
    generator = np.random.default_rng(43)
    boots = 3.0 * generator.normal(size=(4000, 1, 1))
    processes = 2.0 * generator.normal(size=(4000, 3, 1))
    found = variance_components(boots + processes + generator.normal(size=(4000, 3, 4)))
    assert found == pytest.approx([1.0, 4.0, 9.0], rel=0.06)


def test_a_level_that_adds_nothing_is_not_worth_repeating() -> None:
    assert best_repetitions([1.0, -0.1], [1.0, 5.0]) == [math.inf]
    assert best_repetitions([4.0, 1.0], [1.0, 9.0]) == [6.0]


@pytest.mark.parametrize("bad", [[[1.0]], [[1.0, math.nan], [1.0, 2.0]], 3.0])
def test_levels_need_values(bad: object) -> None:
    with pytest.raises(ValueError):
        variance_components(bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        best_repetitions([1.0, 2.0], [1.0])


@pytest.mark.parametrize("probability", [0.001, 0.025, 0.4, 0.5, 0.6, 0.8, 0.95, 0.975, 0.999])
def test_quantiles_of_t_without_scipy_are_scipys(probability: float) -> None:
    for degrees in range(1, 201):
        expected = float(stdtrit(degrees, probability))
        assert t_quantile(probability, degrees) == pytest.approx(expected, rel=1e-11, abs=1e-12), degrees
    # What is not whole, many or far out is scipy's own.
    for freedom, far in ((2.5, probability), (1000.0, probability), (9.0, 1e-7)):
        assert t_quantile(far, freedom) == float(stdtrit(freedom, far))


def test_the_distribution_without_numpy_is_that_with_numpy_bit_for_bit() -> None:
    for n in range(1, 52):
        assert interval_rank.null_cdf(n) == list(signed_rank.null_cdf(n))
