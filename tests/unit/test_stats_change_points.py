"""Change points: found where they are, and nothing else is an alarm."""

from __future__ import annotations

import math

import numpy as np
import pytest

from perfctl.stats.change_points import ChangeState, _largest_energy, block_shift_p, change_points, e_divisive


def series(*levels: tuple[int, float], noise: float = 0.003, seed: int = 1) -> np.ndarray:
    means = np.concatenate([np.full(count, level) for count, level in levels])
    return np.asarray(means + noise * np.random.default_rng(seed).normal(size=len(means)))


def blocks_of(points: np.ndarray, noise: float = 0.01, seed: int = 2) -> list[np.ndarray]:
    return list(points[:, None] + noise * np.random.default_rng(seed).normal(size=(len(points), 10)))


def test_the_energy_by_its_definition() -> None:
    """All splits and ends, with plain loops."""
    values = np.random.default_rng(3).normal(size=12)
    best = (-math.inf, 0)
    for end in range(6, 13):
        for t in range(3, end - 2):
            left, right = values[:t], values[t:end]
            between = np.mean([abs(x - y) for x in left for y in right])
            inside = [np.mean([abs(x - y) for i, x in enumerate(s) for y in s[:i]]) for s in (left, right)]
            m = end - t
            best = max(best, (t * m / (t + m) * (2 * between - sum(inside)), t))
    place, energy = _largest_energy(np.abs(values[:, None] - values[None, :]))
    assert place == best[1]
    assert energy == pytest.approx(best[0])


def test_a_step_is_confirmed_by_its_blocks() -> None:
    points = series((20, 0.0), (15, 0.05))
    (found,) = change_points(points, seed="s", blocks=blocks_of(points))
    assert (found.index, found.state, found.reason) == (20, ChangeState.CONFIRMED, "")
    assert found.shift == pytest.approx(0.05, abs=0.004)
    assert found.p == 1 / 200
    assert found.block_p is not None and found.block_p < 1e-6


def test_a_step_without_blocks_is_suspected() -> None:
    (found,) = change_points(series((20, 0.0), (15, 0.05)), seed="s")
    assert (found.state, found.block_p, found.reason) == (
        ChangeState.SUSPECTED,
        None,
        "its blocks are not known",
    )


def test_blocks_that_do_not_show_it_leave_it_suspected() -> None:
    points = series((20, 0.0), (15, 0.05))
    (found,) = change_points(points, seed="s", blocks=blocks_of(0 * points, noise=0.3))
    assert found.state is ChangeState.SUSPECTED
    assert found.reason.startswith("its blocks do not show it")


def test_a_bump_has_two_ends() -> None:
    points = series((20, 0.0), (10, 0.06), (20, 0.0))
    found = change_points(points, seed="s", blocks=blocks_of(points))
    assert [change.index for change in found] == [20, 30]
    assert found[0].shift > 0 > found[1].shift


@pytest.mark.parametrize(("shift", "margin", "found"), [(0.05, 0.0, 1), (0.015, 0.0, 0), (0.05, 0.08, 0)])
def test_a_change_must_exceed_the_margin(shift: float, margin: float, found: int) -> None:
    points = series((20, 0.0), (20, shift), noise=0.001)
    assert len(e_divisive(points, seed="s")) == 1
    assert len(change_points(points, seed="s", margin=margin)) == found


@pytest.mark.parametrize("last", [1, 2])
def test_fewer_than_three_points_are_no_change(last: int) -> None:
    assert change_points(series((30, 0.0), (last, 0.2)), seed="s") == []


def test_three_points_can_be() -> None:
    assert [c.index for c in change_points(series((30, 0.0), (3, 0.2)), seed="s")] == [30]


def test_one_spike_is_no_change() -> None:
    points = series((40, 0.0))
    points[20] += 0.5
    assert change_points(points, seed="s") == []


def test_small_steps_are_joined_and_the_large_one_stays() -> None:
    points = series((15, 0.0), (15, 0.012), (15, 0.08), noise=0.001)
    assert [c.index for c in change_points(points, seed="s")] == [30]


def test_the_same_seed_gives_the_same_answer() -> None:
    points = series((20, 0.0), (20, 0.004))
    assert e_divisive(points, seed="a") == e_divisive(points, seed="a")


@pytest.mark.parametrize("count", range(6))
def test_a_short_history_has_no_change(count: int) -> None:
    assert change_points(np.arange(count) * 1.0, seed="s") == []


def test_a_constant_history_has_no_change() -> None:
    assert change_points([0.5] * 50, seed="s", blocks=[[0.5] * 10] * 50) == []


def test_a_clean_step_without_any_noise_is_only_suspected() -> None:
    """Zero variance: the permutations see it, but there is nothing to test the blocks with."""
    points = [0.0] * 10 + [0.1] * 10
    (found,) = change_points(points, seed="s", blocks=[[p] * 5 for p in points])
    assert (found.index, found.state, found.block_p) == (10, ChangeState.SUSPECTED, None)
    assert "zero variance" in found.reason


@pytest.mark.parametrize(
    ("points", "blocks", "margin"),
    [([0.0, math.nan], None, 0.0), ([0.0] * 8, [[0.0]] * 7, 0.0), ([0.0] * 8, None, -0.1)],
)
def test_bad_histories_are_refused(
    points: list[float], blocks: list[list[float]] | None, margin: float
) -> None:
    with pytest.raises(ValueError):
        change_points(points, seed="s", blocks=blocks, margin=margin)


# -- the re-test ---------------------------------------------------------------------------------------------


def test_the_run_is_the_unit_of_the_re_test() -> None:
    """Runs that scatter, blocks that do not: forty blocks are still four runs (Welch's test of means)."""
    from scipy.stats import ttest_ind

    generator = np.random.default_rng(6)
    means = [0.02 * generator.normal(size=4) for _ in range(2)]
    sides = [[m + 0.001 * generator.normal(size=10) for m in side] for side in means]
    expected = ttest_ind(*[[row.mean() for row in side] for side in sides], equal_var=False).pvalue
    # Both sides take the variance of run means (n - 1); degrees of freedom by Welch and Satterthwaite.
    assert block_shift_p(*sides) == pytest.approx(expected, rel=1e-9)


def test_runs_that_agree_by_luck_do_not_make_certain() -> None:
    rows = np.random.default_rng(7).normal(size=(6, 10))
    rows -= rows.mean(axis=1, keepdims=True)
    rows[3:] += 0.3
    found = block_shift_p(list(rows[:3]), list(rows[3:]))
    assert found is not None and found > 0.05


def test_the_re_test_keeps_its_level() -> None:
    generator = np.random.default_rng(8)
    false = 0
    for _ in range(1000):
        runs = 0.3 * generator.normal(size=(8, 1)) + generator.normal(size=(8, 10))
        false += (block_shift_p(list(runs[:4]), list(runs[4:])) or 1.0) <= 0.05
    assert false / 1000 <= 0.062


def test_one_run_on_a_side_cannot_be_re_tested() -> None:
    assert block_shift_p([[1.0, 2.0]], [[1.0, 2.0], [2.0, 3.0]]) is None
    assert block_shift_p([[1.0], []], [[1.0, 2.0], [2.0, 3.0]]) is None
