"""PairingContext: which values meet, what is left out, and what cannot be said."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

import pytest

from perfctl.compare import compare, format_comparison
from perfctl.errors import DataError, UnknownName
from perfctl.model import Comparison, Direction, Metric, Observation, Target
from perfctl.stats.paired import paired

TIME = Metric("latency", "ms", Direction.LOWER, headline=True)
H1 = Target("h1")


def observed(
    environment: str,
    values: Sequence[float | None],
    *,
    replicate: int = 1,
    metric: Metric = TIME,
    target: Target = H1,
    benchmark: str = "b",
    accelerators: Sequence[str | None] = (),
) -> list[Observation]:
    """One value a block; None where the invocation failed. `accelerators` has one a block, or is empty."""
    guests = accelerators or [None] * len(values)
    return [
        Observation(benchmark, metric, target, block, environment, replicate, value, accelerator)
        for block, (value, accelerator) in enumerate(zip(values, guests, strict=True))
        if value is not None
    ]


NATIVE = [10.1, 10.4, 9.9, 10.0, 10.3, 10.2, 10.6, 9.8]
CONTAINER = [10.3, 10.5, 10.0, 10.2, 10.6, 10.4, 10.7, 9.95]


def only(comparisons: list[Comparison]) -> Comparison:
    assert len(comparisons) == 1
    return comparisons[0]


def test_the_recorded_pairs() -> None:
    """The pairs of the recorded vectors, p by scipy."""
    found = only(compare(observed("native", NATIVE) + observed("container", CONTAINER), baseline="native"))
    assert found.p == pytest.approx(0.0078125)
    assert found.ratio is not None and found.low is not None and found.high is not None
    assert 1.0 < found.low < found.ratio < found.high
    # The t interval of the recorded logarithms is 1.0109 to 1.0224; the estimate is another, near its middle.
    assert found.ratio == pytest.approx(1.0166, abs=0.002)
    assert found.baseline_value == pytest.approx(10.15)
    assert found.value == pytest.approx(10.35)
    assert (found.blocks, found.left_out, found.note, found.is_aa) == (8, 0, "", False)


def test_only_the_first_replicate_is_the_baseline() -> None:
    second = [value * 3 for value in NATIVE]
    plain = observed("native", NATIVE) + observed("container", CONTAINER)
    with_second = plain + observed("native", second, replicate=2)
    container, aa = compare(with_second, baseline="native")
    assert [container] == compare(plain, baseline="native")
    assert aa.is_aa and (aa.environment, aa.baseline) == ("native", "native")
    assert aa.ratio == pytest.approx(3.0)
    assert aa.value == pytest.approx(3 * 10.15)


def test_the_estimate_is_that_of_the_differences_of_logarithms() -> None:
    found = only(compare(observed("native", NATIVE) + observed("container", CONTAINER), baseline="native"))
    expected = paired([math.log(c / n) for c, n in zip(CONTAINER, NATIVE, strict=True)])
    assert found.ratio == pytest.approx(math.exp(expected.estimate), rel=1e-11)
    assert found.confidence == expected.confidence


def test_swapping_the_environments_swaps_faster_and_slower_exactly() -> None:
    """M8."""
    generator = random.Random(8)
    opposite = {"faster": "slower", "slower": "faster"}
    for n in (1, 2, 6, 7, 10, 31):
        for effect in (0.5, 0.999, 1.0, 1.2, 40.0):
            seen = observed("a", [generator.lognormvariate(0, 0.1) for _ in range(n)])
            seen += observed("b", [effect * generator.lognormvariate(0, 0.1) for _ in range(n)])
            there = only(compare(seen, baseline="a"))
            back = only(compare(seen, baseline="b"))
            assert there.ratio is not None and back.ratio is not None
            assert abs(there.ratio * back.ratio - 1) < 1e-12
            assert (there.p, there.confidence) == (back.p, back.confidence)
            if there.low is not None and there.high is not None and back.low is not None:
                assert abs(there.low * (back.high or 0) - 1) < 1e-12
                assert abs(there.high * back.low - 1) < 1e-12
            word = format_comparison(there).partition(",")[0].split()[1]
            assert opposite[word] in format_comparison(back)


def test_blocks_that_lack_a_side_are_counted() -> None:
    native: list[float | None] = [None, *NATIVE[1:]]
    container: list[float | None] = [*CONTAINER[:-2], None, math.nan]
    found = only(compare(observed("native", native) + observed("container", container), baseline="native"))
    assert (found.blocks, found.left_out) == (5, 3)
    assert found.note == "n < 6 cannot be significant"
    assert found.low is None and found.high is None
    assert found.p == 2 / 2**5


def test_an_environment_without_any_value_has_its_line() -> None:
    found = only(compare(observed("native", NATIVE), baseline="native", environments=["native", "container"]))
    assert found.environment == "container"
    assert (found.ratio, found.value, found.baseline_value, found.p) == (None, None, None, None)
    assert (found.blocks, found.left_out) == (0, 8)
    assert found.note == "no block has a value of both container and native"
    assert format_comparison(found) == found.note


def test_one_block_has_an_estimate_and_nothing_else() -> None:
    found = only(compare(observed("native", [10]) + observed("container", [12]), baseline="native"))
    assert found.ratio == pytest.approx(1.2)
    assert (found.low, found.high, found.confidence, found.p) == (None, None, None, None)
    assert found.note == "n < 6 cannot be significant"


@pytest.mark.parametrize(
    ("native", "container"),
    [
        ([0.0, 1, 2, 1, 0, 3], [1.0, 2, 4, 3, 1, 5]),
        ([-1.0, -2, -1, -2, -3, -1], [-2.0, -1, -3, -1, -1, -4]),
        ([1.0, 2, 1, 2, 3, 1], [1.0, -2, 2, 2, 4, 1]),
    ],
)
def test_without_positive_values_there_is_a_difference_and_no_ratio(
    native: list[float], container: list[float]
) -> None:
    found = only(compare(observed("native", native) + observed("container", container), baseline="native"))
    expected = paired([c - n for c, n in zip(container, native, strict=True)])
    assert (found.ratio, found.low, found.high) == (None, None, None)
    assert (found.p, found.confidence) == (expected.p, expected.confidence)
    assert found.note.startswith("difference ") and found.note.endswith("ms: not all values are positive")
    assert f"{expected.estimate:.3g}" in found.note


def test_the_absolute_difference_is_in_the_note() -> None:
    native, container = [0.0] * 7, [2.5, 2.5, 2.5, 2.5, 2.5, 2.5, 2.5]
    found = only(compare(observed("native", native) + observed("container", container), baseline="native"))
    assert found.note == "difference 2.500 (2.500 to 2.500) ms: not all values are positive"


def test_equal_ratios_are_ties_whatever_their_last_bit_says() -> None:
    native = [10.1, 20.2, 40.4, 30.3, 50.5, 60.6, 70.7]
    factors = [1.01, 1.01, 1.01, 1.01, 1.01, 1.01, 1 / 1.01]
    container = [n * f for n, f in zip(native, factors, strict=True)]
    found = only(compare(observed("native", native) + observed("container", container), baseline="native"))
    # Seven ties, one negative: P(at most one of seven coins) on both sides.
    assert found.p == pytest.approx(2 * (1 + 7) / 2**7)


def test_hosts_metrics_and_benchmarks_are_never_pooled() -> None:
    rate = Metric("events", "1/s", Direction.HIGHER)
    seen = []
    for benchmark, metric, target in itertools.product(
        ["x", "y"], [TIME, rate], [H1, Target("h2"), Target("h1", "h2")]
    ):
        seen += observed("native", [1.0], metric=metric, target=target, benchmark=benchmark)
        seen += observed("container", [2.0], metric=metric, target=target, benchmark=benchmark)
    found = compare(seen, baseline="native")
    assert len(found) == 12
    assert {item.blocks for item in found} == {1}


def test_equal_metrics_and_targets_need_not_be_the_same_object() -> None:
    seen = [
        Observation("b", Metric("m", "s", Direction.LOWER), Target("h"), block, name, 1, 1.0 + block)
        for block in range(7)
        for name in ("native", "container")
    ]
    assert only(compare(seen, baseline="native")).blocks == 7


def test_the_order_of_the_observations_of_a_block_does_not_matter() -> None:
    seen = observed("native", NATIVE) + observed("container", CONTAINER)
    seen += observed("native", NATIVE[::-1], replicate=2)
    shuffled = list(seen)
    random.Random(1).shuffle(shuffled)
    names = ["native", "container"]
    assert compare(shuffled, baseline="native", environments=names) == compare(
        seen, baseline="native", environments=names
    )


def test_an_unknown_baseline_is_an_error() -> None:
    with pytest.raises(UnknownName) as error:
        compare(observed("native", NATIVE), baseline="vm")
    assert error.value.exit_code == 2
    assert "native" in (error.value.hint or "")


def test_two_values_for_one_place_are_an_error() -> None:
    with pytest.raises(DataError, match="two values of latency"):
        compare(observed("native", [1.0]) * 2, baseline="native")


def test_nothing_gives_nothing() -> None:
    assert compare([], baseline="native") == []


DIGESTS = {
    ("h1", "native"): {"sysbench": "a" * 64, "netperf": "1" * 64},
    ("h1", "container"): {"sysbench": "b" * 64, "netperf": "1" * 64},
}


def test_another_build_of_the_tool_is_shown_as_confounded() -> None:
    seen = (
        observed("native", NATIVE)
        + observed("container", CONTAINER)
        + observed("native", NATIVE, replicate=2)
    )
    container, aa = compare(seen, baseline="native", digests=DIGESTS)
    assert container.confounded == "sysbench on h1: sha256 bbbbbbbb in container, aaaaaaaa in native"
    assert aa.confounded == ""


def test_a_tool_that_the_benchmark_does_not_use_does_not_confound() -> None:
    seen = observed("native", NATIVE) + observed("container", CONTAINER)
    found = only(compare(seen, baseline="native", digests=DIGESTS, programs={"b": ["netperf"]}))
    assert found.confounded == ""


def test_the_servers_host_counts_too() -> None:
    pair = Target("h2", "h1")
    seen = observed("native", [1.0], target=pair) + observed("container", [1.0], target=pair)
    assert "sysbench on h1" in only(compare(seen, baseline="native", digests=DIGESTS)).confounded


READY = Metric("ready", "s", Direction.LOWER, show_difference=True)


def test_a_metric_that_asks_for_it_has_its_difference_with_an_interval() -> None:
    """A start costs milliseconds: the shift is estimated from the plain differences of the blocks."""
    native = [0.10, 0.14, 0.11, 0.12, 0.10, 0.13, 0.11, 0.12]
    cost = [0.51, 0.50, 0.49, 0.52, 0.50, 0.50, 0.48, 0.51]
    container = [n + c for n, c in zip(native, cost, strict=True)]
    seen = observed("native", native, metric=READY) + observed("container", container, metric=READY)
    found = only(compare(seen, baseline="native"))
    expected = paired([c - n for c, n in zip(container, native, strict=True)])
    assert found.difference == expected.estimate == pytest.approx(0.50125, abs=0.004)
    assert (found.difference_low, found.difference_high) == (expected.low, expected.high)
    assert found.confidence == expected.confidence
    of_logs = paired([math.log(c / n) for c, n in zip(container, native, strict=True)])
    assert found.ratio == pytest.approx(math.exp(of_logs.estimate), rel=1e-11)
    assert found.p == of_logs.p
    back = only(compare(seen, baseline="container"))
    assert (back.difference, back.difference_low) == (-found.difference, -(found.difference_high or 0))


def test_the_difference_is_that_of_a_known_cost() -> None:
    """A cost of 300 ms, noise of the same size as the baseline's own: 95 % of the intervals hold it."""
    generator = random.Random(300)
    held = 0
    for _ in range(400):
        native = [generator.lognormvariate(-2, 0.2) for _ in range(10)]
        container = [0.3 + generator.lognormvariate(-2, 0.2) for _ in range(10)]
        seen = observed("native", native, metric=READY) + observed("container", container, metric=READY)
        found = only(compare(seen, baseline="native"))
        assert found.difference_low is not None and found.difference_high is not None
        held += found.difference_low <= 0.3 <= found.difference_high
    assert held >= 0.93 * 400


def test_other_metrics_have_a_difference_only_for_want_of_a_ratio() -> None:
    plain = only(compare(observed("native", NATIVE) + observed("container", CONTAINER), baseline="native"))
    assert (plain.difference, plain.difference_low, plain.difference_high) == (None, None, None)
    zero = only(compare(observed("native", [0.0] * 7) + observed("container", [2.5] * 7), baseline="native"))
    assert (zero.ratio, zero.difference, zero.difference_low, zero.difference_high) == (None, 2.5, 2.5, 2.5)


def test_few_blocks_have_a_difference_without_an_interval() -> None:
    seen = observed("native", [0.1], metric=READY) + observed("container", [0.6], metric=READY)
    found = only(compare(seen, baseline="native"))
    assert (found.difference, found.difference_low, found.difference_high) == (0.5, None, None)
    assert format_comparison(found) == "6.00x slower (+500 ms), n=1 block"
