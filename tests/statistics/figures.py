"""The figures that the statistics must reach, by simulation with known truth (docs/measurement.md).

Each function simulates one of them and returns what was asked and what was found. `scale` multiplies the
number of repetitions: 1 is the size of the test suite, `make bench-stats` takes more. Seeds are fixed. What
is judged is the product's own path: the plan's order, `compare`, and the functions of perfctl.stats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from perfctl.compare import Analysis, format_comparison
from perfctl.model import Comparison, Target, Verdict
from perfctl.report.explanation import explain
from perfctl.report.host_counters import FAMILIES, HostCounters
from perfctl.stats.change_points import ChangeState, change_points
from perfctl.stats.fleet import fleet
from perfctl.stats.order import EquivalenceMargin, equivalence_margin
from perfctl.stats.paired import PairedResult, paired_rows
from perfctl.stats.precision import N_MAX, PILOT_BLOCKS, second_stage, stdev
from perfctl.stats.signed_rank import p_values
from perfctl.stats.stratified import stratified
from tests.statistics.world import (
    DRIFTS,
    LEGS,
    NOISES,
    SIGMA,
    TIME,
    Floats,
    compared,
    drift,
    noise,
    one_after_another,
    rate,
    reported,
    scheduled,
)

MOST_FALSE = 0.062
"""2,000 comparisons at 5 % stay below it with a chance of 99 %."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `found` is None for what was not to be judged."""

    name: str
    what: str
    asked: str
    found: str
    ok: bool


def _share(name: str, what: str, found: float, *, least: float = 0.0, most: float = 1.0) -> Figure:
    if least > 0 and most < 1:
        asked = f"{least:.1%} to {most:.1%}"
    else:
        asked = f"<= {most:.1%}" if most < 1 else f">= {least:.1%}"
    return Figure(name, what, asked, f"{found:.2%}", least <= found <= most)


def m1(scale: int = 1) -> Iterator[Figure]:
    """A/A: the baseline against itself."""
    for kind in NOISES:
        for blocks in (10, 30) if scale > 1 else (10,):
            values = noise(kind, np.random.default_rng(101), (2000 * scale, 2, blocks))
            found = rate(compared(values), aa=True)
            yield _share("M1", f"A/A false positives, {kind}, n={blocks}", found, most=MOST_FALSE)


def m2(scale: int = 1) -> Iterator[Figure]:
    """Drift: the order of the plan against that of one environment after the other."""
    count, blocks = 2000 * scale, 10
    moments = scheduled(count, blocks, "m2")
    apart = one_after_another(count, blocks)
    for kind in DRIFTS:
        generator = np.random.default_rng(102)
        path = drift(kind, generator, count, 3 * blocks)
        own = SIGMA * generator.normal(size=path.shape) * (kind != "AR(1) .8")
        # A value is what its moment gives: both orders have the same data, dealt to other legs.
        values = (path + own)[:, None, :]
        found = compared(np.take_along_axis(values, moments, axis=2))
        what = f"false positives, {kind}, the plan's order"
        yield _share("M2", what, rate(found, aa=False), most=MOST_FALSE)
        yield _share("M2", f"the same, A1 against A2, {kind}", rate(found, aa=True), most=MOST_FALSE)
        naive = compared(np.take_along_axis(values, apart, axis=2))
        yield _share("M2", f"the same data ordered AA..BB, {kind}", rate(naive, aa=False), least=0.30)


def _history(kind: str) -> EquivalenceMargin:
    """Return the equivalence margin after 200 A/A comparisons of this noise."""
    found = compared(noise(kind, np.random.default_rng(203), (200, 2, 10)))
    return equivalence_margin([math.log(item.ratio) for item in found if item.ratio])


def m3(scale: int = 1) -> Iterator[Figure]:
    """Reports of 20 comparisons without effect, with the four kinds of noise by turns."""
    generator = np.random.default_rng(103)
    kinds = [NOISES[i % 4] for i in range(20)]
    history = {kind: _history(kind) for kind in NOISES}
    margins = {(f"b{i}", TIME.name): history[kind] for i, kind in enumerate(kinds)}
    for hosts, reports, lines in ((1, 400 * scale, 21), (5, 100 * scale, 121)):
        values = np.stack([noise(kind, generator, (reports, hosts, 3, 10)) for kind in kinds], axis=1)
        different = small = 0
        for report in values:
            called = _verdicts(reported(report, margins=margins))
            assert len(called) == lines
            different += Verdict.DIFFERENT in called
            small += Verdict.DIFFERENT_SMALL in called
        what = f"reports of 20 without effect on {hosts} host{'s' * (hosts > 1)} with any"
        yield _share("M3", f"{what} 'different'", different / reports, most=0.01)
        yield _share("M3", f"{what} 'different, small'", small / reports, most=0.05)


