"""The blocks that may be compared: guests of two accelerators never are.

Under tcg a guest's processor is emulated, which takes many times as long. Set against kvm that would be
called an overhead; pooled with kvm it would be a mean of two things that have nothing to do with each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

Guests = Mapping[int, str]
"""Block -> 'kvm' or 'tcg', where it was measured in a guest."""


@dataclass(frozen=True, slots=True)
class BlockMatch:
    """The blocks of one comparison: on each side one accelerator, and not two different ones.

    `mismatched` counts, by the two accelerators, the blocks that are left out because they differ.
    """

    accelerator: str | None
    baseline_accelerator: str | None
    blocks: tuple[int, ...]
    mismatched: tuple[tuple[str, int], ...] = ()

    @property
    def mismatch_text(self) -> str:
        """Return e.g. 'not compared: kvm against tcg', with how many blocks where others were compared."""
        if not self.mismatched:
            return ""
        counted = [f"{pair} in {_blocks(count)}" if self.blocks else pair for pair, count in self.mismatched]
        return f"not compared: {', '.join(counted)}"


def match_blocks(leg: Set[int], base: Set[int], guests: Guests, base_guests: Guests) -> list[BlockMatch]:
    """Return the lines that an environment has against the baseline, at least one.

    `leg` and `base` are the blocks in which each has a value. There is a line for every accelerator of the
    environment and every one of the baseline that it may be set against, and one without blocks for an
    accelerator of the environment that can be set against none.
    """
    shared = sorted(leg & base)
    if not guests and not base_guests:
        return [BlockMatch(None, None, tuple(shared))]
    found: list[BlockMatch] = []
    for accelerator in _in_order({guests.get(block) for block in leg}) or [None]:
        by_other: dict[str | None, list[int]] = defaultdict(list)
        for block in shared:
            if guests.get(block) == accelerator:
                by_other[base_guests.get(block)].append(block)
        others = _in_order(by_other)
        mismatched = [other for other in others if not _comparable(accelerator, other)]
        counts = tuple((f"{accelerator} against {other}", len(by_other[other])) for other in mismatched)
        lines = [
            BlockMatch(accelerator, other, tuple(by_other[other]), counts)
            for other in others
            if _comparable(accelerator, other)
        ]
        found += lines or [BlockMatch(accelerator, mismatched[0] if mismatched else None, (), counts)]
    return found


def _in_order(accelerators: Iterable[str | None]) -> list[str | None]:
    return sorted(accelerators, key=lambda accelerator: accelerator or "")


def _comparable(one: str | None, other: str | None) -> bool:
    return one is None or other is None or one == other


def _blocks(count: int) -> str:
    return f"{count} block" + ("" if count == 1 else "s")
