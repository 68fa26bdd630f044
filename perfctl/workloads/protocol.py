"""The seam of a benchmark program: what it is asked, and what it must answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from perfctl.model import Metric, Parameter, Resource, Sample, Scope

Parameters = Mapping[str, Parameter]


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One parameter: its default fixes its type; `unit` is '' for pure numbers and names."""

    name: str
    default: Parameter
    unit: str
    description: str
    choices: tuple[Parameter, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    pattern: str = ""
    """A regular expression that a text must match as a whole; '' allows any."""
    tests: tuple[str, ...] = ()
    """The values of the parameter `test` that it belongs to; empty: all of them."""


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """The other half of a network workload: runs in the foreground in the same environment on the peer."""

    argv: tuple[str, ...]
    tcp_port: int
    """It is ready when this TCP port is in state LISTEN in the environment's /proc/net/tcp or tcp6."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A rate of data that must have crossed the client's interface or disks, and for how long it is told."""

    rate: str
    """The metric: payload per second that arrived."""
    time: str
    """The metric, in seconds, of the time that the rate is the mean of."""
    direction: Literal["sent", "received", "read", "written"]
    """As the client sees it: over its interface, or from and to its disks, past every cache."""
    directory: str = ""
    """Where the files are that are read or written."""


@dataclass(frozen=True, slots=True)
class MemoryTraffic:
    """A rate of data that goes through memory, if its blocks are too large for the caches."""

    rate: str
    """The metric: bytes per second."""
    time: str
    """The metric, in seconds, of the time that the rate is the mean of."""
    direction: Literal["read", "written"]
    block_bytes: int
    """What each thread goes through from end to end, again and again."""
    way: tuple[Parameter, ...]
    """How it does so: only rates of one way bound each other."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the measured command does to its host on purpose: it must not be taken for a disturbance."""

    threads: int | None
    """How many CPUs it can keep busy at once; None: not known."""
    uses: frozenset[Resource]
    crossings: tuple[Crossing, ...] = ()
    memory: MemoryTraffic | None = None


class Workload(Protocol):
    """One benchmark program."""

    @property
    def name(self) -> str:
        """The word used in suites, e.g. 'sysbench'."""
        ...

    @property
    def scope(self) -> Scope:
        """'host', or 'pair' when it needs a client and a server."""
        ...

    @property
    def programs(self) -> tuple[str, ...]:
        """The executables it needs inside the environment; their sha256 is recorded."""
        ...

    @property
    def version_argv(self) -> tuple[str, ...]:
        """A command that prints the tool's version."""
        ...

    @property
    def parameter_specs(self) -> tuple[ParameterSpec, ...]:
        """All parameters, in the order of the documentation."""
        ...

    def check(self, parameters: Parameters) -> None:
        """Raise UsageError for values that are each allowed but do not go together."""
        ...

    def metrics(self, parameters: Parameters) -> tuple[Metric, ...]:
        """The metrics that an invocation with these parameters must report; exactly one is the headline.

        One that an environment cannot have may be left out there: the headline never.
        """
        ...

    def argv(self, parameters: Parameters, *, server_address: str | None = None) -> Sequence[str]:
        """The measured command. Pair workloads need the server's address."""
        ...

    def setup_argvs(self, parameters: Parameters) -> Sequence[Sequence[str]]:
        """Commands to run before, in the same environment, unmeasured (test files)."""
        ...

    def cleanup_argvs(self, parameters: Parameters) -> Sequence[Sequence[str]]:
        """Commands to run after, whatever happened."""
        ...

    def server(self, parameters: Parameters) -> ServerSpec | None:
        """The server of a pair workload, else None."""
        ...

    def expected_s(self, parameters: Parameters) -> float:
        """How long the measured command takes when all is well."""
        ...

    def load(self, parameters: Parameters) -> Load:
        """What it does to its host on purpose."""
        ...

    def parse(self, stdout: str, parameters: Parameters) -> list[Sample]:
        """Read the output. Raises OutputError (with its reason) on rubbish or a missing metric."""
        ...


@runtime_checkable
class OpeningWorkload(Workload, Protocol):
    """A workload that measures how its environment was opened; perfctl writes what its `parse` reads."""

    def opening_report(self, opening_s: Mapping[str, float], command_s: float) -> str:
        """Return the report: `opening_s` of the environment's shell, and how long the command took."""
        ...
