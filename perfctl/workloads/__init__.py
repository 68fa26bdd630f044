"""Benchmark programs: how to call one, what metrics it has, how to read its output.

    suite --resolve_parameters()--> parameters --argv()--> a command ... its stdout --parse()--> samples

A workload is pure: no I/O, no clock. It is one file in this package, its captured outputs in tests/data/ and
one registration in `WORKLOADS`. docs/workloads.md shows how to write one.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from typing import Protocol

from perfctl.errors import UnknownName
from perfctl.workloads.base import (
    Crossing,
    FilesSpec,
    FileToCopy,
    Load,
    MemoryTraffic,
    OpeningWorkload,
    Parameters,
    ParameterSpec,
    ServerSpec,
    Workload,
)
from perfctl.workloads.defined import DefinedWorkload
from perfctl.workloads.definition import Definition
from perfctl.workloads.fio import Fio
from perfctl.workloads.hyperfine import Hyperfine
from perfctl.workloads.iperf3 import Iperf3
from perfctl.workloads.memory_latency import MemoryLatency
from perfctl.workloads.netperf import Netperf
from perfctl.workloads.operations import Operations
from perfctl.workloads.parameters import (
    applicable_specs,
    parameter_from_text,
    parameters_from_texts,
    resolve_parameters,
)
from perfctl.workloads.pi import Pi
from perfctl.workloads.pyperformance import Pyperformance
from perfctl.workloads.startup import Startup
from perfctl.workloads.stream import Stream
from perfctl.workloads.stress_ng import StressNg
from perfctl.workloads.sysbench import Sysbench
from perfctl.workloads.syscalls import Syscalls

_BUILT_IN: tuple[Workload, ...] = (
    *(Sysbench(), Netperf(), Startup(), Fio(), Iperf3(), StressNg(), Hyperfine()),
    *(Syscalls(), Stream(), MemoryLatency(), Pi(), Operations(), Pyperformance()),
)

WORKLOADS: dict[str, Workload] = {item.name: item for item in _BUILT_IN}
"""Every workload of this package by its name, in the order of the documentation."""


class OfWorkload(Protocol):
    """A benchmark, as far as it says of which workload it is."""

    @property
    def workload(self) -> str:
        """The workload's name."""
        ...

    @property
    def definition(self) -> str:
        """The user's definition of it as JSON; '' for one of this package."""
        ...


def workload_of(benchmark: OfWorkload) -> Workload:
    """Return the workload of a benchmark, which may be one that a user defined. Raises UnknownName."""
    if benchmark.definition:
        return _defined(benchmark.definition)
    return workload(benchmark.workload)


def known_workload(benchmark: OfWorkload) -> Workload | None:
    """Return the workload of a stored benchmark, None where this version of perfctl has none of that name."""
    return workload_of(benchmark) if benchmark.definition or benchmark.workload in WORKLOADS else None


@cache
def _defined(definition: str) -> Workload:
    return DefinedWorkload(Definition.from_json(definition))


def workload(name: str) -> Workload:
    """Return the workload of that name. Raises UnknownName, with the names that come close."""
    if name in WORKLOADS:
        return WORKLOADS[name]
    close = get_close_matches(name, WORKLOADS, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(WORKLOADS)}"
    raise UnknownName(f"there is no workload {name!r}", hint=hint)


__all__ = [
    "WORKLOADS",
    "Crossing",
    "DefinedWorkload",
    "FileToCopy",
    "FilesSpec",
    "Load",
    "MemoryTraffic",
    "OpeningWorkload",
    "ParameterSpec",
    "Parameters",
    "ServerSpec",
    "Workload",
    "applicable_specs",
    "known_workload",
    "parameter_from_text",
    "parameters_from_texts",
    "resolve_parameters",
    "workload",
    "workload_of",
]
