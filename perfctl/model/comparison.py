"""What goes into a comparison and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass

from perfctl.model.benchmark import Metric
from perfctl.model.host import Target
from perfctl.model.verdict import Judgement, ResultWithoutFlagged


@dataclass(frozen=True, slots=True)
class Observation:
    """The one value that an invocation gives for one metric: the median of its non-warm-up samples."""

    benchmark: str
    metric: Metric
    target: Target
    block: int
    environment: str
    replicate: int
    value: float
    accelerator: str | None = None
    """'kvm' or 'tcg' when it was measured in a guest."""
    validity: str | None = None
    """'valid', 'flagged' or 'invalid' by the counters around it; None where nobody judged. What is invalid is
    left out of every comparison and counted, what is flagged is compared with and without."""
    source: str | None = None
    """By what a value of `USAGE_METRICS` was measured; None for every other metric."""
    missing: str = ""
    """Why there is no value, where that is known; `value` is no number then."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One environment against the baseline, for one benchmark, metric, target and accelerator.

    `ratio` is environment / baseline (Hodges-Lehmann estimate of the block differences of logarithms,
    exponentiated), `low` and `high` its exact signed-rank interval, `p` the exact two-sided p-value.
    They are None where they cannot be had; `note` then says why. Missing is never zero.
    """

    benchmark: str
    metric: Metric
    target: Target
    environment: str
    baseline: str
    baseline_value: float | None
    """Median over blocks of the baseline, in the metric's unit."""
    value: float | None
    """Median over blocks of the environment, in the metric's unit."""
    ratio: float | None
    low: float | None
    high: float | None
    confidence: float | None
    """The interval's achieved confidence (the signed-rank distribution is discrete)."""
    p: float | None
    blocks: int
    """Complete blocks that the figures rest on."""
    left_out: int
    """Blocks that lack a valid value on one side, or have it under another accelerator."""
    note: str = ""
    is_aa: bool = False
    """True for the built-in A/A test: the baseline's second replicate against its first."""
    confounded: str = ""
    """What else differs between the two legs ('' when nothing does), e.g. another build of the tool."""
    changed: str = ""
    """What changed while they were measured, part of `confounded`: then no gate decides by them."""
    accelerator: str | None = None
    """'kvm' or 'tcg' when the environment was a guest; `baseline_accelerator` when the baseline was one."""
    baseline_accelerator: str | None = None
    difference: float | None = None
    """Hodges-Lehmann shift, environment - baseline, in the metric's unit; then its exact interval.

    Only for a metric with `show_difference`, and where there is no ratio.
    """
    difference_low: float | None = None
    difference_high: float | None = None
    judgement: Judgement | None = None
    """The verdict. None for an A/A test, which is judged by its p alone."""
    reasons: tuple[tuple[str, int], ...] = ()
    """Why blocks are left out, and how many for each reason, e.g. ('container: failed (timeout)', 2)."""
    flagged: tuple[int, ...] = ()
    """Blocks with an outlier or a flagged invocation on either side. They are in the figures."""
    outliers: tuple[tuple[str, int, int], ...] = ()
    """Values that are outliers: (environment, replicate, block), on either side. They are in the figures."""
    source: str | None = None
    """By what the values were measured, for a metric of `USAGE_METRICS`."""
    without_flagged: ResultWithoutFlagged | None = None
    """What would come out without them."""
    artefact: str = ""
    """Why this is likely an artefact: better than native, or more than the hardware has; '' otherwise."""

    @property
    def is_emulated(self) -> bool:
        """Whether a side ran under 'tcg': the figures are no overhead then."""
        return "tcg" in (self.accelerator, self.baseline_accelerator)
