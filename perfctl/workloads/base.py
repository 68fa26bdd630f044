"""The base of every workload: what one declares, with defaults for all that most have in common."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from perfctl.errors import OutputError
from perfctl.model import Metric, Parameter, Reason, Resource, ResourceUsage, Sample, Scope
from perfctl.workloads.reading import require_output
from perfctl.workloads.relations import ERROR_LINE, Cap, Reading, Relation, check_report, error_line

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
    """A rate of data that must have crossed the client's interface or disks, and over what time."""

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
    """The size of what each thread reads or writes from end to end, again and again."""
    way: tuple[Parameter, ...]
    """The access pattern: only rates of the same pattern bound each other."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the measured command does to its host on purpose: it must not be taken for a disturbance."""

    threads: int | None
    """How many CPUs it can keep busy at once; None: unknown."""
    uses: frozenset[Resource]
    crossings: tuple[Crossing, ...] = ()
    memory: MemoryTraffic | None = None


@dataclass(frozen=True, slots=True)
class FilesSpec:
    """The files that a workload makes in its environment: a folder that is nobody else's."""

    folder: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FileToCopy:
    """A file that is copied from the controller into the environment before setup."""

    source: str
    """Its path on the controller, below the benchmark's `files_dir`."""
    path: str
    """Its path in the environment."""
    sha256: str
    """What it must have: a file that changed meanwhile is refused."""
    mode: int


_START_S = 0.1
"""What a command takes beyond the time that it measures: to start and to connect."""


