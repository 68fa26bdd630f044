"""What a run will take and what it will be able to see, said before it starts: from earlier runs.

    Store --known_scatter()--> {benchmark: KnownScatter} --outlook()--> Outlook

Earlier runs of the same benchmark (workload and parameters), environment, baseline and target count. They
only sharpen what is said: the pilot stays as it is, because Stein's rule needs a scatter of the run's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from perfctl.environments import KINDS
from perfctl.execute.second_stage import scatter
from perfctl.model import Benchmark, Decision, Plan
from perfctl.model.quantity import duration, percent
from perfctl.plan import estimate_s, grown
from perfctl.stats import N_MAX, PILOT_BLOCKS, SecondStage, minimum_detectable_effect, second_stage
from perfctl.store import HistoryCell, Store

OVERHEAD_S: Mapping[str, float] = {kind: traits.usual_overhead_s for kind, traits in KINDS.items()}
"""Time around one invocation by kind of environment, for the estimate."""

RUNS = 5
"""So many of the newest runs tell the scatter: what a host was like long ago says little of today."""

_FEWEST_DEGREES = 5
"""Degrees of freedom: a standard deviation from fewer differences is worth nothing."""


@dataclass(frozen=True, slots=True)
class KnownScatter:
    """The widest s_d of a benchmark's environments and targets in earlier runs, and in how many of them."""

    s_d: float
    runs: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is to be expected of one benchmark: all its blocks, and the effect they find four times in five.

    Without earlier runs `blocks` is what is planned, and `effect` None; `text` is '' when that is all.
    """

    benchmark: str
    blocks: int
    effect: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a run will take: `planned_s` for the blocks in the plan, for second stages to come `later_s` by
    earlier runs and at most `most_later_s`."""

    planned_s: float
    later_s: float
    most_later_s: float
    forecasts: tuple[Forecast, ...]

    @property
    def text(self) -> str:
        """Return e.g. 'about 3 h 00 min, will detect 1.2 %'."""
        return f"{self._time}{self._sight}"

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield what is to be said: (benchmark or '' for all, text)."""
        yield "", self.text
        yield from ((item.benchmark, item.text) for item in self.forecasts if item.text)

    @property
    def _time(self) -> str:
        if not self.most_later_s:
            return f"about {duration(self.planned_s)}"
        most = duration(self.planned_s + self.most_later_s)
        if any(forecast.effect is not None for forecast in self.forecasts):
            return f"about {duration(self.planned_s + self.later_s)}, at most {most}"
        return f"about {duration(self.planned_s)} for the pilots, at most {most} in all"

    @property
    def _sight(self) -> str:
        effects = [item.effect for item in self.forecasts if item.effect is not None]
        if not effects:
            return "; no earlier run of it here, so the detectable effect is not known yet"
        least, most = percent(min(effects)), percent(max(effects))
        span = most if least == most else f"{least.removesuffix(' %')} to {most}"
        unknown = len(self.forecasts) - len(effects)
        of_unknown = f" (of {len(self.forecasts)} benchmarks, {unknown} unknown)" if unknown else ""
        return f", will detect {span}{of_unknown}"


def outlook(plan: Plan, known: Mapping[str, KnownScatter], *, remaining: Plan | None = None) -> Outlook:
    """Return what the plan will take, or, of a run that is under way, what `remaining` of it will."""
    ahead = plan if remaining is None else remaining
    forecasts = tuple(_forecast(plan, item, known.get(item.name)) for item in plan.benchmarks)
    undecided = {item.name for item in plan.undecided()}
    expected = {item.benchmark: item.blocks for item in forecasts if item.benchmark in undecided}
    return Outlook(
        estimate_s(ahead, overhead_s=OVERHEAD_S),
        _later_s(plan, expected),
        _later_s(plan, dict.fromkeys(undecided, N_MAX)),
        forecasts,
    )


def _later_s(plan: Plan, blocks: Mapping[str, int]) -> float:
    """Return the time of second stages that bring benchmarks to so many blocks."""
    whole = plan
    for benchmark, count in blocks.items():
        whole = grown(whole, Decision(benchmark, count, None, ""))
    added = whole.rounds[len(plan.rounds) :]
    return estimate_s(replace(plan, rounds=added), overhead_s=OVERHEAD_S)


def _forecast(plan: Plan, benchmark: Benchmark, known: KnownScatter | None) -> Forecast:
    planned = 1 + max((b.index for b in plan.blocks() if b.benchmark == benchmark.name), default=-1)
    decided = next((item for item in plan.decisions if item.benchmark == benchmark.name), None)
    tau = None if decided else benchmark.precision
    if known is None:
        text = f"a pilot of {PILOT_BLOCKS} blocks, then up to {N_MAX} for ±{percent(tau)}" if tau else ""
        return Forecast(benchmark.name, planned, None, text)
    stage = None if tau is None else second_stage(known.s_d, tau=tau)
    blocks = stage.blocks if stage else planned
    effect = minimum_detectable_effect(blocks, known.s_d)
    return Forecast(benchmark.name, blocks, effect, _words(stage, blocks, effect, known))


def _words(stage: SecondStage | None, blocks: int, effect: float | None, known: KnownScatter) -> str:
    what = stage.words() if stage else f"{blocks} block{'s' * (blocks > 1)}"
    sight = "cannot be significant" if effect is None else f"will detect {percent(effect)}"
    runs = f"{known.runs} earlier run{'s' * (known.runs > 1)}"
    return f"{what}; {sight} (scatter {percent(known.s_d)} in {runs})"


def known_scatter(store: Store, plan: Plan, *, without_run: str | None = None) -> dict[str, KnownScatter]:
    """Return what earlier runs say of the plan's benchmarks; one that they say nothing of is not in it."""
    found = {}
    for benchmark in plan.benchmarks:
        cells = [cell for cell in store.benchmark_cells(benchmark.name) if cell.run_id != without_run]
        scatter_of = widest(cells, plan, benchmark)
        if scatter_of is not None:
            found[benchmark.name] = scatter_of
    return found


def widest(cells: Iterable[HistoryCell], plan: Plan, benchmark: Benchmark) -> KnownScatter | None:
    """Return the widest scatter of the plan's environments and targets in the cells of a benchmark.

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
                differences = scatter(leg.environment, str(leg.target), leg.values, base.values).differences
                if differences:
                    rows.setdefault((leg.environment_key, str(leg.target)), []).append(differences)
    newest = [each[-RUNS:] for each in rows.values()]
    pooled = [(s_d, len(each)) for each in newest if (s_d := pool(each)) is not None]
    return KnownScatter(*max(pooled)) if pooled else None


def pool(rows: Sequence[Sequence[float]]) -> float | None:
    """Return the standard deviation within runs, each about its own mean; None when they are too few."""
    squares, degrees = 0.0, 0
    for row in rows:
        mean = math.fsum(row) / len(row)
        squares += math.fsum((value - mean) ** 2 for value in row)
        degrees += len(row) - 1
    return math.sqrt(squares / degrees) if degrees >= _FEWEST_DEGREES else None
