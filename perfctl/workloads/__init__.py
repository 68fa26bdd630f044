"""Benchmark programs: how to call one, what metrics it has, how to read its output.

    suite --resolve_parameters()--> parameters --argv()--> a command ... its stdout --parse()--> samples

A workload is pure: no I/O, no clock. It is one file in this package, its captured outputs in tests/data/ and
one registration in `WORKLOADS`. docs/workloads.md shows how to write one.
"""

from __future__ import annotations

from difflib import get_close_matches

from perfctl.errors import UnknownName
from perfctl.workloads.base import (
    Crossing,
    FilesSpec,
    Load,
    MemoryTraffic,
    OpeningWorkload,
    Parameters,
    ParameterSpec,
    ServerSpec,
    Workload,
)
from perfctl.workloads.netperf import Netperf
from perfctl.workloads.parameters import applicable_specs, parameter_from_text, resolve_parameters
from perfctl.workloads.startup import Startup
from perfctl.workloads.sysbench import Sysbench

_BUILT_IN: tuple[Workload, ...] = (Sysbench(), Netperf(), Startup())

WORKLOADS: dict[str, Workload] = {item.name: item for item in _BUILT_IN}
"""Every workload by its name, in the order of the documentation."""


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
    "FilesSpec",
    "Load",
    "MemoryTraffic",
    "OpeningWorkload",
    "ParameterSpec",
    "Parameters",
    "ServerSpec",
    "Workload",
    "applicable_specs",
    "parameter_from_text",
    "resolve_parameters",
    "workload",
]
