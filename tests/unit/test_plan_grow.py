"""From a pilot to the number of blocks: the largest standard deviation decides, missing values do not."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

import pytest

from perfctl.model import Benchmark, Direction, Metric, Observation, Target
from perfctl.plan.grow import PairedDifferences, decide, pair_observations
from perfctl.stats.precision import second_stage

CPU = Benchmark("cpu", "sysbench", {}, expected_s=1.0, precision=0.01)
RATE = Metric("rate", "1/s", Direction.HIGHER, headline=True)
LATENCY = Metric("latency", "ms", Direction.LOWER)


def differences(s_d: float, count: int = 10) -> tuple[float, ...]:
    """So many differences with exactly this standard deviation."""
    generator = random.Random(7)
    row = [generator.gauss(0, 1) for _ in range(count)]
    mean = sum(row) / count
    deviation = math.sqrt(sum((x - mean) ** 2 for x in row) / (count - 1))
    return tuple(0.02 + s_d * (x - mean) / deviation for x in row)


def seen(
    values: Mapping[tuple[str, int], Sequence[float | None]],
    *,
    host: str = "h1",
    metric: Metric = RATE,
    accelerator: str | None = None,
    validity: str | None = None,
    first: int = 0,
) -> list[Observation]:
    return [
        Observation(
            "cpu", metric, Target(host), first + place, environment, replicate, value, accelerator, validity
        )
        for (environment, replicate), row in values.items()
        for place, value in enumerate(row)
        if value is not None
    ]


def test_differences_are_those_to_the_first_replicate_of_the_same_block() -> None:
    values = {("native", 1): [100.0, 200.0], ("native", 2): [1.0, 1.0], ("container", 1): [110.0, 180.0]}
    (found,) = pair_observations(seen(values), "cpu", "native")
    assert (found.environment, found.target, found.has_ratio) == ("container", "h1", True)
    assert found.differences == pytest.approx((math.log(1.1), math.log(0.9)))


def test_other_metrics_benchmarks_later_blocks_and_what_is_invalid_have_no_say() -> None:
    values = {("native", 1): [100.0] * 10, ("container", 1): [110.0] * 10}
    wild = {("native", 1): [1.0, 9.0] * 5, ("container", 1): [7.0, 2.0] * 5}
    observations = [
        *seen(wild, validity="invalid"),
        *seen(values),
        *seen(wild, metric=LATENCY),
        *seen(wild, first=10),
    ]
    (found,) = pair_observations(observations, "cpu", "native")
    assert found.differences == pytest.approx((math.log(1.1),) * 10)
    assert pair_observations(observations, "other", "native") == []


def test_a_block_that_lacks_a_side_gives_no_difference() -> None:
    values = {("native", 1): [100.0, None, 100.0], ("container", 1): [110.0, 110.0, None]}
    (found,) = pair_observations(seen(values), "cpu", "native")
    assert len(found.differences) == 1


def test_without_another_environment_the_second_replicate_decides() -> None:
    values = {("native", 1): [100.0] * 3, ("native", 2): [101.0] * 3}
    (found,) = pair_observations(seen(values), "cpu", "native")
    assert (found.environment, len(found.differences)) == ("native", 3)


def test_guests_of_different_accelerators_are_kept_apart() -> None:
    base = seen({("native", 1): [100.0] * 8})
    kvm = seen({("vm", 1): [90.0] * 4}, accelerator="kvm")
    tcg = seen({("vm", 1): [9.0] * 4}, accelerator="tcg", first=4)
    found = pair_observations([*base, *kvm, *tcg], "cpu", "native")
    assert sorted(item.differences for item in found) == [
        pytest.approx((math.log(0.09),) * 4),
        pytest.approx((math.log(0.9),) * 4),
    ]


def test_the_largest_standard_deviation_decides_for_all() -> None:
    found = [
        PairedDifferences("container", "h1", differences(0.001)),
        PairedDifferences("container", "h2", differences(0.02)),
        PairedDifferences("vm", "h1", differences(0.005)),
    ]
    decision = decide(CPU, found)
    stage = second_stage(0.02, tau=0.01)
    assert (decision.benchmark, decision.blocks, decision.wanted) == ("cpu", stage.blocks, stage.wanted)
    assert decision.text == f"container on h2 {stage.words()}"
    assert 10 < decision.blocks < 30


def test_the_cap_is_said() -> None:
    decision = decide(CPU, [PairedDifferences("container", "h1", differences(0.038))])
    assert (decision.blocks, decision.wanted) == (30, 74)
    assert decision.text == "container on h1 needs 74 blocks for ±1 %; capped at 30, expect ±1.6 %"


def test_the_pilot_can_be_enough_and_never_becomes_less() -> None:
    decision = decide(CPU, [PairedDifferences("container", "h1", differences(0.002))])
    assert (decision.blocks, decision.wanted) == (10, 1)
    few = decide(CPU, [PairedDifferences("container", "h1", differences(0.002, count=7))])
    assert few.blocks == 10
    assert "with 10 expect" in few.text


def test_a_small_pilot_pays_for_its_uncertainty() -> None:
    whole = decide(CPU, [PairedDifferences("container", "h1", differences(0.02))])
    small = decide(CPU, [PairedDifferences("container", "h1", differences(0.02, count=6))])
    assert whole.wanted is not None
    assert small.wanted is not None
    assert small.wanted > whole.wanted


def test_zero_variance_stays_at_the_pilot() -> None:
    decision = decide(CPU, [PairedDifferences("container", "h1", (0.0,) * 10)])
    assert decision.blocks == 10
    assert decision.text == "every difference of the pilot is the same; it stays at 10 blocks"


@pytest.mark.parametrize(
    "found",
    [
        [],
        [PairedDifferences("container", "h1", ())],
        [PairedDifferences("container", "h1", differences(0.5, count=5))],
    ],
    ids=["missing", "no differences", "five of them"],
)
def test_a_pilot_without_differences_stays_as_it_is_and_says_so(found: list[PairedDifferences]) -> None:
    decision = decide(CPU, found)
    assert (decision.blocks, decision.wanted) == (10, None)
    assert "fewer than 6 blocks of the pilot can be compared; it stays at 10 blocks" in decision.text


def test_nan_is_missing() -> None:
    values: dict[tuple[str, int], list[float | None]] = {
        ("native", 1): [100.0] * 10,
        ("container", 1): [*[math.nan] * 9, math.inf],
    }
    decision = decide(CPU, pair_observations(seen(values), "cpu", "native"))
    assert (decision.blocks, decision.wanted) == (10, None)


@pytest.mark.parametrize("wrong", [0.0, -3.0])
@pytest.mark.parametrize("environment", ["native", "container"])
def test_without_a_ratio_there_is_the_pilot_only(wrong: float, environment: str) -> None:
    values: dict[tuple[str, int], list[float | None]] = {
        ("native", 1): [100.0] * 10,
        ("container", 1): [110.0] * 10,
    }
    values[environment, 1][3] = wrong
    decision = decide(CPU, pair_observations(seen(values), "cpu", "native"))
    assert (decision.blocks, decision.wanted) == (10, None)
    assert "values of container on h1 are not all above zero, and have no ratio" in decision.text
    assert "it stays at 10 blocks" in decision.text


def test_an_environment_without_differences_does_not_keep_the_others_from_deciding() -> None:
    noisy = PairedDifferences("container", "h1", differences(0.02))
    alone = decide(CPU, [noisy])
    assert decide(CPU, [noisy, PairedDifferences("vm", "h1", ())]) == alone
    assert decide(CPU, [noisy, PairedDifferences("vm", "h1", differences(0.5, count=2))]) == alone
    zeros = decide(CPU, [noisy, PairedDifferences("vm", "h1", (), has_ratio=False)])
    assert (zeros.blocks, zeros.wanted) == (alone.blocks, alone.wanted)
    assert "values of vm on h1 are not all above zero" in zeros.text


def test_a_fixed_number_of_blocks_is_not_decided_on() -> None:
    with pytest.raises(ValueError, match="fixed"):
        decide(Benchmark("cpu", "sysbench", {}, expected_s=1.0), [])
