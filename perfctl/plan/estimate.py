"""RunEstimate a run's duration and minimum detectable effect from earlier runs.

    Store --prior_variances()--> {benchmark: PriorVariance} --estimate_run()--> RunEstimate

Earlier runs of the same benchmark (workload and parameters), environment, baseline and target count. They
only sharpen the estimate: the pilot stays as it is, because Stein's rule needs a variance of the run's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from perfctl.environments import KINDS
from perfctl.model import Benchmark, Decision, Environment, Plan, Track
from perfctl.model.quantity import duration, percent
from perfctl.plan.grow import pair_values, with_decision
from perfctl.stats.precision import N_MAX, PILOT_BLOCKS, SecondStage, minimum_detectable_effect, second_stage

if TYPE_CHECKING:
    from perfctl.store import HistoryCell, Store

OVERHEAD_S: Mapping[str, float] = {kind: traits.usual_overhead_s for kind, traits in KINDS.items()}
"""Seconds around one invocation by kind of environment, for the estimate."""

RUNS = 5
"""How many of the newest runs are used: older ones are no guide to the host today."""

_FEWEST_DEGREES = 5
"""A standard deviation with fewer degrees of freedom is not used."""


@dataclass(frozen=True, slots=True)
class PriorVariance:
    """The largest s_d of a benchmark's environments and targets in earlier runs, and of how many runs."""

    s_d: float
    runs: int


@dataclass(frozen=True, slots=True)
class BenchmarkEstimate:
    """The expected number of blocks of one benchmark, and the effect they detect with a power of 80 %.

    Without earlier runs `blocks` is what is planned, and `effect` None; `text` is '' when that is all.
    """

    benchmark: str
    blocks: int
    effect: float | None
    text: str


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """How long a run takes and what it detects.

    `planned_s` is for the blocks in the plan; second stages to come take `later_s` by earlier runs, and at
    most `most_later_s`.
    """

    planned_s: float
    later_s: float
    most_later_s: float
    benchmarks: tuple[BenchmarkEstimate, ...]

    @property
    def text(self) -> str:
        """Return e.g. 'about 3 h 00 min, will detect 1.2 %'."""
        return f"{self._duration}{self._effect}"

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield the lines to print: (benchmark or '' for all, text)."""
        yield "", self.text
        yield from ((item.benchmark, item.text) for item in self.benchmarks if item.text)

    @property
    def _duration(self) -> str:
        if not self.most_later_s:
            return f"about {duration(self.planned_s)}"
        most = duration(self.planned_s + self.most_later_s)
        if any(item.effect is not None for item in self.benchmarks):
            return f"about {duration(self.planned_s + self.later_s)}, at most {most}"
        return f"about {duration(self.planned_s)} for the pilots, at most {most} in all"

    @property
    def _effect(self) -> str:
        effects = [item.effect for item in self.benchmarks if item.effect is not None]
        if not effects:
            return "; no earlier run of it here, so the detectable effect is not known yet"
        least, most = percent(min(effects)), percent(max(effects))
        span = most if least == most else f"{least.removesuffix(' %')} to {most}"
        unknown = len(self.benchmarks) - len(effects)
        of_unknown = f" (of {len(self.benchmarks)} benchmarks, {unknown} unknown)" if unknown else ""
        return f", will detect {span}{of_unknown}"


def estimate_run(
    plan: Plan, prior: Mapping[str, PriorVariance], *, remaining: Plan | None = None
) -> RunEstimate:
    """Return the estimate of a plan, or, of a run that is under way, that of what is `remaining` of it."""
    ahead = plan if remaining is None else remaining
    benchmarks = tuple(_estimate_benchmark(plan, item, prior.get(item.name)) for item in plan.benchmarks)
    undecided = {item.name for item in plan.undecided()}
    expected = {item.benchmark: item.blocks for item in benchmarks if item.benchmark in undecided}
    return RunEstimate(
        estimate_s(ahead, overhead_s=OVERHEAD_S),
        _later_s(plan, expected),
        _later_s(plan, dict.fromkeys(undecided, N_MAX)),
        benchmarks,
    )


def _later_s(plan: Plan, blocks: Mapping[str, int]) -> float:
    """Return the time of second stages that bring benchmarks to so many blocks."""
    whole = plan
    for benchmark, count in blocks.items():
        whole = with_decision(whole, Decision(benchmark, count, None, ""))
    added = whole.rounds[len(plan.rounds) :]
    return estimate_s(replace(plan, rounds=added), overhead_s=OVERHEAD_S)


def _estimate_benchmark(plan: Plan, benchmark: Benchmark, prior: PriorVariance | None) -> BenchmarkEstimate:
    planned = 1 + max((b.index for b in plan.blocks() if b.benchmark == benchmark.name), default=-1)
    decided = next((item for item in plan.decisions if item.benchmark == benchmark.name), None)
    tau = None if decided else benchmark.precision
    if prior is None:
        text = f"a pilot of {PILOT_BLOCKS} blocks, then up to {N_MAX} for ±{percent(tau)}" if tau else ""
        return BenchmarkEstimate(benchmark.name, planned, None, text)
    stage = None if tau is None else second_stage(prior.s_d, tau=tau)
    blocks = stage.blocks if stage else planned
    effect = minimum_detectable_effect(blocks, prior.s_d)
    return BenchmarkEstimate(benchmark.name, blocks, effect, _text(stage, blocks, effect, prior))


def _text(stage: SecondStage | None, blocks: int, effect: float | None, prior: PriorVariance) -> str:
    expected = stage.words() if stage else f"{blocks} block{'s' * (blocks > 1)}"
    detected = "cannot be significant" if effect is None else f"will detect {percent(effect)}"
    runs = f"{prior.runs} earlier run{'s' * (prior.runs > 1)}"
    return f"{expected}; {detected} (standard deviation {percent(prior.s_d)} in {runs})"


def prior_variances(store: Store, plan: Plan, *, without_run: str | None = None) -> dict[str, PriorVariance]:
    """Return the variance of the plan's benchmarks in earlier runs, of those that have any."""
    found = {}
    for benchmark in plan.benchmarks:
        cells = [cell for cell in store.history.benchmark_cells(benchmark.name) if cell.run_id != without_run]
        prior = largest_variance(cells, plan, benchmark)
        if prior is not None:
            found[benchmark.name] = prior
    return found


