"""What is measured: metrics, samples, benchmarks and suites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from perfctl.model.environment import Environment
from perfctl.model.identity import content_hash

Parameter = str | int | float | bool
Scope = Literal["host", "pair"]
Resource = Literal["cpu", "memory", "network", "storage"]
"""What a benchmark loads on purpose."""

OUTPUT_LIMIT_BYTES = 64 << 20
"""How much is kept of each output of a command, unless a suite says otherwise."""


class Direction(StrEnum):
    """Which way is better."""

    LOWER = "lower"
    HIGHER = "higher"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True)
class Metric:
    """One quantity that a workload reports. `headline` metrics lead the comparison table."""

    name: str
    unit: str
    direction: Direction
    description: str = ""
    headline: bool = False
    show_difference: bool = False
    """Whether a comparison shows the difference itself beside the ratio: a start costs milliseconds."""
    resolution: float | None = field(default=None, compare=False)
    """The tool's resolution as a share of the value, e.g. 0.018 for histogram bins."""
    step: float | None = field(default=None, compare=False)
    """The smallest step that the tool prints, in `unit`, e.g. 0.01 for milliseconds with two decimals."""

    @property
    def identity(self) -> tuple[str, str, Direction]:
        """What two metrics must have in common for their values to be compared."""
        return (self.name, self.unit, self.direction)


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one metric. `index` is its place in the invocation's series (0 for a single value)."""

    metric: str
    value: float
    unit: str
    index: int = 0
    is_warmup: bool = False


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A workload with fixed parameters (all of them: defaults are filled in when a suite is read)."""

    name: str
    workload: str
    parameters: Mapping[str, Parameter]
    expected_s: float
    """How long one invocation takes when all is well; timeouts and estimates are derived from it."""
    scope: Scope = "host"
    precision: float | None = None
    """The half-width of the ratio's 95 % interval that its number of blocks is chosen for, as a share; None:
    the number is fixed."""
    blocks: int | None = None
    """Its number of blocks; None: the suite's, or as many as its precision needs."""
    targets: int | None = None
    """The number of hosts or pairs that it runs on, the first ones of the inventory; None: all."""
    output_limit_bytes: int = OUTPUT_LIMIT_BYTES
    """How much is kept of each output; the values of a report that was longer are refused."""
    definition: str = ""
    """A user's definition of the workload, as JSON; '' for one of this package."""
    files_dir: str = ""
    """The folder on the controller that the files are in which the definition names."""

    @property
    def key(self) -> str:
        """The content hash of workload and parameters: the same question has the same key everywhere."""
        question: dict[str, object] = {"workload": self.workload, "parameters": dict(self.parameters)}
        if self.definition:
            question["definition"] = self.definition
        return content_hash(question)

    @property
    def timeout_s(self) -> float:
        """When to give an invocation up: three times its expected time and ten seconds."""
        return 3 * self.expected_s + 10


@dataclass(frozen=True, slots=True)
class Suite:
    """Benchmarks x environments x precision, read from a TOML file."""

    name: str
    description: str
    baseline: str
    environments: tuple[Environment, ...]
    benchmarks: tuple[Benchmark, ...]
    blocks: int | None
    """How many blocks every benchmark has; None: as many as its precision needs."""
    source: str = field(default="", compare=False)
    """The path of the file it was read from."""
