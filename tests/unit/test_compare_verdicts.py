"""The rules of a verdict, each on made-up values whose truth is known."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from typing import Any

import pytest

from perfctl.compare import (
    AnalysisContext,
    analyse,
    format_comparison,
    format_needs,
    format_without_flagged,
    verdict_depends_on_flagged,
)
from perfctl.compare.verdicts import Power
from perfctl.model import Comparison, Direction, Metric, Observation, Target, Verdict
from perfctl.model.quantity import percent
from perfctl.stats.multiplicity import benjamini_hochberg
from perfctl.stats.order import EquivalenceMargin

TIME = Metric("latency", "ms", Direction.LOWER, headline=True)
RATE = Metric("events", "1/s", Direction.HIGHER, headline=True)
H1 = Target("h1")
KINDS = {"native": "native", "container": "container", "vm": "vm"}


def legs(
    ratios: Sequence[float],
    *,
    benchmark: str = "b",
    metric: Metric = TIME,
    target: Target = H1,
    environment: str = "container",
    validity: Sequence[str | None] = (),
) -> list[Observation]:
    """A block for each ratio: native takes 100 to 109, the environment `ratio` times as long."""
    judged = validity or [None] * len(ratios)
    found = []
    for block, (ratio, verdict) in enumerate(zip(ratios, judged, strict=True)):
        native = 100.0 + block % 10
        found.append(Observation(benchmark, metric, target, block, "native", 1, native))
        found.append(
            Observation(benchmark, metric, target, block, environment, 1, native * ratio, validity=verdict)
        )
    return found


def judged(seen: Sequence[Observation], **changes: Any) -> list[Comparison]:
    setting = dataclasses.replace(AnalysisContext("native", kinds=KINDS), **changes)
    return list(analyse(seen, setting).comparisons)


def spread_around(middle: float, width: float, blocks: int) -> list[float]:
    """Ratios evenly spread over middle ± width."""
    return [middle + width * (2 * place / (blocks - 1) - 1) for place in range(blocks)]


@pytest.mark.parametrize(
    ("middle", "width", "blocks", "expected"),
    [
        (1.05, 0.01, 10, Verdict.DIFFERENT),
        (0.95, 0.01, 10, Verdict.DIFFERENT),
        (1.012, 0.011, 10, Verdict.DIFFERENT_SMALL),
        (1.0, 0.005, 10, Verdict.EQUIVALENT),
        (1.004, 0.003, 10, Verdict.EQUIVALENT),
        (1.01, 0.04, 10, Verdict.INCONCLUSIVE),
        (1.5, 0.01, 5, Verdict.INCONCLUSIVE),
    ],
)
def test_each_verdict(middle: float, width: float, blocks: int, expected: Verdict) -> None:
    (found,) = judged(legs(spread_around(middle, width, blocks)))
    assert found.judgement is not None and found.judgement.verdict is expected
    assert format_comparison(found).startswith(f"{expected}: ")


def test_an_effect_inside_the_margin_is_equivalent_however_small_its_p() -> None:
    (found,) = judged(legs(spread_around(1.004, 0.001, 20)))
    assert found.p is not None and found.p < 0.001
    assert found.judgement is not None and found.judgement.verdict is Verdict.EQUIVALENT


def test_inconclusive_says_what_it_could_have_found_and_what_it_needs() -> None:
    (found,) = judged(legs(spread_around(1.0, 0.04, 10)))
    judgement = found.judgement
    assert judgement is not None and judgement.mde is not None and judgement.needed is not None
    assert 0.015 < judgement.mde < 0.04
    assert judgement.needed > 50
    assert (
        f"would detect {percent(judgement.mde)} or more with 10 blocks; needs about {judgement.needed} blocks"
        in format_comparison(found)
    )
    assert "no change" in judgement.why and "equivalence margin" in judgement.why


def test_with_the_blocks_that_were_needed_it_is_not_inconclusive_any_more() -> None:
    """The promise of `needed`, kept in at least 90 of 100 simulated comparisons."""
    generator = random.Random(5)
    kept = asked = 0
    while asked < 100:
        middle = generator.choice([0.0, 0.003, 0.006, 0.01, 0.02])
        first = [math.exp(generator.gauss(middle, 0.02)) for _ in range(10)]
        (found,) = judged(legs(first))
        needed = found.judgement.needed if found.judgement else None
        if needed is None:
            continue
        asked += 1
        more = [math.exp(generator.gauss(middle, 0.02)) for _ in range(needed)]
        (again,) = judged(legs(more))
        kept += again.judgement is not None and again.judgement.verdict is not Verdict.INCONCLUSIVE
    assert kept >= 90


@pytest.mark.parametrize(
    ("ratios", "why"),
    [
        ([1.2], "one block has no p and no interval"),
        ([1.2] * 3, "n < 6 cannot be significant"),
        ([1.2, 1.21, 1.19, 1.2, 1.22], "n < 6 cannot be significant"),
        ([1.2] * 12, "zero variance: every block gave the same difference"),
        ([1.0] * 12, "zero variance: every block gave the same difference"),
        ([1.01] * 6 + [1 / 1.01] * 6, "all differences are ties: they have one size, as a tool's step has"),
        ([math.nan] * 8, "no block has a value of both container and native"),
    ],
)
def test_what_decides_nothing_says_why(ratios: list[float], why: str) -> None:
    (found,) = judged(legs(ratios))
    assert found.judgement is not None
    assert (found.judgement.verdict, found.judgement.why) == (Verdict.INCONCLUSIVE, why)
    assert found.judgement.q is None


def test_an_environment_without_any_value_is_inconclusive() -> None:
    seen = [item for item in legs([1.0] * 8) if item.environment == "native"]
    (found,) = judged(seen, environments=("native", "container"))
    assert found.judgement is not None and found.judgement.verdict is Verdict.INCONCLUSIVE
    assert format_comparison(found) == "inconclusive: no block has a value of both container and native"


def test_q_is_over_all_comparisons_of_all_levels_but_the_a_a_tests() -> None:
    seen: list[Observation] = []
    for number in range(6):
        seen += legs(spread_around(1.0 + 0.004 * number, 0.02, 12), benchmark=f"b{number}")
        seen += [
            Observation(f"b{number}", TIME, H1, block, "native", 2, 100.0 + block) for block in range(12)
        ]
    report = analyse(seen, AnalysisContext("native"))
    found = report.comparisons
    compared = [item for item in found if not item.is_aa]
    told = [(item.p, item.judgement) for item in compared]
    told += [(item.p, item.judgement) for item in report.suites]
    assert [judgement.q for _, judgement in told if judgement] == benjamini_hochberg([p for p, _ in told])
    assert (len(compared), len(report.suites)) == (6, 1)
    assert all(item.judgement is None and item.p is not None for item in found if item.is_aa)


def test_one_lucky_p_among_many_comparisons_is_not_called_different() -> None:
    generator = random.Random(4)
    lucky = spread_around(1.05, 0.065, 8)
    seen = legs(lucky, benchmark="lucky")
    (alone,) = judged(seen)
    assert alone.p is not None and alone.p <= 0.05
    for number in range(40):
        ratios = [math.exp(generator.gauss(0, 0.02)) for _ in range(8)]
        seen += legs(ratios, benchmark=f"b{number}")
    among = judged(seen)[0]
    assert among.judgement is not None and among.judgement.q is not None and among.judgement.q > 0.05
    assert among.judgement.verdict is Verdict.INCONCLUSIVE
    assert "42 lines" in among.judgement.why and "may be chance (q=" in among.judgement.why
    assert "8 blocks cannot reach less than p=0.008" in among.judgement.why
    assert "one alone needs 11 blocks" in among.judgement.why
    assert among.judgement.to_decide is not None and among.judgement.to_decide >= 11


def test_six_blocks_among_seven_lines_say_that_it_takes_nine() -> None:
    power = Power(6, 0.01, None)
    assert (power.smallest_p(6), power.least_blocks(7), power.least_blocks(1)) == (0.03125, 9, 6)
    assert Power(6, 0.01, None, is_two_runs=True).least_blocks(7) == 6


def test_an_inconclusive_line_names_the_command_that_decides_it() -> None:
    (few,) = judged(legs([1.2] * 3))
    assert "perfctl run --suite net --blocks 6" in format_needs(few, "net")
    (noisy,) = judged(legs(spread_around(1.0, 0.04, 10)))
    assert noisy.judgement is not None
    assert f": perfctl run --suite net --blocks {noisy.judgement.to_decide}" in format_needs(noisy, "net")
    (equal,) = judged(legs([1.2] * 12))
    assert "longer measurements" in format_needs(equal, "net"), "more blocks would be as equal"
    (empty,) = judged(legs([math.nan] * 8))
    assert "perfctl show" in format_needs(empty, "net")
    (decided,) = judged(legs(spread_around(1.5, 0.01, 10)))
    assert format_needs(decided, "net") == ""


def test_the_margin_is_the_largest_of_its_three_sources() -> None:
    ratios = spread_around(1.03, 0.005, 10)
    (plain,) = judged(legs(ratios))
    (noisy,) = judged(legs(ratios), margins={("b", "latency"): EquivalenceMargin(0.05, "A/A")})
    stepped = dataclasses.replace(TIME, step=4.0)
    (coarse,) = judged(legs(ratios), declared={("b", "latency"): stepped})
    found = [item.judgement for item in (plain, noisy, coarse)]
    assert [item.verdict for item in found if item] == [
        Verdict.DIFFERENT,
        Verdict.EQUIVALENT,
        Verdict.EQUIVALENT,
    ]
    assert [item.margin_source for item in found if item] == [
        "the least, 0.01",
        "A/A",
        "the tool's step, 4 ms",
    ]


def test_swapping_the_environments_swaps_faster_and_slower_and_keeps_the_verdict() -> None:
    """M8, with the verdict: the margin is as far up as down."""
    generator = random.Random(8)
    seen: list[Observation] = []
    for number in range(40):
        effect = generator.choice([-0.03, -0.011, 0.0, 0.004, 0.012, 0.05])
        ratios = [math.exp(generator.gauss(effect, 0.012)) for _ in range(10)]
        seen += legs(ratios, benchmark=f"b{number}", metric=dataclasses.replace(TIME, step=1.5))
    there, back = judged(seen), list(analyse(seen, AnalysisContext("container", kinds=KINDS)).comparisons)
    verdicts = set()
    for one, other in zip(there, back, strict=True):
        assert one.judgement is not None and other.judgement is not None
        assert one.ratio is not None and other.ratio is not None
        assert abs(one.ratio * other.ratio - 1) < 1e-12
        assert dataclasses.astuple(one.judgement) == pytest.approx(dataclasses.astuple(other.judgement))
        assert one.judgement.verdict is other.judgement.verdict
        verdicts.add(one.judgement.verdict)
    assert len(verdicts) >= 3


def test_flagged_blocks_stay_in_the_figures_and_the_verdict_without_them_is_told() -> None:
    ratios = [*spread_around(1.0, 0.002, 11), 3.0]
    (found,) = judged(legs(ratios, environment="container"))
    assert found.flagged == (11,) and found.blocks == 12
    ratios = [*spread_around(1.03, 0.004, 6), 40.0]
    (found,) = judged(legs(ratios))
    assert found.blocks == 7 and found.flagged == (6,)
    other = found.without_flagged
    assert other is not None and other.blocks == 6
    assert "without 1 flagged block: different: " in format_without_flagged(found)


def test_a_verdict_that_hangs_on_flagged_blocks_is_seen() -> None:
    validity = [None] * 8 + ["flagged"] * 4
    ratios = [*spread_around(1.0, 0.003, 8), 1.3, 1.4, 0.7, 1.35]
    (found,) = judged(legs(ratios, validity=validity))
    assert found.judgement is not None and found.judgement.verdict is Verdict.INCONCLUSIVE
    assert found.without_flagged is not None
    assert found.without_flagged.judgement.verdict is Verdict.EQUIVALENT
    assert verdict_depends_on_flagged(found)
    (calm,) = judged(legs(spread_around(1.0, 0.003, 12)))
    assert calm.without_flagged is None and format_without_flagged(calm) == ""


def test_invalid_invocations_are_left_out_and_counted() -> None:
    validity = ["valid"] * 9 + ["invalid"] * 3
    ratios = [*spread_around(1.0, 0.003, 9), 5.0, 6.0, 7.0]
    (found,) = judged(legs(ratios, validity=validity))
    assert (found.blocks, found.left_out) == (9, 3)
    assert found.reasons == (("container: invalid by the counters around it", 3),)
    assert found.judgement is not None and found.judgement.verdict is Verdict.EQUIVALENT


def test_why_blocks_are_left_out_is_counted_by_reason() -> None:
    seen = [
        item
        for item in legs([1.0, 1.1, 1.2, 1.3, 1.1, 1.2])
        if (item.block, item.environment) not in {(0, "container"), (1, "native"), (2, "container")}
    ]
    omissions = {
        ("b", H1, "container", 1, 0): "failed (timeout)",
        ("b", H1, "container", 1, 2): "failed (timeout)",
        ("b", H1, "native", 1, 1): "skipped (tool_missing)",
        ("b", H1, "container", 1, 6): "not run",
        ("b", H1, "native", 1, 6): "not run",
    }
    (found,) = judged(seen, omissions=omissions)
    assert (found.blocks, found.left_out) == (3, 4)
    assert found.reasons == (
        ("container: failed (timeout)", 2),
        ("container: not run", 1),
        ("native: skipped (tool_missing)", 1),
    )


@pytest.mark.parametrize(
    ("metric", "middle", "environment", "marked"),
    [
        (TIME, 0.9, "container", True),
        (TIME, 1.1, "container", False),
        (RATE, 1.1, "vm", True),
        (RATE, 0.9, "vm", False),
        (TIME, 0.995, "container", False),
        (dataclasses.replace(TIME, direction=Direction.NEUTRAL), 0.9, "container", False),
    ],
)
def test_what_is_better_than_native_is_likely_an_artefact(
    metric: Metric, middle: float, environment: str, marked: bool
) -> None:
    seen = legs(spread_around(middle, 0.003, 10), metric=metric, environment=environment)
    (found,) = judged(seen)
    assert bool(found.artefact) is marked
    (back,) = analyse(seen, AnalysisContext(environment, kinds=KINDS)).comparisons
    assert bool(back.artefact) is marked
    if marked:
        assert f"{environment} is better than native beyond the interval" in found.artefact


def test_what_exceeds_a_physical_bound_is_likely_an_artefact() -> None:
    bounds = {("b", "latency", H1, "container"): ("1,200 Mbit/s is more than the wire allows",)}
    (found,) = judged(legs(spread_around(1.05, 0.01, 10)), bounds=bounds)
    assert found.artefact == "1,200 Mbit/s is more than the wire allows"


def test_without_a_ratio_the_margin_is_a_share_of_the_smaller_median() -> None:
    seen = legs(spread_around(1.5, 0.01, 8))
    flipped = [dataclasses.replace(item, value=-item.value) for item in seen]
    (found,) = judged(flipped)
    assert found.ratio is None and found.judgement is not None
    assert found.judgement.verdict is Verdict.DIFFERENT
    zero = [
        dataclasses.replace(item, value=0.0 if item.environment == "native" else item.value) for item in seen
    ]
    (from_zero,) = judged(zero)
    assert from_zero.judgement is not None
    assert (from_zero.judgement.verdict, from_zero.judgement.equivalence_margin) == (Verdict.DIFFERENT, None)
    assert format_comparison(from_zero).startswith("different: difference 155")


# ---- traps that peers fell into ----------------------------------------------------------------------------


def test_trap_pyperf_unequal_counts_are_paired_by_block_and_never_significant_by_that() -> None:
    seen = legs(spread_around(1.0, 0.02, 12))
    fewer = [item for item in seen if item.environment == "native" or item.block < 4]
    (found,) = judged(fewer)
    assert (found.blocks, found.left_out) == (4, 8)
    assert found.judgement is not None and found.judgement.verdict is Verdict.INCONCLUSIVE


def test_trap_pyperf_one_value_is_not_significant() -> None:
    (found,) = judged(legs([2.0]))
    assert found.p is None
    assert found.judgement is not None and found.judgement.verdict is Verdict.INCONCLUSIVE


def test_trap_pyperf_zero_variance_is_not_significant() -> None:
    (found,) = judged(legs([2.0] * 20))
    assert found.judgement is not None and found.judgement.verdict is Verdict.INCONCLUSIVE
    assert "significant" not in format_comparison(found)


def test_trap_pyperf_more_is_faster_for_a_rate() -> None:
    (time,) = judged(legs(spread_around(1.2, 0.01, 10)))
    (rate,) = judged(legs(spread_around(1.2, 0.01, 10), metric=RATE))
    assert "1.20x slower" in format_comparison(time) and "1.20x faster" in format_comparison(rate)


def test_trap_sysbench_neighbouring_histogram_bins_are_no_difference() -> None:
    """One bin is 1.8 % above the next: ten of ten blocks one bin up is no more than the tool's resolution."""
    bins = [1.0182 if block % 5 else 1.0 for block in range(10)]
    coarse = EquivalenceMargin(0.0182, "the tool's resolution")
    (found,) = judged(legs(bins), margins={("b", "latency"): coarse})
    assert found.judgement is not None
    assert found.judgement.verdict is not Verdict.DIFFERENT


