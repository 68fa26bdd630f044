"""Pairs that share hosts: what the clusters cost, and what pairs taken for units would claim."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from perfctl.stats.fleet import Population
from perfctl.stats.hosts import over_hosts
from perfctl.stats.paired import paired
from perfctl.stats.pairs import fleet_of_pairs, over_pairs


def tournament(hosts: int) -> list[tuple[str, str]]:
    return list(combinations((f"h{number}" for number in range(hosts)), 2))


@pytest.mark.parametrize("hosts", [5, 8])
@pytest.mark.parametrize(("of_host", "of_pair"), [(1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
def test_the_interval_covers_whoever_the_effects_belong_to(
    hosts: int, of_host: float, of_pair: float
) -> None:
    generator = np.random.default_rng(hosts)
    pairs = tournament(hosts)
    held = naive = 0
    for _ in range(1000):
        effects = dict(
            zip((f"h{n}" for n in range(hosts)), of_host * generator.normal(size=hosts), strict=True)
        )
        values = [effects[a] + effects[b] + of_pair * generator.normal() for a, b in pairs]
        found, units = over_pairs(values, pairs), over_hosts(values)
        assert found.low is not None and found.high is not None and found.n == hosts
        assert units.low is not None and units.high is not None
        held += found.low <= 0 <= found.high
        naive += units.low <= 0 <= units.high
    assert held >= 0.935 * 1000
    if of_host and not of_pair:
        assert naive < 0.9 * 1000


def test_turning_the_values_round_turns_the_interval_round() -> None:
    pairs = tournament(6)
    values = np.random.default_rng(1).normal(size=len(pairs))
    there, back = over_pairs(values, pairs), over_pairs(-values, pairs)
    assert there.low is not None and there.estimate is not None
    assert (back.estimate, back.high, back.p) == (-there.estimate, -there.low, there.p)


def test_what_cannot_be_had_is_none_with_a_reason() -> None:
    assert "4 hosts say too little" in over_pairs([1.0, 2.0], [("a", "b"), ("c", "d")]).reason
    star = [("hub", f"h{number}") for number in range(5)]
    assert over_pairs([1.0, 2, 3, 4, 5], star).reason == "one host is in every pair"
    assert over_pairs([1.0] * 10, tournament(5)).reason == "all pairs gave the same estimate: zero variance"
    assert over_pairs([], []).estimate is None
    with pytest.raises(ValueError, match="one estimate is needed per pair"):
        over_pairs([1.0], [])


def test_few_hosts_are_about_these_pairs_only() -> None:
    generator = np.random.default_rng(2)
    rows = [0.1 + 0.01 * generator.normal(size=8) for _ in range(3)]
    found = fleet_of_pairs([paired(row) for row in rows], rows, tournament(3))
    assert found.population is Population.THESE_HOSTS_ONLY
    assert found.claim.low is not None and found.claim.high is not None
    assert found.claim.low < 0.1 < found.claim.high and found.claim.n == 24
    one = fleet_of_pairs([paired(rows[0])], rows[:1], [("a", "b")])
    assert one.population is Population.ONE_HOST
    many = [[0.01 * index for index in range(400)]] * 3
    big = fleet_of_pairs([paired(row) for row in many], many, tournament(3))
    assert big.claim.low is None and "1200 blocks in all are too many" in big.claim.reason


def test_five_hosts_are_about_hosts_like_these() -> None:
    generator = np.random.default_rng(4)
    rows = [0.1 + 0.01 * generator.normal(size=8) for _ in range(10)]
    found = fleet_of_pairs([paired(row) for row in rows], rows, tournament(5))
    assert (found.population, found.claim.n) == (Population.HOSTS_LIKE_THESE, 5)
    assert found.claim == found.mean