def _verdicts(report: Analysis) -> list[Verdict]:
    """Return the verdicts on every level, the A/A tests left out."""
    of_hosts = [item.judgement.verdict for item in report.comparisons if item.judgement]
    of_fleets = [item.judgement.verdict for item in report.fleets]
    return of_hosts + of_fleets + [item.judgement.verdict for item in report.suites]


def m4(scale: int = 1) -> Iterator[Figure]:
    """Power: +2 % where the standard deviation of the block difference d_b is 1 %."""
    count = 2000 * scale
    generator = np.random.default_rng(104)
    # Two legs with a deviation of 1 % / sqrt(2) each differ with one of 1 %.
    values = SIGMA / math.sqrt(2) * generator.normal(size=(count, 3, 10))
    values[:, 2] += math.log(1.02)
    yield _share("M4", "+2 %, sigma of d_b 1 %, n=10: found", rate(compared(values), aa=False), least=0.97)

    # 400 reports have a standard error of 1.3 %; `make bench-stats` has more.
    for changed, reports in ((1, 400 * scale), (20, 25 * scale)):
        yield _found_among_twenty(generator, changed, reports)


def _found_among_twenty(generator: np.random.Generator, changed: int, reports: int) -> Figure:
    """How often the lines over 5 hosts find +2 %, judged with 100 lines of hosts and one of the suite."""
    hits = 0
    for _ in range(reports):
        values = SIGMA / math.sqrt(2) * generator.normal(size=(20, 5, 2, 10))
        values[:changed, :, 1] += math.log(1.02)
        found = reported(values, legs=(LEGS[0], LEGS[2]))
        q_values = [item.judgement.q for item in found.fleets[:changed]]
        assert (len(found.comparisons), len(found.fleets), len(found.suites)) == (100, 20, 1)
        hits += sum(q is not None and q <= 0.05 for q in q_values)
    what = f"20 comparisons, 5 hosts x 10 blocks, {changed} of them +2 %: found by the line over hosts"
    return _share("M4", what, hits / (reports * changed), least=0.93)


def _covers(low: float | None, high: float | None, truth: float) -> bool:
    return low is not None and high is not None and low <= truth <= high


def m5(scale: int = 1) -> Iterator[Figure]:
    """Coverage of the intervals of hosts and fleets."""
    truth = 0.013
    for blocks in (8, 10, 20, 30):
        for kind in ("iid", "heavy-tailed"):
            values = noise(kind, np.random.default_rng(105), (2000 * scale, 2, blocks))
            rows = values[:, 0] - values[:, 1] + truth
            share = sum(_covers(r.low, r.high, truth) for r in paired_rows(rows)) / len(rows)
            yield _share("M5", f"coverage on a host, {kind}, n={blocks}", share, least=0.93, most=0.97)
    for hosts, blocks in ((2, 10), (3, 8), (4, 30), (5, 8), (5, 30), (10, 10), (20, 20), (40, 8)):
        yield _fleet_coverage(hosts, blocks, truth, 1200 * scale)
    for hosts, blocks in ((2, 8), (2, 10), (3, 10), (4, 20)):
        rows = SIGMA * np.random.default_rng(107).standard_t(3, size=(1000 * scale, hosts, blocks)) + truth
        found = [stratified(tuple(row)) for row in rows]
        share = sum(_covers(each.low, each.high, truth) for each in found) / len(rows)
        what = f"coverage for these hosts only, H={hosts}, n={blocks}"
        yield _share("M5", what, share, least=0.93, most=0.97)


