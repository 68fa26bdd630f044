"""Simulations with known truth, at the size of a test suite; `make bench-stats` has them in full."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.statistics.figures import FIGURES, Figure


@pytest.mark.parametrize("simulate", FIGURES, ids=lambda simulate: simulate.__name__)
def test_the_statistics_reach_their_figures(simulate: Callable[[int], Iterator[Figure]]) -> None:
    found = list(simulate(1))
    assert found
    missed = [figure for figure in found if not figure.ok]
    assert not missed, "\n".join(f"{f.name} {f.what}: asked {f.asked}, found {f.found}" for f in missed)
