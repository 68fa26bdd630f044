"""A comparison as one sentence, and its figures."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from perfctl.compare import (
    EMULATED,
    format_comparison,
    format_interval,
    format_labelled_p,
    format_p,
    format_ratio,
)
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
def test_the_recorded_factors_and_directions(ratio: float, higher_is_better: bool, expected: str) -> None:
    text = format_ratio(ratio, Direction.HIGHER if higher_is_better else Direction.LOWER)
    if expected[0].isdigit():
        assert expected.startswith(f"{text} (")
    else:
        assert text.split()[-1] in expected


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(1.32, "1.32x higher"), (0.8, "1.25x lower"), (0.998, "1.002x lower"), (1.0, "no change")],
)
def test_neutral_metrics_are_neither_faster_nor_slower(ratio: float, expected: str) -> None:
    assert format_ratio(ratio, Direction.NEUTRAL) == expected


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (12.34, "12.3x slower"),
        (1234.5, "1,234x slower"),
        (0.001, "1,000x faster"),
        (1.0001, "1.0001x slower"),
        (1.005, "1.005x slower"),
        (1.0051, "1.01x slower"),
        (1.0996, "1.10x slower"),
        (1 + 1e-9, "1.00000x slower"),
    ],
)
def test_large_and_small(ratio: float, expected: str) -> None:
    assert format_ratio(ratio, Direction.LOWER) == expected


def test_the_whole_sentence() -> None:
    assert format_comparison(BASE) == "1.34x faster, 95 % CI 1.31 to 1.37, p=0.002, n=10 blocks"


def test_the_interval_is_that_of_the_factor() -> None:
    slower = dataclasses.replace(BASE, ratio=1 / 1.34, low=1 / 1.37, high=1 / 1.31)
    assert "1.34x slower, 95 % CI 1.31 to 1.37" in format_comparison(slower)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.997, 1.013, "0.997 to 1.013"),
        (1.004, 1.03, "1.004 to 1.030"),
        (1.0051, 1.03, "1.01 to 1.03"),
        (1.0012, 1.0031, "1.001 to 1.003"),
        (1.0, 1.02, "1.00 to 1.02"),
        (1.0, 1.0, "1.00 to 1.00"),
        (1.0000001, 1.02, "1.00000 to 1.02000"),
    ],
)
def test_the_interval_shows_on_which_side_of_one_it_is(low: float, high: float, expected: str) -> None:
    assert format_interval(1.01, low, high) == expected


def test_a_time_has_its_absolute_cost() -> None:
    start = Metric("start", "ms", Direction.LOWER)
    slower = dataclasses.replace(BASE, metric=start, baseline_value=10.0, value=13.4)
    assert format_comparison(slower).startswith("1.34x slower (+3.40 ms), ")
    faster = dataclasses.replace(slower, ratio=0.8, low=0.78, high=0.82)
    assert format_comparison(faster).startswith("1.25x faster (-2.00 ms), ")


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
    assert format_comparison(START).startswith("1.34x slower (+341 ms, +310 to +370 ms), ")


@pytest.mark.parametrize(
    ("unit", "difference", "low", "high", "expected"),
    [
        ("s", -0.02, -0.05, 0.01, "(-20 ms, -50 to +10 ms)"),
        ("s", 19.5, 18.0, 21.25, "(+19,500 ms, +18,000 to +21,250 ms)"),
        ("ms", 3.4, 3.0, 4.0, "(+3.40 ms, +3 to +4 ms)"),
        ("s", 0.5, None, None, "(+500 ms)"),
        ("MiB", 12.0, 11.0, 13.0, "(+12 MiB, +11 to +13 MiB)"),
        ("s", 0.0, -0.001, 0.001, "(0 ms, -1 to +1 ms)"),
    ],
)
def test_differences_are_told_in_the_metrics_unit_and_seconds_in_ms(
    unit: str, difference: float, low: float | None, high: float | None, expected: str
) -> None:
    metric = dataclasses.replace(START.metric, unit=unit)
    changed = dataclasses.replace(
        START, metric=metric, difference=difference, difference_low=low, difference_high=high
    )
    assert expected in format_comparison(changed)


def test_no_change_of_the_ratio_still_has_the_difference() -> None:
    same = dataclasses.replace(START, ratio=1.0, low=1.0, high=1.0)
    assert format_comparison(same).startswith("no change (+341 ms, +310 to +370 ms), ")
    alike = dataclasses.replace(BASE, metric=Metric("t", "ms", Direction.LOWER), ratio=1.0)
    assert format_comparison(alike).startswith("no change, ")


def test_emulated_figures_are_headed_as_such() -> None:
    guest = dataclasses.replace(BASE, accelerator="tcg")
    baseline = dataclasses.replace(BASE, baseline_accelerator="tcg")
    assert format_comparison(guest) == format_comparison(baseline) == f"{EMULATED}; {format_comparison(BASE)}"
    assert format_comparison(
        dataclasses.replace(BASE, accelerator="kvm", baseline_accelerator="kvm")
    ) == format_comparison(BASE)
    assert EMULATED == "emulated: not an overhead figure"


def test_what_does_not_exist_is_left_out() -> None:
    single = dataclasses.replace(BASE, low=None, high=None, confidence=None, p=None, blocks=1)
    assert format_comparison(single) == "1.34x faster, n=1 block"
    nothing = dataclasses.replace(single, ratio=None, note="difference 3 [1 to 4] ms")
    assert format_comparison(nothing) == "difference 3 [1 to 4] ms"


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (1.0, "1.000"),
        (0.0497, "0.0497"),
        (0.0503, "0.0503"),
        (0.051, "0.051"),
        (0.0004, "<0.001"),
        (None, ""),
    ],
)
def test_p(p: float | None, expected: str) -> None:
    assert format_p(p) == expected
    assert format_labelled_p(p, "q").replace("q", "").replace("=", "") == expected


def test_it_never_says_significant() -> None:
    for p in (0.0001, 0.04, 0.9):
        assert "significant" not in format_comparison(dataclasses.replace(BASE, p=p))