def _fleet_coverage(hosts: int, blocks: int, truth: float, count: int) -> Figure:
    generator = np.random.default_rng(106)
    rows = SIGMA * generator.normal(size=(count, hosts, blocks))
    rows += truth + 0.005 * generator.normal(size=(count, hosts, 1))
    results = paired_rows(rows.reshape(-1, blocks))
    hits = 0
    for number in range(count):
        mine = results[number * hosts : (number + 1) * hosts]
        mean = fleet(mine, tuple(rows[number])).mean
        hits += _covers(mean.low, mean.high, truth)
    what = f"coverage for hosts like these, H={hosts}, n={blocks}"
    return _share("M5", what, hits / count, least=0.93, most=0.97)


def m5_stopping(scale: int = 1) -> Iterator[Figure]:
    """Coverage when the pilot decides how many blocks follow."""
    truth, tau = 0.013, 0.01
    for kind in ("iid", "heavy-tailed"):
        for factor in (1.0, 1.5):
            generator = np.random.default_rng(108)
            values = noise(kind, generator, (2000 * scale, 2, N_MAX))
            rows = factor * (values[:, 0] - values[:, 1]) + truth
            planned = _planned(rows[:, None, :], tau)
            results = _stopped(rows, planned)
            share = sum(_covers(r.low, r.high, truth) for r in results) / len(rows)
            what = f"coverage on a host under the stopping rule, {kind}, mean N={planned.mean():.0f}"
            yield _share("M5", what, share, least=0.935)
    for hosts in (3, 5, 10):
        yield _fleet_stopping(hosts, truth, tau, 1000 * scale)


def _fleet_stopping(hosts: int, truth: float, tau: float, count: int) -> Figure:
    generator = np.random.default_rng(109)
    rows = 1.2 * SIGMA * generator.normal(size=(count, hosts, N_MAX))
    rows += truth + 0.005 * generator.normal(size=(count, hosts, 1))
    planned = _planned(rows, tau)
    results = _stopped(rows.reshape(-1, N_MAX), np.repeat(planned, hosts))
    hits = 0
    for number in range(count):
        mine = results[number * hosts : (number + 1) * hosts]
        mean = fleet(mine, tuple(rows[number, :, : planned[number]])).mean
        hits += _covers(mean.low, mean.high, truth)
    what = f"coverage for hosts like these under the stopping rule, H={hosts}, mean N={planned.mean():.0f}"
    return _share("M5", what, hits / count, least=0.935)


def _planned(rows: Floats, tau: float) -> np.ndarray:
    """Return N of every benchmark, [benchmark, host, block]: the largest over its hosts."""
    pilots = rows[:, :, :PILOT_BLOCKS]
    return np.array([max(second_stage(stdev(row) or 0.0, tau=tau).blocks for row in each) for each in pilots])


def _stopped(rows: Floats, planned: np.ndarray) -> list[PairedResult]:
    """Return the result of every row from its first N blocks."""
    results: list[PairedResult | None] = [None] * len(rows)
    for blocks in np.unique(planned):
        places = np.flatnonzero(planned == blocks)
        for place, result in zip(places, paired_rows(rows[places, :blocks]), strict=True):
            results[place] = result
    return [result for result in results if result is not None]


def m7(scale: int = 1) -> Iterator[Figure]:
    """Iterations of a process that have much in common: its value is one, not many."""
    count, blocks, iterations = 2000 * scale, 10, 20
    for shared in (0.5, 0.95):
        generator = np.random.default_rng(110)
        process = math.sqrt(shared) * generator.normal(size=(count, 2, blocks, 1))
        each = math.sqrt(1 - shared) * generator.normal(size=(count, 2, blocks, iterations))
        values = SIGMA * (process + each)
        found = rate(compared(np.median(values, axis=3)), aa=True)
        yield _share("M7", f"false positives, correlation {shared} within a process", found, most=MOST_FALSE)
        part = values[:400]
        pooled = (part[:, 1] - part[:, 0]).reshape(len(part), -1)
        naive = float((p_values(pooled) <= 0.05).mean())
        yield _share("M7", f"the same with iterations pooled, correlation {shared}", naive, least=0.10)


