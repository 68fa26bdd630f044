"""Fleets and suites: the host is the unit, and a mean over different sets is refused."""

from __future__ import annotations

import math
import random
from itertools import combinations

import pytest

from perfctl.compare import Analysis, AnalysisContext, analyse, format_fleet, format_suite
from perfctl.model import Direction, Metric, Observation, Reach, Target, Verdict
from perfctl.stats.multiplicity import benjamini_hochberg

TIME = Metric("latency", "ms", Direction.LOWER, headline=True)
RATE = Metric("events", "1/s", Direction.HIGHER, headline=True)


def measured(
    effects: dict[Target, float],
    *,
    blocks: int = 10,
    noise: float = 0.005,
    benchmark: str = "b",
    metric: Metric = TIME,
    seed: int = 1,
) -> list[Observation]:
    """The container costs `effects` (as logarithms) on each target."""
    generator = random.Random(f"{seed}/{benchmark}")
    found = []
    for target, effect in effects.items():
        for block in range(blocks):
            for name, cost in (("native", 0.0), ("container", effect)):
                value = 100 * math.exp(cost + generator.gauss(0, noise))
                found.append(Observation(benchmark, metric, target, block, name, 1, value))
    return found


def on(count: int, effect: float = 0.05, spread: float = 0.0) -> dict[Target, float]:
    """Effects of `count` hosts, evenly spread around one."""
    return {
        Target(f"h{number}"): effect + (spread * (2 * number / (count - 1) - 1) if count > 1 else 0.0)
        for number in range(count)
    }


def judged(seen: list[Observation], baseline: str = "native") -> Analysis:
    return analyse(seen, AnalysisContext(baseline))


def test_one_host_has_no_claim_over_a_fleet() -> None:
    assert judged(measured(on(1))).fleets == ()


@pytest.mark.parametrize(
    ("hosts", "reach"), [(2, Reach.THESE_HOSTS), (4, Reach.THESE_HOSTS), (5, Reach.FLEET)]
)
def test_a_claim_says_whom_it_is_about(hosts: int, reach: Reach) -> None:
    found = judged(measured(on(hosts)))
    (claim,) = found.fleets
    assert (claim.reach, len(claim.hosts)) == (reach, hosts)
    assert claim.judgement.verdict is Verdict.DIFFERENT
    assert claim.low is not None and claim.high is not None
    assert claim.low < math.exp(0.05) < claim.high
    assert len(found.comparisons) == hosts
    text = format_fleet(claim)
    assert text.startswith("different: 1.05x slower, 95 % CI ") and f"n=10 blocks x {hosts} hosts" in text
    assert ("these only" in text) is (reach is Reach.THESE_HOSTS)


def test_the_fleets_interval_covers_the_truth_of_hosts_like_these() -> None:
    generator = random.Random(3)
    held = 0
    for seed in range(300):
        effects = {Target(f"h{n}"): generator.gauss(0.03, 0.02) for n in range(6)}
        (claim,) = judged(measured(effects, blocks=8, seed=seed)).fleets
        assert claim.low is not None and claim.high is not None
        held += claim.low <= math.exp(0.03) <= claim.high
    assert held >= 0.92 * 300


def test_hosts_that_disagree_have_their_range_as_the_headline() -> None:
    (claim,) = judged(measured(on(8, 0.1, spread=0.1))).fleets
    assert claim.i2 is not None and claim.i2 > 0.5 and claim.disagree
    text = format_fleet(claim)
    assert "from " in text and " to 1.2" in text and "; together 1.1" in text and "I^2" in text
    assert claim.lowest == pytest.approx(1.0, abs=0.01)
    assert claim.highest == pytest.approx(math.exp(0.2), abs=0.01)


def test_few_hosts_that_disagree_in_direction_are_no_claim() -> None:
    (claim,) = judged(measured({Target("h1"): 0.1, Target("h2"): -0.08})).fleets
    assert claim.judgement.verdict is Verdict.INCONCLUSIVE
    assert "the hosts disagree" in claim.judgement.why
    same = judged(measured({Target("h1"): 0.1, Target("h2"): 0.2})).fleets[0]
    assert same.disagree and same.judgement.verdict is Verdict.DIFFERENT


def test_an_inconclusive_fleet_says_how_many_hosts_it_needs() -> None:
    (claim,) = judged(measured(on(6, 0.0, spread=0.05))).fleets
    assert claim.judgement.verdict is Verdict.INCONCLUSIVE
    assert claim.judgement.needed is not None and claim.judgement.needed > 6
    assert f"needs about {claim.judgement.needed} hosts" in format_fleet(claim)
    (few,) = judged(measured(on(3, 0.0), noise=0.05)).fleets
    assert few.judgement.verdict is Verdict.INCONCLUSIVE
    assert "blocks on each host" in format_fleet(few)


def test_a_host_without_a_value_is_named_as_missing() -> None:
    seen = measured(on(3))
    seen = [item for item in seen if (item.target.host, item.environment) != ("h2", "container")]
    (claim,) = judged(seen).fleets
    assert claim.missing == (Target("h2"),)
    assert [host.target.host for host in claim.hosts] == ["h0", "h1"]


