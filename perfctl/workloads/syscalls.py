"""syscalls: what single calls of the kernel cost, each by itself, with the loop around them subtracted.

The program is perfctl's own (perfctl-measure), the same file on hosts, in containers and in guests.
`clock-vdso` asks for the time as a C library does, `clock-syscall` by a call: an environment that lost the
first is seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from perfctl.errors import OutputError
from perfctl.model import Direction, Metric, Reason, Sample
from perfctl.workloads import measure
from perfctl.workloads.base import Parameters, ParameterSpec, Workload
from perfctl.workloads.reading import missing, to_sample
from perfctl.workloads.relations import Product, Relation

TESTS: Mapping[str, str] = {
    "getpid": "a call that does nothing",
    "read-byte": "read one byte of /dev/zero",
    "write-byte": "write one byte to /dev/null",
    "open-close": "open and close /dev/null",
    "stat": "what is known of /dev/null",
    "mmap-munmap": "map a page of memory and unmap it",
    "page-fault": "touch a new page of memory",
    "fork-exit": "start a process that ends at once, and wait for it",
    "fork-exec": "the same, with a small program in it",
    "signal": "send a signal to itself, and handle it",
    "pipe": "a byte to another process and back, by two pipes",
    "socketpair": "the same by a pair of sockets",
    "futex": "give the turn to another process and get it back",
    "clock-vdso": "read the clock as a C library does",
    "clock-syscall": "read the clock by a call of the kernel",
}
"""Test -> what one operation is."""

_PARAMETERS = (
    ParameterSpec("test", "getpid", "", "what is called", choices=tuple(TESTS)),
    ParameterSpec("batches", 20, "", "how many times it is measured", minimum=1, maximum=200),
    ParameterSpec("time_s", 2.0, "s", "how long the batches take together", minimum=0.01, maximum=1000),
)

_US_PER_S = 1e6
_SETTLING = 1.6
"""The time of finding how many calls fill a batch, and of the empty loops, as a multiple of the batches'."""

_CALLS = Metric("calls", "calls", Direction.NEUTRAL, "calls of all batches", step=1)
_LEAST = Metric("least_cost", "ns", Direction.LOWER, "the cost of a call in the fastest batch", step=1e-3)


class Syscalls(Workload):
    """Calls of the kernel, one kind at a time."""

    name = "syscalls"
    programs = (measure.PROGRAM,)
    parameter_specs = _PARAMETERS
    error_lines = measure.ERROR_LINES

    def metrics(self, parameters: Parameters) -> tuple[Metric, ...]:
        """Return the cost of a call, a sample for each batch."""
        description = f"{TESTS[str(parameters['test'])]}: time of one, without the loop's own"
        cost = Metric("cost", "ns", Direction.LOWER, description, headline=True, step=1e-3)
        return (cost, _LEAST, _CALLS, measure.ELAPSED)

    def argv(self, parameters: Parameters, *, server_address: str | None = None) -> Sequence[str]:
        """Return the measured command."""
        batch_us = max(1, round(float(parameters["time_s"]) / int(parameters["batches"]) * _US_PER_S))
        test, batches = str(parameters["test"]), str(parameters["batches"])
        return [measure.PROGRAM, "syscalls", test, batches, str(batch_us)]

    def expected_s(self, parameters: Parameters) -> float:
        """Return the time of the batches, of what comes before them, and a moment to start."""
        return super().expected_s(parameters) * _SETTLING

    def relations(self, parameters: Parameters) -> Sequence[Relation]:
        """Return that all calls at the least cost took no longer than all of it."""
        return (
            Product((_LEAST.name, _CALLS.name), (measure.ELAPSED.name,), measure.NS_PER_S, is_bound=True),
        )

    def refusal(self, output: str) -> str:
        """Return what the kernel refuses, as a seccomp profile may."""
        return measure.refusal(output)

    def read_samples(self, stdout: str, parameters: Parameters) -> list[Sample]:
        """Read a report. Raises OutputError: unparsable, missing_metric, unit_mismatch, contradiction."""
        lines = measure.lines_of(stdout, "syscalls", str(parameters["test"]))
        batches = int(parameters["batches"])
        measure.require_number(lines, "batches", batches)
        if lines.get("vdso") not in ("yes", "no"):
            raise missing("vdso", "the report does not say whether the kernel has one here")
        calls = measure.number(lines, "calls per batch")
        if not calls:
            raise missing("call", "none was made")
        whole, loops = _batches(lines, batches)
        # The shortest: in others something else had the CPU, which is not the loop's own cost.
        costs = [(each - min(loops)) / calls for each in whole]
        cost, least, made, _ = self.metrics(parameters)
        return [
            *measure.series(cost, costs),
            to_sample(least, min(costs)),
            to_sample(made, float(calls * batches)),
            measure.elapsed(lines, [*whole, *loops]),
        ]


_LOOP = ", an empty loop "


def _batches(lines: Mapping[str, str], count: int) -> tuple[list[int], list[int]]:
    """Return the times of the batches, and those of a loop of as many rounds without the call."""
    split: dict[str, str] = {}
    for name, value in lines.items():
        if name.startswith("batch "):
            whole, found, loop = value.partition(_LOOP)
            if not found:
                raise OutputError(f"{name} has no time of the loop", reason=Reason.UNPARSABLE)
            split |= {name: whole, f"loop {name[6:]}": loop}
    return measure.series_ns(split, "batch", count), measure.series_ns(split, "loop", count)