BANDWIDTH = Metric("write_bandwidth", "MiB/s", Direction.HIGHER, headline=True)


def printed(true_mib_s: float, effect: float, blocks: int = 12) -> list[Observation]:
    """Blocks of a slow disk as a tool prints them, with two decimals; every block has another true value."""
    found = []
    for block in range(blocks):
        drift = 1 + 0.006 * (block / (blocks - 1) - 0.5)
        for environment, true in (("native", true_mib_s), ("container", true_mib_s * effect)):
            value = round(true * drift, 2)
            found.append(Observation("b", BANDWIDTH, H1, block, environment, 1, value))
    return found


@pytest.mark.parametrize(
    ("true_mib_s", "effect", "without_step"),
    [
        (0.05485, 1.01, "different"),  # 0.05 and 0.06: "+20 %".
        (0.05485, 0.855, "equivalent"),  # 0.05 and 0.05, but for a block of 0.06: "no change".
        (0.12485, 1.01, "different"),
        (0.1251, 0.95, "different, small"),
    ],
)
def test_two_decimals_of_a_small_number_decide_nothing(
    true_mib_s: float, effect: float, without_step: str
) -> None:
    seen = printed(true_mib_s, effect)
    (plain,) = judged(seen)
    declared = {("b", BANDWIDTH.name): dataclasses.replace(BANDWIDTH, step=0.01)}
    (stepped,) = judged(seen, declared=declared)
    assert plain.judgement is not None and plain.judgement.verdict == without_step
    assert stepped.judgement is not None and stepped.judgement.verdict is Verdict.INCONCLUSIVE
    assert stepped.judgement.why.startswith("the tool's step, 0.01 MiB/s, is ")
    assert "a metric with more digits" in format_needs(stepped, "slow")


def test_fleets_and_suites_do_not_decide_by_a_step_either() -> None:
    hosts = [Target(f"h{number}") for number in range(6)]
    seen = [
        dataclasses.replace(item, target=host, benchmark=name)
        for host in hosts
        for name in ("a", "b")
        for item in printed(0.05485, 1.01)
    ]
    stepped = dataclasses.replace(BANDWIDTH, step=0.01)
    declared = {(name, BANDWIDTH.name): stepped for name in ("a", "b")}
    found = analyse(seen, AnalysisContext("native", kinds=KINDS, declared=declared))
    judgements = [item.judgement for item in found.fleets] + [item.judgement for item in found.suites]
    assert [item.verdict for item in judgements] == [Verdict.INCONCLUSIVE] * 3


def test_more_than_a_step_is_different() -> None:
    declared = {("b", BANDWIDTH.name): dataclasses.replace(BANDWIDTH, step=0.01)}
    (found,) = judged(printed(0.05485, 1.5), declared=declared)
    assert found.judgement is not None and found.judgement.verdict is Verdict.DIFFERENT