def largest_variance(cells: Iterable[HistoryCell], plan: Plan, benchmark: Benchmark) -> PriorVariance | None:
    """Return the largest variance of the plan's environments and targets in the cells of a benchmark.

    Each is the root of the mean square within its newest runs (`RUNS`), oldest first in `cells`; None where
    none has enough blocks.
    """
    baseline = next(item.key for item in plan.environments if item.name == plan.baseline)
    others = {item.key for item in plan.environments} - {baseline}
    targets = {block.target for block in plan.blocks() if block.benchmark == benchmark.name}
    own = [
        cell
        for cell in cells
        if cell.benchmark_key == benchmark.key and cell.metric.headline and cell.target in targets
    ]
    bases = [cell for cell in own if (cell.environment_key, cell.replicate) == (baseline, 1)]
    legs = [cell for cell in own if cell.environment_key in others]
    if not others:
        legs = [cell for cell in own if cell.replicate == 2]
    rows: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for leg in legs:
        for base in bases:
            if (base.run_id, base.target) == (leg.run_id, leg.target):
                paired = pair_values(leg.environment, str(leg.target), leg.values, base.values)
                if paired.differences:
                    rows.setdefault((leg.environment_key, str(leg.target)), []).append(paired.differences)
    newest = [each[-RUNS:] for each in rows.values()]
    pooled = [(s_d, len(each)) for each in newest if (s_d := pooled_stdev(each)) is not None]
    return PriorVariance(*max(pooled)) if pooled else None


def pooled_stdev(rows: Sequence[Sequence[float]]) -> float | None:
    """Return the standard deviation within runs, each about its own mean; None when there are too few."""
    squares, degrees = 0.0, 0
    for row in rows:
        mean = math.fsum(row) / len(row)
        squares += math.fsum((value - mean) ** 2 for value in row)
        degrees += len(row) - 1
    return math.sqrt(squares / degrees) if degrees >= _FEWEST_DEGREES else None


def estimate_s(plan: Plan, *, overhead_s: Mapping[str, float]) -> float:
    """Return how many seconds the plan takes without failures: the longest track of each round, summed.

    `overhead_s` is the time around one invocation by kind of environment (native, container, vm); a kind of
    the plan that is missing there raises KeyError. An environment within another takes the time of both;
    those of client and server are made at the same time.
    """
    expected_s = {benchmark.name: benchmark.expected_s for benchmark in plan.benchmarks}
    paired = {benchmark.name for benchmark in plan.benchmarks if benchmark.scope == "pair"}
    alone_s = {item.name: _around_s(item, overhead_s) for item in plan.environments}
    served_s = {
        item.name: max(alone_s[item.name], _around_s(item.of_server, overhead_s))
        for item in plan.environments
    }

    def track_s(track: Track) -> float:
        return sum(
            expected_s[block.benchmark]
            + (served_s if block.benchmark in paired else alone_s)[invocation.environment]
            for block in track.blocks
            for invocation in block.invocations
        )

    return sum(max((track_s(track) for track in round_.tracks), default=0.0) for round_ in plan.rounds)


def _around_s(environment: Environment, overhead_s: Mapping[str, float]) -> float:
    within_s = _around_s(environment.within, overhead_s) if environment.within else 0.0
    return overhead_s[environment.kind] + within_s