def test_swapping_the_environments_swaps_the_claim() -> None:
    for effects in (on(3, 0.02), on(6, 0.02, spread=0.01)):
        seen = measured(effects)
        (there,), (back,) = judged(seen).fleets, judged(seen, "container").fleets
        assert there.ratio is not None and back.ratio is not None
        assert abs(there.ratio * back.ratio - 1) < 1e-12
        assert there.p == pytest.approx(back.p, rel=1e-9)
        assert there.judgement.verdict is back.judgement.verdict


def test_pairs_are_clustered_by_host() -> None:
    """h0 is slow, so all of its pairs are: five of fifteen pairs, and one host of six."""
    hosts = [f"h{number}" for number in range(6)]
    effects = {Target(a, b): 0.06 if "h0" in (a, b) else 0.0 for a, b in combinations(hosts, 2)}
    (claim,) = judged(measured(effects, noise=0.003)).fleets
    assert claim.reach is Reach.FLEET and "x 15 pairs" in format_fleet(claim)
    assert claim.p is not None and claim.p > 0.05
    assert claim.judgement.verdict is not Verdict.DIFFERENT


def test_more_blocks_than_the_exact_test_takes_are_said_and_not_guessed() -> None:
    (claim,) = judged(measured(on(2), blocks=600)).fleets
    assert claim.low is None and "too many for the exact test" in claim.note
    assert claim.judgement.verdict is Verdict.INCONCLUSIVE


def test_a_suite_is_the_geometric_mean_with_directions_aligned() -> None:
    seen = measured(on(1, 0.06), benchmark="time") + measured(on(1, -0.04), benchmark="rate", metric=RATE)
    (found,) = judged(seen).suites
    assert found.ratio == pytest.approx(math.exp(0.05), abs=0.005)
    assert found.judgement.verdict is Verdict.DIFFERENT
    assert "1.05x slower" in format_suite(found) and "n=2 benchmarks x 1 host" in format_suite(found)
    (back,) = judged(seen, "container").suites
    assert found.ratio is not None and back.ratio is not None and abs(back.ratio * found.ratio - 1) < 1e-12


def test_a_suite_over_many_hosts_takes_the_host_as_unit() -> None:
    seen = measured(on(6, 0.05), benchmark="x") + measured(on(6, 0.05), benchmark="y")
    (found,) = judged(seen).suites
    assert found.reach is Reach.FLEET and len(found.targets) == 6
    assert found.low is not None and found.high is not None and found.low < math.exp(0.05) < found.high


def test_a_suite_is_refused_where_the_sets_differ() -> None:
    seen = measured(on(2), benchmark="x") + measured(on(1), benchmark="y")
    (found,) = judged(seen).suites
    assert found.ratio is None and "has no result of y latency" in found.note
    assert format_suite(found).startswith("inconclusive: no mean: host 2 of 2 has no result")


def test_one_benchmark_and_neutral_metrics_make_no_suite() -> None:
    assert judged(measured(on(2))).suites == ()
    neutral = Metric("elapsed", "s", Direction.NEUTRAL, headline=True)
    seen = measured(on(2), benchmark="x") + measured(on(2), benchmark="y", metric=neutral)
    assert judged(seen).suites == ()


def test_a_suite_of_few_hosts_in_many_pairs_has_no_interval() -> None:
    pairs = {Target(a, b): 0.05 for a, b in combinations(["h1", "h2", "h3", "h4"], 2)}
    seen = measured(pairs, benchmark="x") + measured(pairs, benchmark="y")
    (found,) = judged(seen).suites
    assert found.low is None and found.judgement.verdict is Verdict.INCONCLUSIVE
    assert "4 hosts say too little about others" in found.note


def test_one_correction_is_over_hosts_fleets_and_suites_together() -> None:
    seen = measured(on(5, 0.004), benchmark="x", noise=0.02) + measured(
        on(5, 0.01), benchmark="y", noise=0.02
    )
    found = judged(seen)
    p_and_judgement = [
        *((item.p, item.judgement) for item in found.comparisons),
        *((item.p, item.judgement) for item in found.fleets),
        *((item.p, item.judgement) for item in found.suites),
    ]
    assert len(p_and_judgement) == 10 + 2 + 1
    wanted = benjamini_hochberg([p for p, _ in p_and_judgement])
    assert [judgement.q for _, judgement in p_and_judgement if judgement] == wanted


def test_a_line_over_hosts_that_can_have_no_verdict_makes_no_room_for_others() -> None:
    """Three blocks have a p and no verdict: q is over the other benchmark alone."""
    many = measured(on(2, 0.02), benchmark="many", noise=0.02)
    few = measured(on(2, 0.02), benchmark="few", noise=0.02, blocks=2)
    alone, among = (
        [
            *(item.judgement for item in found.comparisons if item.benchmark == "many"),
            *(item.judgement for item in found.fleets if item.benchmark == "many"),
        ]
        for found in (judged(many), judged(many + few))
    )
    assert len(alone) == 3 and len(judged(many + few).suites) == 1
    assert [item.q for item in alone if item] == [item.q for item in among if item]
