"""Health of the instrument: the rolling rate at which the baseline differs from itself, and quarantine.

Every block runs the baseline twice. A host on which A2 differs from A1 far more often than 1 time in 20 is
disturbed in a way that order and pairing do not mend, and nothing it says may pass or fail a gate.
docs/gates.md has the rule.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from perfctl.compare.pairing import FEWEST_BLOCKS, log_ratios
from perfctl.model import Target
from perfctl.stats.estimate import Estimate
from perfctl.stats.order import clopper_pearson
from perfctl.stats.signed_rank import p_values
from perfctl.store import HistoryCell, Store

LEVEL = 0.05
"""An A/A test fails when p <= 0.05: by chance at most 1 in 20 does."""

FEWEST_TESTS = 20
FEWEST_RUNS = 3
"""What a host must have before it is judged: one disturbed afternoon is no property of a host."""

HOST_WINDOW = 100
"""Tests of a host or pair that count: the newest whole runs that have so many together."""

WINDOW = 1000
"""The same for the rate over all hosts."""

HOST_CONFIDENCE = 0.99
"""Of the interval that a host is judged by: among 50 sound hosts hardly one is taken for unsound."""


@dataclass(frozen=True, slots=True)
class AaTest:
    """One A/A test: A2 against A1 of one benchmark's headline metric on one target in one run."""

    run_id: str
    target: Target
    blocks: int
    p: float


@dataclass(frozen=True, slots=True)
class TargetHealth:
    """The A/A tests of one host or pair in its window. `interval` is Clopper-Pearson's, 99 %."""

    target: Target
    runs: int
    tests: int
    failed: int
    """Tests with p <= 0.05."""
    interval: Estimate
    way_out: int | None
    """After how many further tests without a failure its quarantine ends at the latest; None: it has none."""

    @property
    def quarantined(self) -> bool:
        """Whether gates leave it out."""
        return self.way_out is not None

    @property
    def state(self) -> str:
        """Return 'ok', 'quarantined', or why it cannot be judged yet."""
        if self.quarantined:
            return "quarantined"
        if self.tests < FEWEST_TESTS:
            return f"too few tests to judge ({self.tests} of {FEWEST_TESTS})"
        if self.runs < FEWEST_RUNS:
            return f"too few runs to judge ({self.runs} of {FEWEST_RUNS})"
        return "ok"


@dataclass(frozen=True, slots=True)
class Health:
    """The rolling A/A rate over all hosts, with its 95 % interval, and every host and pair."""

    database: str
    runs: int
    tests: int
    failed: int
    interval: Estimate
    targets: tuple[TargetHealth, ...]

    @property
    def quarantined(self) -> tuple[TargetHealth, ...]:
        """The hosts and pairs that gates leave out."""
        return tuple(item for item in self.targets if item.quarantined)

    @property
    def is_unsound(self) -> bool:
        """Whether the rate over all hosts is above 5 % for sure."""
        return self.runs >= FEWEST_RUNS and _too_high(self.tests, self.interval)

    def quarantine_of(self, target: Target) -> TargetHealth | None:
        """Return what quarantines `target`, itself or one of its hosts; None where nothing does."""
        for item in self.quarantined:
            if item.target == target or (item.target.peer is None and item.target.host in target.hosts):
                return item
        return None


def health(store: Store, *, until: str | None = None, cells: Sequence[HistoryCell] | None = None) -> Health:
    """Return the health of the instrument from all runs in the database, or from those up to a run (its id).

    `cells` are those of the baselines, where they have been read already. Without any A/A test the rates are
    None, with the reason.
    """
    tests = aa_tests(store.history.baseline_cells() if cells is None else cells)
    if until is not None:
        ids = [run.run_id for run in store.history.runs()]
        known = frozenset(ids[: ids.index(until) + 1])
        tests = [test for test in tests if test.run_id in known]
    window = _newest(tests, WINDOW)
    failed = _failures(window)
    by_target: dict[Target, list[AaTest]] = defaultdict(list)
    for test in tests:
        by_target[test.target].append(test)
    return Health(
        database=store.name,
        runs=len({test.run_id for test in window}),
        tests=len(window),
        failed=failed,
        interval=clopper_pearson(failed, len(window)),
        targets=tuple(_target_health(target, by_target[target]) for target in sorted(by_target, key=str)),
    )