def m8(scale: int = 1) -> Iterator[Figure]:
    """Swap the environments: what was faster is slower, and nothing else changes."""
    count = 500 * scale
    generator = np.random.default_rng(111)
    values = np.concatenate([noise(kind, generator, (count // 4, 3, 11)) for kind in NOISES])
    values[:, 2] += 0.02 * generator.normal(size=(len(values), 1))
    once = (LEGS[0], LEGS[2])
    here = compared(values[:, [0, 2]], legs=once)
    there = compared(values[:, [0, 2]], legs=once, baseline="container")
    worst = 0.0
    swapped = 0
    for one, other in zip(here, there, strict=True):
        assert one.ratio and other.ratio and one.low and one.high and other.low and other.high
        products = (one.ratio * other.ratio, one.low * other.high, one.high * other.low)
        worst = max(worst, *(abs(product - 1) for product in products))
        mirror = {"faster": "slower", "slower": "faster", "no change": "no change"}
        same_p = one.p == other.p and one.confidence == other.confidence
        swapped += same_p and mirror[_word(format_comparison(one))] == _word(format_comparison(other))
    yield Figure("M8", "largest |product of the two ratios - 1|", "<= 1e-12", f"{worst:.1e}", worst <= 1e-12)
    share = swapped / len(here)
    yield Figure("M8", "faster and slower swap, p stays", "all", f"{share:.2%}", swapped == len(here))


def _word(text: str) -> str:
    return next(word for word in ("faster", "slower", "no change") if word in text)


def trend(scale: int = 1) -> Iterator[Figure]:
    """Histories of 60 runs on hosts that drift: nothing changed, or one environment by 5 %."""
    histories = 40 * scale
    generator = np.random.default_rng(112)
    runs, blocks = 60, 10
    level = np.cumsum(0.01 * generator.normal(size=(histories, runs)), axis=1)
    level += 0.03 * (np.arange(runs) >= generator.integers(10, 50, size=(histories, 1)))
    raw = level + 0.003 * generator.normal(size=level.shape)
    own = 0.003 * generator.normal(size=level.shape)[:, :, None]
    ratios = own + SIGMA * generator.normal(size=(histories, runs, blocks))
    changed = ratios + 0.05 * (np.arange(runs) >= 40)[:, None]

    def alarms(rows: Floats) -> list[list[tuple[int, ChangeState]]]:
        return [
            [(c.index, c.state) for c in change_points(np.median(row, axis=1), seed="t", blocks=tuple(row))]
            for row in rows
        ]

    false = sum(map(bool, alarms(ratios)))
    what = f"alarms in {histories} drifting, unchanged histories, ratio"
    yield Figure("trend", what, "0", str(false), false == 0)
    naive = sum(bool(change_points(row, seed="t")) for row in raw) / histories
    yield _share("trend", "the same with the raw values", naive, least=0.5)
    found = sum(
        any(abs(index - 40) <= 1 and state is ChangeState.CONFIRMED for index, state in each)
        for each in alarms(changed)
    )
    yield _share("trend", "+5 % at run 40 of 60: confirmed there", found / histories, least=0.95)


def explained(scale: int = 1) -> Iterator[Figure]:
    """`explain`: two measurements of the same in each block, with all counters of a host."""
    reports, blocks = 400 * scale, 10
    generator = np.random.default_rng(1401)
    again: dict[int, HostCounters] = {}
    wrong = 0
    for _ in range(reports):
        # What the families of one measurement have in common, and what each has of its own.
        logs = generator.normal(0, 0.02, (2, blocks, 1)) + generator.normal(
            0, 0.02, (2, blocks, len(FAMILIES))
        )
        first, second = (_counters(np.exp(leg)) for leg in logs)
        found = explain(_COUNTED, first, second, again, unit="event")
        wrong += any(change.has_moved for change in found.tested)
    most = MOST_FALSE if reports >= 2000 else 0.08
    yield _share(
        "E1", f"reports of equal legs that call a counter moved, {reports}", wrong / reports, most=most
    )


def _counters(rows: Floats) -> dict[int, HostCounters]:
    return {
        block: HostCounters(dict(zip(FAMILIES, map(float, row), strict=True)), {})
        for block, row in enumerate(rows)
    }


_COUNTED = Comparison(
    *("b", TIME, Target("h1"), "native", "native", 1.0, 1.0, 1.0, None, None, None, None, 10, 0), is_aa=True
)

FIGURES: tuple[Callable[[int], Iterator[Figure]], ...] = (
    *(m1, m2, m3, m4, m5, m5_stopping, m7, m8, trend, explained),
)
