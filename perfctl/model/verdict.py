"""Verdicts, and the comparisons that have them: over a fleet, over a suite, and between two runs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from perfctl.model.benchmark import Metric
from perfctl.model.host import Target


class Verdict(StrEnum):
    """The four verdicts on a comparison. None says that there is no cost: only an interval can bound it."""

    DIFFERENT = "different"
    """q <= 0.05, and the whole interval is beyond the equivalence margin."""
    DIFFERENT_SMALL = "different, small"
    """q <= 0.05, and the interval includes the margin: an effect that may be too small to matter."""
    EQUIVALENT = "equivalent"
    """The whole interval is inside the equivalence margin."""
    INCONCLUSIVE = "inconclusive"
    """All else: nothing was shown, neither an effect nor that there is none."""


class Reach(StrEnum):
    """The hosts that a comparison over several hosts speaks for."""

    FLEET = "fleet"
    """Hosts like these: five or more, the t interval over hosts."""
    THESE_HOSTS = "these hosts only"
    """Two to four hosts: the stratified signed-rank test."""
    ONE_HOST = "this host only"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and what it rests on.

    `why` says, for an inconclusive one, what stood in the way. `delta` is the equivalence margin as a share
    (0.01 is 1 %, the same up and down on the scale of ratios) and `delta_source` where it comes from; None
    where there is no ratio and the baseline is zero.
    """

    verdict: Verdict
    why: str = ""
    q: float | None = None
    """p after Benjamini-Hochberg over all comparisons of the report, whatever their level."""
    equivalence_margin: float | None = None
    margin_source: str = ""
    mde: float | None = None
    """The smallest effect, as a share, that so many units detect with a chance of 80 %; inconclusive only."""
    needed: int | None = None
    """Blocks (of a fleet: hosts) after which the interval's half-width is half the margin: then it is not
    inconclusive by itself. For inconclusive ones only; None where more of them would not help."""
    to_decide: int | None = None
    """About how many of these decide an inconclusive one among all lines of its report; None as above."""


@dataclass(frozen=True, slots=True)
class ResultWithoutFlagged:
    """The same comparison without the flagged blocks, which are otherwise all in it."""

    blocks: int
    ratio: float | None
    low: float | None
    high: float | None
    p: float | None
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class HostRatio:
    """The ratio of one host (or pair) within a comparison over several."""

    target: Target
    ratio: float
    low: float | None
    high: float | None
    blocks: tuple[int, ...]
    """Of the run, or of each of two runs that are compared."""


@dataclass(frozen=True, slots=True)
class FleetComparison:
    """One environment against the baseline over all hosts (or pairs, clustered by host) of a run.

    Of two runs: the change of that ratio, as in RunComparison; `baseline_value` and `value` are then those
    of the environment in the first and in the second run.

    `ratio`, `low`, `high` and `p` are those of the claim; None with a `note` where they cannot be had. When
    `disagree` is true the headline is the range from `lowest` to `highest`.
    """

    benchmark: str
    metric: Metric
    environment: str
    baseline: str
    hosts: tuple[HostRatio, ...]
    missing: tuple[Target, ...]
    """Targets that have no ratio: left out of the claim."""
    reach: Reach
    baseline_value: float | None
    """Median over hosts of the baseline's medians, in the metric's unit; then that of the environment."""
    value: float | None
    ratio: float | None
    low: float | None
    high: float | None
    confidence: float | None
    p: float | None
    i2: float | None
    """The share of the variance between hosts that is more than chance within them (I^2), 0 to 1."""
    lowest: float | None
    highest: float | None
    judgement: Judgement
    note: str = ""
    confounded: str = ""
    artefact: str = ""
    accelerator: str | None = None
    baseline_accelerator: str | None = None

    @property
    def disagree(self) -> bool:
        """Whether I^2 > 50 %: one number for all hosts says too little."""
        return self.i2 is not None and self.i2 > 0.5

    @property
    def is_emulated(self) -> bool:
        """Whether a side ran under 'tcg': the figures are no overhead then."""
        return "tcg" in (self.accelerator, self.baseline_accelerator)


@dataclass(frozen=True, slots=True)
class SuiteComparison:
    """One environment against the baseline over all benchmarks: the geometric mean of their headline ratios.

    `ratio` has its directions aligned: above 1 is always worse (slower, less). None, with the reason in
    `note`, where hosts have different sets of benchmarks: such means cannot be compared.
    """

    environment: str
    baseline: str
    scope: str
    """'host' or 'pair': what the benchmarks ran on."""
    benchmarks: tuple[str, ...]
    targets: tuple[Target, ...]
    reach: Reach
    ratio: float | None
    low: float | None
    high: float | None
    confidence: float | None
    p: float | None
    judgement: Judgement
    note: str = ""
    accelerator: str | None = None
    baseline_accelerator: str | None = None

    @property
    def is_emulated(self) -> bool:
        """Whether a side ran under 'tcg': the figures are no overhead then."""
        return "tcg" in (self.accelerator, self.baseline_accelerator)


@dataclass(frozen=True, slots=True)
class RunComparison:
    """One environment in two runs on one target: how its ratio to the baseline of its own run changed.

    `ratio` is the second run's ratio over the first's (Hodges-Lehmann shift of the block differences of
    logarithms, exact rank-sum interval and p). The runs were not interleaved, so the values themselves are
    confounded by time: `raw_*` is their change, with an interval and without a verdict.
    """

    benchmark: str
    metric: Metric
    target: Target
    other_target: Target
    """The target in the second run; another one only when hosts are what is compared."""
    environment: str
    baseline: str
    first: float | None
    """Median over blocks in the first run, in the metric's unit; then in the second."""
    second: float | None
    first_ratio: float | None
    """environment / baseline in the first run (Hodges-Lehmann); then in the second."""
    second_ratio: float | None
    ratio: float | None
    low: float | None
    high: float | None
    confidence: float | None
    p: float | None
    raw_ratio: float | None
    raw_low: float | None
    raw_high: float | None
    blocks: tuple[int, int]
    judgement: Judgement
    note: str = ""
    confounded: str = ""
    accelerator: str | None = None
    baseline_accelerator: str | None = None

    @property
    def is_emulated(self) -> bool:
        """Whether a side ran under 'tcg': the figures are no overhead then."""
        return "tcg" in (self.accelerator, self.baseline_accelerator)
