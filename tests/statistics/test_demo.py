"""The suite of `make demo` has as many blocks of round trips as the simulation asks for, and no more."""

from __future__ import annotations

from perfctl.suites import load_suite
from tests.statistics.demo import BENCHMARK, LEAST_FOUND, OTHERS, share_found


def test_round_trips_have_the_fewest_blocks_that_find_a_cost_of_a_tenth() -> None:
    suite = load_suite("demo", benchmarks=[BENCHMARK, *OTHERS])
    (blocks,) = (item.blocks for item in suite.benchmarks if item.name == BENCHMARK)
    assert blocks is not None
    assert share_found(blocks, demos=400) >= LEAST_FOUND
    assert share_found(blocks - 1, demos=400) < LEAST_FOUND
