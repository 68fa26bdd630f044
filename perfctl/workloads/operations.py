"""operations: what single operations of Python take. A set of perfctl's own, in the manner of pybench.

It is not pybench and its figures are not pybench's: `pybench` runs that, where you have it. A filter of
system calls is seen by `system_calls`: one operation is os.getppid, os.sched_yield and an os.pread of a byte.
`programs/operations.py` is what runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from perfctl.errors import OutputError
from perfctl.model import Direction, Metric, Reason, Sample
from perfctl.workloads.base import Parameters, ParameterSpec, Workload
from perfctl.workloads.programs import source
from perfctl.workloads.reading import require_output, to_sample
from perfctl.workloads.rounds import NS_PER_S, elapsed_ns, read_report, require_settings, series, times_ns

_OPERATIONS = {
    "function_calls": "a call of a function",
    "method_calls": "a call of a method",
    "dicts": "a key set and another read",
    "lists": "an item appended, with a deletion of a hundred now and then",
    "strings": "a text made of a number, and two methods of it",
    "exceptions": "an exception raised and caught",
    "lookups": "two attributes and a global name read",
    "loops": "a turn of a loop",
    "tuples": "a tuple made, unpacked and sliced",
    "system_calls": "os.getppid, os.sched_yield and os.pread of one byte",
}
_OPERATION_S = 3e-6
"""About the time of one of each on a small machine."""


class Operations(Workload):
    """The times of single operations of Python."""

    name = "operations"
    programs = ("python3",)
    packages = ("python3",)
    layer = "python"
    parameter_specs = (
        ParameterSpec("operations", 50_000, "", "of each kind in a round", minimum=1),
        ParameterSpec("rounds", 10, "", "each gives one sample", minimum=1, maximum=90),
    )

    def metrics(self, parameters: Parameters) -> tuple[Metric, ...]:
        """Return the time of one of each kind together, of each by itself, and of all rounds."""
        step = 1 / int(parameters["operations"])
        total = "one operation of each kind"
        return (
            Metric("total", "ns", Direction.LOWER, total, headline=True, step=step),
            *(Metric(name, "ns", Direction.LOWER, text, step=step) for name, text in _OPERATIONS.items()),
            Metric("elapsed_time", "s", Direction.NEUTRAL, "all rounds", step=1 / NS_PER_S),
        )

    def argv(self, parameters: Parameters, *, server_address: str | None = None) -> Sequence[str]:
        """Return the interpreter with the program on its command line."""
        sizes = (str(parameters["operations"]), str(parameters["rounds"]))
        return ["python3", "-c", source("operations"), *sizes]

    def expected_s(self, parameters: Parameters) -> float:
        """Return the time of all operations, and that of starting an interpreter."""
        return 0.1 + int(parameters["operations"]) * (int(parameters["rounds"]) + 1) * _OPERATION_S

    def read_samples(self, stdout: str, parameters: Parameters) -> list[Sample]:
        """Read the report. Raises OutputError: unparsable, missing_metric, unit_mismatch, contradiction."""
        require_output(stdout)
        head = "perfctl operations"
        lines = read_report(stdout, head, "a report of perfctl's operations")
        count, rounds = int(parameters["operations"]), int(parameters["rounds"])
        if lines[head] != str(count):
            raise OutputError(
                f"the report is of {lines[head]:.80} operations, and not of {count}",
                reason=Reason.CONTRADICTION,
            )
        require_settings(lines, parameters, ("rounds",))
        each_ns = {name: times_ns(lines, name, rounds) for name in _OPERATIONS}
        all_ns = elapsed_ns(lines, [ns for times in each_ns.values() for ns in times])
        total, *single, elapsed = self.metrics(parameters)
        samples = series(total, [sum(times) / count for times in zip(*each_ns.values(), strict=True)])
        for metric in single:
            samples += series(metric, [ns / count for ns in each_ns[metric.name]])
        return [*samples, to_sample(elapsed, all_ns / NS_PER_S)]
