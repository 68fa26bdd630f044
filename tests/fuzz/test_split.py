"""The inputs of `make fuzz` are divided among the tests without rest, and one that never ends is noticed."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.fuzz import inputs
from tests.fuzz.inputs import KINDS, SHARES, Tally, bounded, table


def test_the_shares_are_whole() -> None:
    for path in Path(__file__).parent.glob("test_*.py"):
        importlib.import_module(f"tests.fuzz.{path.stem}")
    assert sum(KINDS.values()) == 100
    assert pytest.approx(dict.fromkeys(KINDS, 1.0)) == SHARES


def test_what_never_ends_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "HANG_S", 0.05)
    with pytest.raises(AssertionError, match=r"more than 0\.05 s of CPU time"), bounded():
        while True:
            pass


def test_the_table_has_the_sums_and_where_crashes_were() -> None:
    lines = table({"suites": Tally(2, 1), "plans": Tally(1, 0, {"KeyError at x.py:1"})})
    assert [line.split() for line in lines] == [
        ["kind", "inputs", "accepted", "refused", "crashes"],
        ["suites", "3", "2", "1", "0"],
        ["plans", "1", "1", "0", "1"],
        ["all", "4", "3", "1", "1"],
        ["KeyError", "at", "x.py:1"],
    ]
