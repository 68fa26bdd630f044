"""What the store returns of one run, where perfctl.model has no type for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from perfctl.model import USAGE_METRICS, Metric, Reason, ResourceUsage, Status, Target
from perfctl.model.usage import UsageSource
from perfctl.store.records import RunSummary, StoredBenchmark

NOT_RUN = "not run"

Place = tuple[str, str, int, str, int, str]
"""Benchmark, target as text, block, environment, replicate, name of a metric: names a value of a run."""

SuspectValues = dict[tuple[str, str, Target, str], tuple[str, ...]]
"""(benchmark, metric, target, environment) -> why values of it are above what the hardware can do."""


@dataclass(frozen=True, slots=True)
class StoredEnvironment:
    """An environment of a run's plan; `key` is `Environment.key`."""

    name: str
    kind: str
    description: str
    key: str


@dataclass(frozen=True, slots=True)
class Count:
    """How many invocations ended this way."""

    status: Status
    reason: Reason | None
    invocations: int


@dataclass(frozen=True, slots=True)
class Failure:
    """An invocation that is not `ok`, and why. `kept` names its artifacts."""

    invocation_id: str
    benchmark: str
    target: Target
    block: int
    attempt: int
    environment: str
    status: Status
    reason: Reason
    detail: str
    exit_code: int | None
    kept: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """An artifact that was kept of an invocation. `sha256` is None when it has no bytes."""

    name: str
    size_bytes: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class InvocationDetail:
    """Everything stored about one invocation. `duration_s` is by its host's clock, `started` UTC text."""

    invocation_id: str
    run_id: str
    benchmark: str
    target: str
    environment: str
    accelerator: str | None
    vcpus: int | None
    boot_attempts: int | None
    block: int
    attempt: int
    replicate: int
    status: Status
    reason: Reason | None
    validity: str | None
    detail: str
    exit_code: int | None
    started: str
    duration_s: float | None
    usage: ResourceUsage
    argv: tuple[str, ...]
    fingerprint_id: str | None
    artifacts: tuple[StoredArtifact, ...]


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event of a run, such as a warning. `happened_at` is in Unix seconds."""

    happened_at: float
    level: str
    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What was removed of a run: `what` is 'run' or 'raw outputs'."""

    what: str
    pruned_at: float
    invocations: int
    raw_outputs: int
    raw_bytes: int


@dataclass(frozen=True, slots=True)
class RunDetail:
    """Everything that `perfctl show` prints of a run."""

    summary: RunSummary
    seed: str
    baseline: str
    command: tuple[str, ...]
    inventory: tuple[str, ...]
    perfctl_version: str
    environments: tuple[StoredEnvironment, ...]
    benchmarks: tuple[StoredBenchmark, ...]
    counts: tuple[Count, ...]
    failures: tuple[Failure, ...]
    events: tuple[StoredEvent, ...]
    pruned: tuple[Tombstone, ...] = ()


@dataclass(frozen=True, slots=True)
class InvocationState:
    """An invocation of a block that is in the database."""

    environment: str
    replicate: int
    status: Status


@dataclass(frozen=True, slots=True)
class BlockState:
    """How far one attempt at a block has come. `status` is running, complete, failed or interrupted."""

    block_id: str
    benchmark: str
    target: Target
    index: int
    attempt: int
    status: str
    invocations: tuple[InvocationState, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One invocation and its value of one metric.

    `started_at` is in Unix seconds, `position` the place in the block's order, from 0.
    """

    invocation_id: str
    benchmark: str
    target: Target
    block: int
    attempt: int
    counts: bool
    """Whether it belongs to the attempt that comparisons use."""
    environment: str
    replicate: int
    position: int
    accelerator: str | None
    status: Status
    reason: Reason | None
    validity: str | None
    """'valid', 'flagged' or 'invalid'; None where it was not judged."""
    detail: str
    started_at: float
    duration_s: float | None
    """By the host's clock."""
    value: float | None
    """Median of the samples that are no warm-up; None when it has none of this metric."""
    unit: str | None
    samples: int
    stdout_sha256: str | None


@dataclass(frozen=True, slots=True)
class Omission:
    """One leg of a block without a value. `reason` is e.g. 'failed (timeout)' or 'not run'.

    With `is_partial` it has values, and the reason says which ones are missing.
    """

    benchmark: str
    target: Target
    block: int
    environment: str
    replicate: int
    reason: str
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class ValidityCount:
    """How many `ok` invocations of an environment count, by verdict.

    `rules` has the rules that were crossed, each with its number of invocations, the most frequent first.
    """

    environment: str
    valid: int
    flagged: int
    invalid: int
    not_judged: int
    rules: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class JudgedValue:
    """The value of an invocation, its verdict, and its findings in sentences."""

    invocation_id: str
    validity: str | None
    value: float
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SampleSeries:
    """The samples of one metric in one invocation, in the order of their `indexes`."""

    metric: Metric
    indexes: tuple[int, ...]
    is_warmup: tuple[bool, ...]
    values: tuple[float, ...]

    @property
    def counted(self) -> tuple[float, ...]:
        """The values that are no warm-up."""
        return tuple(v for v, is_warmup in zip(self.values, self.is_warmup, strict=True) if not is_warmup)


@dataclass(frozen=True, slots=True)
class MeasuredInvocation:
    """One invocation of a run, of any status, with all its samples; `started_at` is in Unix seconds."""

    invocation_id: str
    benchmark: str
    workload: str
    target: Target
    environment: str
    replicate: int
    block: int
    attempt: int
    counts: bool
    """Whether it belongs to the attempt that comparisons use."""
    position: int
    accelerator: str | None
    status: Status
    reason: Reason | None
    validity: str | None
    detail: str
    started_at: float
    duration_s: float | None
    series: tuple[SampleSeries, ...]

    @property
    def is_used(self) -> bool:
        """Whether comparisons use its values: ok, not invalid, of the attempt that counts."""
        return self.counts and self.status is Status.OK and self.validity != "invalid"


def stored_usage(
    source: UsageSource | None, missing: str | None, numbers: Iterable[float | None]
) -> ResourceUsage:
    """Return what a command has used, from its columns: those of `USAGE_METRICS` are `numbers`."""
    values: dict[str, Any] = {
        metric.name: number for metric, number in zip(USAGE_METRICS, numbers, strict=True)
    }
    return ResourceUsage(**values, source=source, missing=missing or "")
