"""What a command has used and how long it took, and the metrics that its parts are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from perfctl.model.benchmark import Direction, Metric

UsageSource = Literal["wait4", "cgroup"]


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """What a command and those of its descendants that it waited for have used. None where it is not known.

    The times of the source 'cgroup' are of a container's control group while the command ran, in which also
    that ran which started it there.
    """

    user_s: float | None
    system_s: float | None
    max_rss_bytes: int | None
    """Of the largest process."""
    minor_faults: int | None
    major_faults: int | None
    voluntary_switches: int | None
    involuntary_switches: int | None
    wall_s: float | None = None
    """From just before it was made until its end was known, measured where it ran."""
    source: UsageSource | None = "wait4"
    """By what it was measured; None where nothing is known. Values of two sources are never compared."""
    missing: str = ""
    """Why something is not known; '' where all is."""

    @classmethod
    def unknown(cls, why: str) -> ResourceUsage:
        """Return a usage of which nothing is known, and why."""
        return cls(None, None, None, None, None, None, None, source=None, missing=why)


USAGE_METRICS = (
    Metric("user_s", "s", Direction.NEUTRAL, "processor time in user mode", step=1e-6),
    Metric("system_s", "s", Direction.NEUTRAL, "processor time in the kernel", step=1e-6),
    Metric("max_rss_bytes", "bytes", Direction.NEUTRAL, "memory of the largest process", step=4096),
    Metric("minor_faults", "faults", Direction.NEUTRAL, "page faults without a disk", step=1),
    Metric("major_faults", "faults", Direction.NEUTRAL, "page faults that read a disk", step=1),
    Metric("voluntary_switches", "switches", Direction.NEUTRAL, "times it waited for something", step=1),
    Metric("involuntary_switches", "switches", Direction.NEUTRAL, "times it was made to wait", step=1),
    Metric("wall_s", "s", Direction.NEUTRAL, "from its start to its end", step=1e-6),
)
"""One for each field of a ResourceUsage that is a number, in their order. Every workload has them.

Neither more nor less of them is better: a benchmark that runs for a given time uses more where it does more.
"""
