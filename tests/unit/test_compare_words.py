"""The words for a comparison."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from perfctl.compare import EMULATED, describe, words
from perfctl.compare.wording import p_text
from perfctl.model import Comparison, Direction, Metric, Target

VECTORS = json.loads((Path(__file__).parents[1] / "data/vectors/other_expected.json").read_text())

BASE = Comparison(
    benchmark="cpu-prime",
    metric=Metric("events", "events/s", Direction.HIGHER),
    target=Target("h1"),
    environment="container",
    baseline="native",
    baseline_value=1000.0,
    value=1340.0,
    ratio=1.34,
    low=1.31,
    high=1.37,
    confidence=0.951,
    p=0.001953125,
    blocks=10,
    left_out=0,
)


@pytest.mark.parametrize(("ratio", "higher_is_better", "expected"), VECTORS["describe"])
def test_the_recorded_words(ratio: float, higher_is_better: bool, expected: str) -> None:
    direction = Direction.HIGHER if higher_is_better else Direction.LOWER
    assert describe(ratio, direction) == expected


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (1.32, "1.32x higher (+32%)"),
        (0.8, "1.25x lower (-20%)"),
        (0.998, "lower by less than 0.5% (-0.2%)"),
        (1.0, "no change"),
    ],
)
def test_neutral_metrics_are_neither_faster_nor_slower(ratio: float, expected: str) -> None:
    assert describe(ratio, Direction.NEUTRAL) == expected


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (12.34, "12.3x slower (+1,134%)"),
        (0.001, "1,000x faster (-100%)"),
        (1.0001, "slower by less than 0.5% (+0.01%)"),
        (1.005, "slower by less than 0.5% (+0.5%)"),
        (1.0051, "1.01x slower (+0.5%)"),
        (1.0996, "1.10x slower (+10%)"),
    ],
)
def test_large_and_small(ratio: float, expected: str) -> None:
    assert describe(ratio, Direction.LOWER) == expected


def test_the_whole_line() -> None:
    assert words(BASE) == "1.34x faster (+34%) [1.31-1.37x] p=0.002 n=10 blocks"


def test_the_interval_is_that_of_the_factor_in_front() -> None:
    slower = dataclasses.replace(BASE, ratio=1 / 1.34, low=1 / 1.37, high=1 / 1.31)
    assert words(slower) == "1.34x slower (-25%) [1.31-1.37x] p=0.002 n=10 blocks"


def test_a_narrow_interval_has_the_decimals_it_needs() -> None:
    narrow = dataclasses.replace(BASE, ratio=1.002, low=1.0012, high=1.0031)
    assert words(narrow) == "faster by less than 0.5% (+0.2%) [1.001-1.003x] p=0.002 n=10 blocks"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.997, 1.013, "[0.997-1.013x]"),
        (1.004, 1.03, "[1.004-1.030x]"),
        (1.0051, 1.03, "[1.01-1.03x]"),
        (1.0, 1.02, "[1.00-1.02x]"),
        (1.0, 1.0, "[1.00-1.00x]"),
        (1.0000001, 1.02, "[1.00000-1.02000x]"),
    ],
)
def test_the_interval_shows_on_which_side_of_one_it_is(low: float, high: float, expected: str) -> None:
    assert expected in words(dataclasses.replace(BASE, ratio=1.01, low=low, high=high))


def test_a_time_has_its_absolute_cost() -> None:
    start = Metric("start", "ms", Direction.LOWER)
    slower = dataclasses.replace(BASE, metric=start, baseline_value=10.0, value=13.4)
    assert words(slower) == "1.34x slower (+34%, +3.40 ms) [1.31-1.37x] p=0.002 n=10 blocks"
    faster = dataclasses.replace(slower, ratio=0.8, low=0.78, high=0.82)
    assert words(faster).startswith("1.25x faster (-20%, -2.00 ms)")


START = dataclasses.replace(
    BASE,
    metric=Metric("ready", "s", Direction.LOWER, show_difference=True),
    baseline_value=1.0,
    value=1.34,
    difference=0.3412,
    difference_low=0.31,
    difference_high=0.37,
)


def test_a_start_has_its_absolute_cost_in_ms_with_its_interval() -> None:
    cost = "+341 ms [+310 to +370 ms]"
    assert words(START) == f"1.34x slower (+34%, {cost}) [1.31-1.37x] p=0.002 n=10 blocks"


@pytest.mark.parametrize(
    ("unit", "difference", "low", "high", "expected"),
    [
        ("s", -0.02, -0.05, 0.01, "-20 ms [-50 to +10 ms]"),
        ("s", 19.5, 18.0, 21.25, "+19,500 ms [+18,000 to +21,250 ms]"),
        ("ms", 3.4, 3.0, 4.0, "+3.40 ms [+3 to +4 ms]"),
        ("s", 0.5, None, None, "+500 ms)"),
        ("MiB", 12.0, 11.0, 13.0, "+12 MiB [+11 to +13 MiB]"),
        ("s", 0.0, -0.001, 0.001, "0 ms [-1 to +1 ms]"),
    ],
)
def test_differences_are_told_in_the_metrics_unit_and_seconds_in_ms(
    unit: str, difference: float, low: float | None, high: float | None, expected: str
) -> None:
    metric = dataclasses.replace(START.metric, unit=unit)
    changed = dataclasses.replace(
        START, metric=metric, difference=difference, difference_low=low, difference_high=high
    )
    assert expected in words(changed)


def test_no_change_of_the_ratio_still_has_the_difference() -> None:
    assert words(dataclasses.replace(START, ratio=1.0, low=1.0, high=1.0)).startswith(
        "no change (+341 ms [+310 to +370 ms])"
    )
    alike = dataclasses.replace(BASE, metric=Metric("t", "ms", Direction.LOWER), ratio=1.0)
    assert words(alike).startswith("no change [")


def test_emulated_figures_are_headed_as_such() -> None:
    guest = dataclasses.replace(BASE, accelerator="tcg")
    baseline = dataclasses.replace(BASE, baseline_accelerator="tcg")
    assert words(guest) == words(baseline) == f"{EMULATED}; {words(BASE)}"
    assert words(dataclasses.replace(BASE, accelerator="kvm", baseline_accelerator="kvm")) == words(BASE)
    assert EMULATED == "emulated: not an overhead figure"


def test_what_does_not_exist_is_left_out() -> None:
    single = dataclasses.replace(BASE, low=None, high=None, confidence=None, p=None, blocks=1)
    assert words(single) == "1.34x faster (+34%) n=1 block"
    nothing = dataclasses.replace(single, ratio=None, note="difference 3 [1 to 4] ms")
    assert words(nothing) == "difference 3 [1 to 4] ms"


@pytest.mark.parametrize(
    ("p", "expected"),
    [(1.0, "p=1.000"), (0.0497, "p=0.0497"), (0.0503, "p=0.0503"), (0.051, "p=0.051"), (0.0004, "p<0.001")],
)
def test_p(p: float, expected: str) -> None:
    assert p_text(p) == expected


def test_it_never_says_significant() -> None:
    for p in (0.0001, 0.04, 0.9):
        assert "significant" not in words(dataclasses.replace(BASE, p=p))
