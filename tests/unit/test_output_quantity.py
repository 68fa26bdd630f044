"""How numbers and durations are written."""

from __future__ import annotations

import math

import pytest

from perfctl.model.quantity import duration, number, percent, quantity


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (-0.0, "0"),
        (5, "5"),
        (1234567, "1,234,567"),
        (26754.31, "26,754"),
        (2914.4, "2,914"),
        (999.96, "1,000"),
        (12.3456, "12.35"),
        (10.0, "10"),
        (-3.14159, "-3.142"),
        (0.5, "0.5000"),
        (0.00012345, "0.0001234"),
        (1.5e-9, "1.500e-09"),
        (2e18, "2.000e+18"),
        (None, "—"),
        (math.nan, "—"),
        (math.inf, "inf"),
    ],
)
def test_number(value: float | None, expected: str) -> None:
    assert number(value) == expected


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.01, "1 %"),
        (0.0163, "1.6 %"),
        (0.005, "0.5 %"),
        (0.0, "0 %"),
        (0.5, "50 %"),
        (0.9949, "99 %"),
        (1.5, "150 %"),
        (-0.02, "-2 %"),
        (None, "—"),
        (float("nan"), "—"),
    ],
)
def test_percent(share: float | None, expected: str) -> None:
    assert percent(share) == expected


def test_quantity() -> None:
    assert quantity(2914.0, "events/s") == "2,914 events/s"
    assert quantity(0.25, "") == "0.2500"
    assert quantity(None, "ms") == "—"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0.0 s"),
        (0.0123, "12 ms"),
        (0.9996, "1.0 s"),
        (4.21, "4.2 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (80, "1 min 20 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (100 * 3600, "4 d 04 h"),
        (-2, "-2.0 s"),
        (None, "—"),
        (math.nan, "—"),
    ],
)
def test_duration(seconds: float | None, expected: str) -> None:
    assert duration(seconds) == expected