def aa_tests(cells: Iterable[HistoryCell]) -> list[AaTest]:
    """Return the A/A tests of these cells in their order: exact signed-rank, as in a comparison.

    Guests of two accelerators are not compared. Pairs of values that are equal cannot tell anything: with
    fewer than 6 pairs that differ there is no test.
    """
    found: list[tuple[HistoryCell, list[float]]] = []
    for one, two in aa_cells(cells):
        differences = aa_differences(one, two)
        if sum(difference != 0 for difference in differences) >= FEWEST_BLOCKS:
            found.append((two, differences))
    p = _p_of_rows([differences for _, differences in found])
    return [
        AaTest(cell.run_id, cell.target, len(differences), p[place])
        for place, (cell, differences) in enumerate(found)
    ]


def aa_cells(cells: Iterable[HistoryCell]) -> Iterator[tuple[HistoryCell, HistoryCell]]:
    """Return both replicates of every baseline that has two, in the order of the second."""
    first: dict[tuple[object, ...], HistoryCell] = {}
    for cell in cells:
        key = (
            *(cell.run_id, cell.benchmark, cell.target, cell.metric.name, cell.metric.unit),
            *(cell.environment, cell.accelerator),
        )
        if cell.replicate == 1:
            first[key] = cell
        elif key in first:
            yield first[key], cell


def aa_differences(one: HistoryCell, two: HistoryCell) -> list[float]:
    """Return ln(A2 / A1) of every block that has both, or A2 - A1 where not all values are positive."""
    pairs = [(one.values[block], value) for block, value in two.values.items() if block in one.values]
    if all(x > 0 and y > 0 for x, y in pairs):
        return log_ratios([y for _, y in pairs], [x for x, _ in pairs])
    return [y - x for x, y in pairs]


def _p_of_rows(rows: Sequence[Sequence[float]]) -> list[float]:
    found = [1.0] * len(rows)
    by_length: dict[int, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        by_length[len(row)].append(place)
    for places in by_length.values():
        tested = p_values(np.array([rows[place] for place in places]))
        for place, p in zip(places, tested.tolist(), strict=True):
            found[place] = p
    return found


def _target_health(target: Target, tests: Sequence[AaTest]) -> TargetHealth:
    window = _newest(tests, HOST_WINDOW)
    runs, failed = len({test.run_id for test in window}), _failures(window)
    interval = clopper_pearson(failed, len(window), confidence=HOST_CONFIDENCE)
    is_bad = runs >= FEWEST_RUNS and _too_high(len(window), interval)
    way_out = _way_out(failed, len(window)) if is_bad else None
    return TargetHealth(target, runs, len(window), failed, interval, way_out)


def _newest(tests: Sequence[AaTest], wanted: int) -> list[AaTest]:
    """Return the tests of the newest whole runs that have at least `wanted` together."""
    start = max(0, len(tests) - wanted)
    while start > 0 and tests[start - 1].run_id == tests[start].run_id:
        start -= 1
    return list(tests[start:])


def _failures(tests: Iterable[AaTest]) -> int:
    return sum(test.p <= LEVEL for test in tests)


def _too_high(tests: int, interval: Estimate) -> bool:
    return tests >= FEWEST_TESTS and interval.low is not None and interval.low > LEVEL


def _way_out(failed: int, tests: int) -> int:
    """Return how many tests without a failure bring the lower bound to 5 %."""
    # When old failures leave the window, fewer do.
    more = 1
    while _too_high(tests + more, clopper_pearson(failed, tests + more, confidence=HOST_CONFIDENCE)):
        more += 1
    return more
