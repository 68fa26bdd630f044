"""Guests of two accelerators are never pooled and never set against each other."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest

from perfctl.compare import EMULATED, compare, format_comparison
from perfctl.model import Comparison, Observation, Target
from tests.unit.test_compare import observed, only

KVM, TCG = ["kvm"] * 8, ["tcg"] * 8
MIXED = ["kvm"] * 6 + ["tcg"] * 2
FAST = [10.0, 10.4, 9.9, 10.1, 10.3, 10.2, 10.6, 9.8]
SLOW = [value * 30 for value in FAST]


def guest(values: Sequence[float | None], of: Sequence[str | None], name: str = "vm") -> list[Observation]:
    return observed(name, values, accelerators=of)


def lines(comparisons: list[Comparison]) -> list[tuple[str | None, str | None, int, int]]:
    return [(c.accelerator, c.baseline_accelerator, c.blocks, c.left_out) for c in comparisons]


def test_a_guest_under_one_accelerator_is_one_line_that_names_it() -> None:
    found = only(compare(observed("native", FAST) + guest(FAST, KVM), baseline="native"))
    assert lines([found]) == [("kvm", None, 8, 0)]
    assert not found.is_emulated
    assert EMULATED not in format_comparison(found)
    plain = only(compare(observed("native", FAST) + observed("vm", FAST), baseline="native"))
    assert (found.ratio, found.p, found.low) == (plain.ratio, plain.p, plain.low)


def test_an_environment_under_both_has_a_line_for_each() -> None:
    vm = FAST[:6] + SLOW[6:]
    kvm, tcg = compare(observed("native", FAST) + guest(vm, MIXED), baseline="native")
    assert lines([kvm, tcg]) == [("kvm", None, 6, 2), ("tcg", None, 2, 6)]
    assert kvm.ratio == pytest.approx(1.0)
    assert tcg.ratio == pytest.approx(30.0)
    assert (kvm.is_emulated, tcg.is_emulated) == (False, True)
    assert format_comparison(tcg) == f"{EMULATED}; 30.0x slower (+296 ms), p=0.500, n=2 blocks"


def test_an_emulated_line_never_says_slower_or_faster_without_the_mark() -> None:
    for values, baseline in itertools.product((FAST, SLOW, [0.0] * 8), ("native", "vm")):
        found = only(compare(observed("native", FAST) + guest(values, TCG), baseline=baseline))
        assert found.is_emulated
        assert format_comparison(found).startswith(f"{EMULATED}; ")


def test_native_against_an_emulated_baseline_is_marked_too() -> None:
    found = only(compare(observed("native", FAST) + guest(SLOW, TCG), baseline="vm"))
    assert (found.environment, found.accelerator, found.baseline_accelerator) == ("native", None, "tcg")
    assert found.ratio == pytest.approx(1 / 30)
    assert format_comparison(found).startswith(f"{EMULATED}; 30.0x faster")


def test_native_against_a_baseline_under_both_has_a_line_for_each() -> None:
    found = compare(observed("native", FAST) + guest(FAST[:6] + SLOW[6:], MIXED), baseline="vm")
    assert lines(found) == [(None, "kvm", 6, 2), (None, "tcg", 2, 6)]


def test_guests_of_one_accelerator_are_compared() -> None:
    for of in (KVM, TCG):
        found = only(compare(guest(FAST, of) + guest(SLOW, of, "pinned"), baseline="vm"))
        assert lines([found]) == [(of[0], of[0], 8, 0)]
        assert found.ratio == pytest.approx(30.0)


@pytest.mark.parametrize(("base", "other"), [(KVM, TCG), (TCG, KVM)])
def test_guests_of_two_accelerators_are_not_compared(base: list[str], other: list[str]) -> None:
    found = only(compare(guest(FAST, base) + guest(SLOW, other, "pinned"), baseline="vm"))
    assert lines([found]) == [(other[0], base[0], 0, 8)]
    assert (found.ratio, found.p, found.difference, found.value, found.baseline_value) == (None,) * 5
    assert found.note == f"not compared: {other[0]} against {base[0]}"
    assert format_comparison(found) == f"{EMULATED}; {found.note}"


def test_a_block_in_which_the_accelerator_changed_is_left_out_and_counted() -> None:
    changed = [*KVM[:5], "tcg", "kvm", "kvm"]
    seen = guest(FAST, KVM) + guest([*FAST[:5], SLOW[5], *FAST[6:]], changed, "pinned")
    kvm, tcg = compare(seen, baseline="vm")
    assert lines([kvm, tcg]) == [("kvm", "kvm", 7, 1), ("tcg", "kvm", 0, 8)]
    assert tcg.note == "not compared: tcg against kvm"
    back = compare(seen, baseline="pinned")
    assert lines(back) == [("kvm", "kvm", 7, 1)]
    assert back[0].note == "not compared: kvm against tcg in 1 block"
    assert back[0].ratio == pytest.approx(1.0)


def test_both_guests_may_change_together() -> None:
    vm = FAST[:6] + SLOW[6:]
    found = compare(guest(vm, MIXED) + guest(vm, MIXED, "pinned"), baseline="vm")
    assert lines(found) == [("kvm", "kvm", 6, 2), ("tcg", "tcg", 2, 6)]
    assert [item.ratio for item in found] == [1.0, 1.0]
    assert "not compared" not in found[0].note


def test_the_aa_test_of_a_guest() -> None:
    second = observed("vm", FAST, replicate=2, accelerators=KVM)
    aa = only(compare(guest(FAST, KVM) + second, baseline="vm"))
    assert (aa.is_aa, aa.ratio, *lines([aa])) == (True, 1.0, ("kvm", "kvm", 8, 0))


def test_the_aa_test_of_a_guest_whose_accelerator_changed_within_a_block() -> None:
    second = observed("vm", [*FAST[:7], SLOW[7]], replicate=2, accelerators=[*KVM[:7], "tcg"])
    kvm, tcg = compare(guest(FAST, KVM) + second, baseline="vm")
    assert kvm.is_aa and tcg.is_aa
    assert lines([kvm, tcg]) == [("kvm", "kvm", 7, 1), ("tcg", "kvm", 0, 8)]
    assert kvm.ratio == 1.0


def test_an_accelerator_that_never_met_the_baseline_has_its_line() -> None:
    native = [*FAST[:6], None, None]
    kvm, tcg = compare(observed("native", native) + guest(FAST, MIXED), baseline="native")
    assert lines([kvm, tcg]) == [("kvm", None, 6, 2), ("tcg", None, 0, 8)]
    assert tcg.note == "no block has a value of both vm and native"


def test_a_guest_whose_accelerator_is_not_known_is_not_pooled_with_one_whose_is() -> None:
    unknown = [None, None, *KVM[2:]]
    found = compare(observed("native", FAST) + guest(FAST, unknown), baseline="native")
    assert lines(found) == [(None, None, 2, 6), ("kvm", None, 6, 2)]


def test_each_host_has_its_own_accelerator() -> None:
    seen = []
    for host, of in (("h1", KVM), ("h2", TCG)):
        for name, accelerators in (("native", []), ("vm", of)):
            seen += observed(name, FAST, target=Target(host), accelerators=accelerators)
    found = compare(seen, baseline="native")
    assert [(item.target.host, item.accelerator, item.blocks) for item in found] == [
        ("h1", "kvm", 8),
        ("h2", "tcg", 8),
    ]


def test_the_order_of_the_observations_does_not_matter() -> None:
    vm = FAST[:6] + SLOW[6:]
    seen = observed("native", FAST) + guest(vm, MIXED) + guest(vm, MIXED[::-1], "pinned")
    seen += observed("native", FAST[::-1], replicate=2)
    names = ["native", "vm", "pinned"]
    for baseline, seed in itertools.product(("native", "vm"), range(5)):
        shuffled = list(seen)
        random.Random(seed).shuffle(shuffled)
        expected = compare(seen, baseline=baseline, environments=names)
        assert compare(shuffled, baseline=baseline, environments=names) == expected


def test_no_value_is_used_twice_and_none_across() -> None:
    """Whatever the accelerators were: each block is in at most one line, and never crossed."""
    generator = random.Random(20)
    for _ in range(200):
        base, other = ([generator.choice(["kvm", "tcg", None]) for _ in range(8)] for _ in range(2))
        found = compare(guest(FAST, base) + guest(SLOW, other, "pinned"), baseline="vm")
        crossed = sum(None not in pair and pair[0] != pair[1] for pair in zip(base, other, strict=True))
        assert sum(item.blocks for item in found) == 8 - crossed
        for item in found:
            assert item.blocks + item.left_out == 8
            if item.blocks:
                assert None in (item.accelerator, item.baseline_accelerator) or (
                    item.accelerator == item.baseline_accelerator
                )
                assert item.ratio == pytest.approx(30.0)
