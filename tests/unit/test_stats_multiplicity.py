"""Corrections for many comparisons, against scipy and the published example."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfctl.stats.multiplicity import benjamini_hochberg, holm

VECTOR = json.loads((Path(__file__).parents[1] / "data/vectors/other_expected.json").read_text())["bh1995"]

exactly = settings(derandomize=True, deadline=None, max_examples=150)
p_lists = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def test_the_example_of_benjamini_and_hochberg() -> None:
    q = benjamini_hochberg(VECTOR["p"])
    assert q == pytest.approx(VECTOR["bh"], rel=1e-12)
    assert sum(value is not None and value <= 0.05 for value in q) == VECTOR["n_reject_05"]


@exactly
@given(p_lists)
def test_q_is_scipys(p: list[float]) -> None:
    from scipy.stats import false_discovery_control

    assert benjamini_hochberg(p) == pytest.approx(false_discovery_control(p).tolist(), rel=1e-12)


@exactly
@given(p_lists)
def test_holm_by_its_definition(p: list[float]) -> None:
    ordered = sorted(p)
    steps = [min(1.0, (len(p) - i) * value) for i, value in enumerate(ordered)]
    expected = {value: max(steps[: i + 1]) for i, value in enumerate(ordered)}
    assert holm(p) == [expected[value] for value in p]


@exactly
@given(p_lists)
def test_both_keep_the_order_and_only_grow(p: list[float]) -> None:
    for adjusted in (benjamini_hochberg(p), holm(p)):
        values = [value for value in adjusted if value is not None]
        assert all(p_i <= a_i * (1 + 1e-12) and a_i <= 1 for p_i, a_i in zip(p, values, strict=True))
        order = np.argsort(p, kind="stable")
        assert (np.diff(np.array(values)[order]) >= 0).all()


def test_what_has_no_p_is_no_test() -> None:
    assert benjamini_hochberg([0.01, None, 0.04]) == [0.02, None, 0.04]
    assert holm([None, 0.02, None]) == [None, 0.02, None]
    assert benjamini_hochberg([]) == holm([]) == []


@pytest.mark.parametrize("function", [benjamini_hochberg, holm])
@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_impossible_p_is_refused(function, bad: float) -> None:
    with pytest.raises(ValueError, match="0 to 1"):
        function([0.5, bad])
