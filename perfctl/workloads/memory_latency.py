"""memory-latency: how long it takes until a value of memory is there, by the size of what is read at random.

The program (perfctl-measure) walks through all cache lines of a working set in one circle of random order,
where each step must wait for the one before. Small working sets stay in a cache; large ones show memory, and
with small pages the translation of addresses, which is where a guest's second level of it shows.
"""

from __future__ import annotations

from collections.abc import Sequence

from perfctl.errors import OutputError, UsageError
from perfctl.model import Direction, Metric, Reason, Sample
from perfctl.workloads import measure
from perfctl.workloads.base import Parameters, ParameterSpec, Workload
from perfctl.workloads.reading import missing, to_sample
from perfctl.workloads.relations import Product, Relation

_LINE_BYTES = 64
_HUGE_PAGE_BYTES = 2 << 20

_PARAMETERS = (
    ParameterSpec(
        "working_set_bytes",
        64 << 20,
        "bytes",
        "what is read at random",
        minimum=2 * _LINE_BYTES,
        maximum=1 << 37,
    ),
    ParameterSpec("pages", "small", "", "huge: the kernel is asked for 2 MiB", choices=("small", "huge")),
    ParameterSpec("batches", 20, "", "how many times it is measured", minimum=1, maximum=200),
    ParameterSpec("time_s", 2.0, "s", "how long the batches take together", minimum=0.01, maximum=1000),
)

_US_PER_S = 1e6
_SETTLING = 1.6
_SLOW_NS_PER_LINE = 400
"""To make the circle and to walk through it once."""

_NO_HUGE_PAGES = "the kernel gives no huge pages"

_STEPS = Metric("steps", "steps", Direction.NEUTRAL, "steps of all batches", step=1)
_LATENCY = Metric(
    *("latency", "ns", Direction.LOWER, "time of a step that waits for the one before"),
    headline=True,
    step=1e-3,
)
_LEAST = Metric("least_latency", "ns", Direction.LOWER, "the same in the fastest batch", step=1e-3)


class MemoryLatency(Workload):
    """The latency of caches and memory."""

    name = "memory-latency"
    programs = (measure.PROGRAM,)
    parameter_specs = _PARAMETERS
    error_lines = measure.ERROR_LINES

    def check(self, parameters: Parameters) -> None:
        """Raise UsageError for huge pages that a working set does not fill."""
        if parameters["pages"] == "huge" and int(parameters["working_set_bytes"]) < _HUGE_PAGE_BYTES:
            raise UsageError(
                f"a working set of {parameters['working_set_bytes']} bytes does not fill a huge page",
                hint=f"working_set_bytes from {_HUGE_PAGE_BYTES}, or pages = 'small'",
            )

    def metrics(self, parameters: Parameters) -> tuple[Metric, ...]:
        """Return the latency, a sample for each batch."""
        return (_LATENCY, _LEAST, _STEPS, measure.ELAPSED)

    def argv(self, parameters: Parameters, *, server_address: str | None = None) -> Sequence[str]:
        """Return the measured command."""
        batch_us = max(1, round(float(parameters["time_s"]) / int(parameters["batches"]) * _US_PER_S))
        settings = [str(parameters[name]) for name in ("working_set_bytes", "pages", "batches")]
        return [measure.PROGRAM, "latency", *settings, str(batch_us)]

    def expected_s(self, parameters: Parameters) -> float:
        """Return the time of the batches, and of making the working set."""
        lines = int(parameters["working_set_bytes"]) / _LINE_BYTES
        made_s = lines * _SLOW_NS_PER_LINE / measure.NS_PER_S
        return super().expected_s(parameters) * _SETTLING + made_s

    def relations(self, parameters: Parameters) -> Sequence[Relation]:
        """Return that all steps at the least latency took no longer than all of it."""
        return (
            Product((_LEAST.name, _STEPS.name), (measure.ELAPSED.name,), measure.NS_PER_S, is_bound=True),
        )

    def refusal(self, output: str) -> str:
        """Return that the kernel has no huge pages."""
        return _NO_HUGE_PAGES if _NO_HUGE_PAGES in output else measure.refusal(output)

    def read_samples(self, stdout: str, parameters: Parameters) -> list[Sample]:
        """Read a report. Raises OutputError: unparsable, missing_metric, unit_mismatch, contradiction."""
        lines = measure.lines_of(stdout, "latency", f"{parameters['pages']} pages")
        batches = int(parameters["batches"])
        measure.require_number(lines, "working set", int(parameters["working_set_bytes"]), "bytes")
        measure.require_number(lines, "batches", batches)
        _require_pages(measure.number(lines, "in huge pages", "bytes"), parameters)
        steps = measure.number(lines, "steps per batch")
        if not steps:
            raise missing("step", "none was made")
        times_ns = measure.series_ns(lines, "batch", batches)
        latencies = [each / steps for each in times_ns]
        return [
            *measure.series(_LATENCY, latencies),
            to_sample(_LEAST, min(latencies)),
            to_sample(_STEPS, float(steps * batches)),
            measure.elapsed(lines, times_ns),
        ]


def _require_pages(huge_bytes: int, parameters: Parameters) -> None:
    """Raise OutputError when the working set was not in the pages that were asked for."""
    least = int(parameters["working_set_bytes"]) // 2 if parameters["pages"] == "huge" else 0
    if huge_bytes < least or (huge_bytes and not least):
        raise OutputError(
            f"{huge_bytes} bytes were in huge pages, and {parameters['pages']} ones were asked for",
            reason=Reason.UNPARSABLE,
        )