class Workload(ABC):
    """One benchmark program. Pure: no method does I/O or reads a clock.

    A subclass has `name`, `programs`, `metrics`, `argv` and `read_samples`; the rest has defaults for a
    program that runs on one host, needs nothing prepared and keeps CPUs busy.
    """

    name: str
    """The word used in suites, e.g. 'sysbench'."""
    programs: tuple[str, ...]
    """The executables that it needs inside the environment; their sha256 is recorded."""
    packages: tuple[str, ...] = ()
    """The Debian packages that have them, for hosts and image; none for what every Debian has."""
    layer: str = ""
    """The image layer that has them, on top of the perf-tools image (docs/workloads.md); '': that image."""
    wheels: tuple[str, ...] = ()
    """Python packages that the layer has, each NAME==VERSION and of pure Python."""
    scope: Scope = "host"
    """'host', or 'pair' when it needs a client and a server."""
    parameter_specs: tuple[ParameterSpec, ...] = ()
    """All parameters, in the order of the documentation."""
    error_lines: re.Pattern[str] = ERROR_LINE
    """Lines by which the program reports that it failed: such a report is refused, whatever its exit code."""
    may_be_silent: bool = False
    """Whether all its metrics are of the command itself, so that an output of nothing is one."""
    definition: str = ""
    """The user's definition of it, as it is stored with a benchmark; '' for those of this package."""
    files_dir: str = ""
    """The folder on the controller that `files_to_copy` are in."""

    @property
    def version_argv(self) -> tuple[str, ...]:
        """A command that prints the tool's version."""
        return (self.programs[0], "--version")

    @property
    def provided_by(self) -> str:
        """The command that brings its programs to where they are missing."""
        return "perfctl run --build" if self.layer else "perfctl provision"

    def check(self, parameters: Parameters) -> None:
        """Raise UsageError for values that are each allowed but do not go together."""
        return

    @abstractmethod
    def metrics(self, parameters: Parameters) -> tuple[Metric, ...]:
        """Return the metrics that an invocation must report; exactly one is the headline.

        One that an environment cannot have may be left out there: the headline never.
        """

    @abstractmethod
    def argv(self, parameters: Parameters, *, server_address: str | None = None) -> Sequence[str]:
        """Return the measured command. Raises UsageError when a pair lacks the server's address."""

    def setup_argvs(self, parameters: Parameters) -> Sequence[Sequence[str]]:
        """Return the commands to run before, in the same environment, not measured (test files)."""
        return ()

    def folder_argvs(self, parameters: Parameters) -> Sequence[Sequence[str]]:
        """Return the commands that make its folder, before `files_to_copy` are copied there."""
        return ()

    def files_to_copy(self, parameters: Parameters) -> Sequence[FileToCopy]:
        """Return the files that are copied into the environment before the commands of setup."""
        return ()

    def cleanup_argvs(self, parameters: Parameters) -> Sequence[Sequence[str]]:
        """Return the commands to run after, whatever happened, also when one of `setup_argvs` failed."""
        return ()

    def files(self, parameters: Parameters) -> FilesSpec | None:
        """Return the files that setup and benchmark make; None: none that outlast the command."""
        return None

    def server(self, parameters: Parameters) -> ServerSpec | None:
        """Return the server of a pair; None for one host."""
        return None

    def expected_s(self, parameters: Parameters) -> float:
        """Return how long the measured command takes when all is well: `time_s` and a moment to start."""
        return float(parameters.get("time_s", 0)) + _START_S

    def load(self, parameters: Parameters) -> Load:
        """Return what it does to its host on purpose: it keeps `threads` CPUs busy."""
        return Load(int(parameters.get("threads", 1)), frozenset({"cpu"}))

    def relations(self, parameters: Parameters) -> Sequence[Relation]:
        """Return what the figures of a report must satisfy: a report that breaks one is refused."""
        return ()

    def caps(self, parameters: Parameters) -> Sequence[Cap]:
        """Return the largest values that the tool can report: a metric that reaches its cap is missing."""
        return ()

    def refusal(self, output: str) -> str:
        """Return why the environment refuses what the command needs; '' where it failed for another reason.

        `output` is all that it printed, of a command that exited with another code than 0 or has no report.
        """
        return ""

    @abstractmethod
    def read_samples(self, stdout: str, parameters: Parameters) -> list[Sample]:
        """Read the figures of an output that is not empty; `parse` checks them.

        Raises OutputError: unparsable, missing_metric, unit_mismatch.
        """

    def usage_samples(self, usage: ResourceUsage | None) -> list[Sample]:
        """Return the metrics that are of the command itself, whatever it printed; None: nothing is known.

        Raises OutputError (missing_metric).
        """
        return []

    def parse(self, stdout: str, parameters: Parameters) -> list[Sample]:
        """Return the samples that an output alone has. Raises OutputError as `read_output` does."""
        return list(self._read(stdout, parameters, "", list).samples)

    def read_output(
        self, stdout: str, parameters: Parameters, *, stderr: str = "", usage: ResourceUsage | None = None
    ) -> Reading:
        """Read an output, and what its command used, and check it against what is declared.

        Raises OutputError: no_output, unparsable, missing_metric, unit_mismatch, contradiction, tool_error.
        """
        return self._read(stdout, parameters, stderr, lambda: self.usage_samples(usage))

    def _read(
        self, stdout: str, parameters: Parameters, stderr: str, used: Callable[[], list[Sample]]
    ) -> Reading:
        if not self.may_be_silent:
            require_output(stdout)
        reported = error_line(self.error_lines, stdout, stderr)
        try:
            samples = [*self.read_samples(stdout, parameters), *used()]
        except OutputError as error:
            if reported:
                error.message = f"{error.message}; the tool reported: {reported}"
            raise
        if reported:
            raise OutputError(reported, reason=Reason.TOOL_ERROR, hint="the raw output is kept")
        return check_report(
            samples, self.metrics(parameters), self.relations(parameters), self.caps(parameters)
        )


class OpeningWorkload(Workload):
    """A workload that measures how its environment was opened; perfctl writes the output that it reads."""

    @abstractmethod
    def opening_report(self, opening_s: Mapping[str, float], command_s: float) -> str:
        """Return the report: `opening_s` of the environment's shell, and how long the command took."""
