"""What the store returns of a database and of its runs, where perfctl.model has no type for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from perfctl.model import Metric, Target
from perfctl.model.environment import Limits


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of `perfctl runs`. Times are Unix seconds; `ended_at` is None while it runs."""

    run_id: str
    suite: str
    status: str
    started_at: float
    ended_at: float | None
    hosts: tuple[str, ...]
    planned: int
    ok: int
    failed: int
    skipped: int
    interrupted: int
    shards: tuple[StoredShard, ...] = ()
    """Those that were begun; none of a run that one controller measures."""

    @property
    def missing(self) -> str:
        """The shards that nobody has begun, in words; '' when there are none."""
        if not self.shards:
            return "all shards" if self.status == "planned" else ""
        count, begun = self.shards[0].count, {shard.number for shard in self.shards}
        left = [str(number) for number in range(1, count + 1) if number not in begun]
        return f"shard{'s' * (len(left) > 1)} {', '.join(left)} of {count}" if left else ""


@dataclass(frozen=True, slots=True)
class StoredShard:
    """A part of a planned run that one controller measures, or has. `status` is as that of a run."""

    number: int
    count: int
    controller: str
    begun_at: float
    ended_at: float | None
    status: str


@dataclass(frozen=True, slots=True)
class StoredBenchmark:
    """A benchmark of a run's plan; `key` is `Benchmark.key`."""

    name: str
    workload: str
    parameters: Mapping[str, str | int | float | bool]
    key: str
    definition: str = ""
    """A user's definition of the workload; '' for one of perfctl's own."""


@dataclass(frozen=True, slots=True)
class Reparsed:
    """The result of reading raw outputs again, in numbers of invocations."""

    read: int
    changed: int
    """Whose samples, status or reason have changed."""
    unknown: int
    """Not read: this version has no such workload."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The answer to a query."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    is_cut: bool = False
    """Whether there are more rows than were asked for."""


@dataclass(frozen=True, slots=True)
class HistoryRun:
    """One run among others. `started_at` is in Unix seconds."""

    run_id: str
    suite: str
    status: str
    started_at: float
    baseline: str
    perfctl_version: str


@dataclass(frozen=True, slots=True)
class NamedBenchmark:
    """A benchmark under one of its names, and how many runs planned it by that name."""

    benchmark: StoredBenchmark
    runs: int


@dataclass(frozen=True, slots=True)
class HistoryCell:
    """The values of one leg in one run, by block; blocks without a value are left out.

    `benchmark_key` and `environment_key` are the content hashes of what the names stood for in that run.
    """

    run_id: str
    benchmark: str
    benchmark_key: str
    metric: Metric
    target: Target
    environment: str
    environment_key: str
    replicate: int
    accelerator: str | None
    values: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Which fingerprint was read in a run: of a host before it, or inside an environment there (the last)."""

    run_id: str
    host: str
    environment: str | None
    """None: the host itself."""
    fingerprint_id: str


@dataclass(frozen=True, slots=True)
class NativeValue:
    """A value of a benchmark, measured natively on a host; `limits` are its environment's."""

    run_id: str
    benchmark_key: str
    limits: Limits
    metric: str
    unit: str
    value: float
