"""stream: how fast memory is read and written in order, by the four kernels of McCalpin's STREAM.

Bytes are counted as STREAM does: those that the program reads and writes, not what a cache fetches to write
to it. The program (perfctl-measure) refuses arrays of less than four times the last-level cache, checks what
it computed and does not count the first repetition. Its workers are processes with arrays of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

from perfctl.errors import OutputError
from perfctl.model import Direction, Metric, Reason, Sample
from perfctl.workloads import measure
from perfctl.workloads.base import Load, Parameters, ParameterSpec, Workload
from perfctl.workloads.reading import missing, to_sample
from perfctl.workloads.relations import Product, Relation

_ARRAYS = {"triad": 3, "copy": 2, "scale": 2, "add": 3}
"""Kernel -> the arrays that it reads or writes: 8 bytes of each for an element."""
_WHAT = {"copy": "c = a", "scale": "b = 3 c", "add": "c = a + b", "triad": "a = b + 3 c"}

_CACHE_FOLDER = "/sys/devices/system/cpu/cpu0/cache"

_PARAMETERS = (
    ParameterSpec("threads", 1, "", "workers, each a process", minimum=1, maximum=1024),
    ParameterSpec(
        "array_bytes", 0, "bytes", "one of three arrays; 0: four times the last-level cache", minimum=0
    ),
    ParameterSpec("repetitions", 20, "", "how often each kernel runs and is counted", minimum=1, maximum=200),
)

_SLOW_BYTES_PER_S = 5e9
_LIKELY_ARRAY_BYTES = 256 << 20
"""For an estimate of the time where the size of the arrays is not known before."""


def _bandwidth(kernel: str) -> Metric:
    what = f"{_WHAT[kernel]}: bytes read and written per second"
    return Metric(kernel, "MB/s", Direction.HIGHER, what, headline=kernel == "triad", step=1e-3)


_METRICS = tuple(_bandwidth(kernel) for kernel in _ARRAYS)
_TRIAD_BEST = Metric("triad_best", "MB/s", Direction.HIGHER, "the fastest repetition of triad", step=1e-3)
_TRIAD_BYTES = Metric("triad_bytes", "bytes", Direction.NEUTRAL, "what one repetition of triad moves", step=1)
_ARRAY_BYTES = Metric("array_bytes", "bytes", Direction.NEUTRAL, "the size of one array", step=1)
_BYTES_PER_MB = 1e6


class Stream(Workload):
    """The bandwidth of memory, in order."""

    name = "stream"
    programs = (measure.PROGRAM,)
    parameter_specs = _PARAMETERS
    error_lines = measure.ERROR_LINES

    def metrics(self, parameters: Parameters) -> tuple[Metric, ...]:
        """Return the four bandwidths, a sample for each repetition, in MB (10^6 bytes) as STREAM has them."""
        return (*_METRICS, _TRIAD_BEST, _TRIAD_BYTES, _ARRAY_BYTES, measure.ELAPSED)

    def argv(self, parameters: Parameters, *, server_address: str | None = None) -> Sequence[str]:
        """Return the measured command."""
        settings = [str(parameters[name]) for name in ("threads", "array_bytes", "repetitions")]
        return [measure.PROGRAM, "stream", *settings, _CACHE_FOLDER]

    def expected_s(self, parameters: Parameters) -> float:
        """Return the time at 5 GB per second, with the first repetition and the making of the arrays."""
        array_bytes = int(parameters["array_bytes"]) or _LIKELY_ARRAY_BYTES
        moved = sum(_ARRAYS.values()) * array_bytes * (int(parameters["repetitions"]) + 2)
        return super().expected_s(parameters) + moved / _SLOW_BYTES_PER_S

    def load(self, parameters: Parameters) -> Load:
        """Return its workers, and triad's traffic."""
        threads = int(parameters["threads"])
        return Load(threads, frozenset({"cpu"}))

    def relations(self, parameters: Parameters) -> Sequence[Relation]:
        """Return what triad moves, and that all its repetitions at best took no longer than all of it."""
        repetitions = int(parameters["repetitions"])
        return (
            Product((_TRIAD_BYTES.name,), (_ARRAY_BYTES.name,), 3),
            Product(
                (_TRIAD_BYTES.name,),
                (_TRIAD_BEST.name, measure.ELAPSED.name),
                _BYTES_PER_MB / repetitions,
                is_bound=True,
            ),
        )

    def read_samples(self, stdout: str, parameters: Parameters) -> list[Sample]:
        """Read a report. Raises OutputError: unparsable, missing_metric, unit_mismatch, contradiction."""
        lines = measure.lines_of(stdout, "stream", f"{parameters['threads']} workers")
        repetitions = int(parameters["repetitions"])
        measure.require_number(lines, "repetitions", repetitions)
        array_bytes, cache_bytes = (measure.number(lines, n, "bytes") for n in ("array", "last-level cache"))
        _require_size(array_bytes, cache_bytes, parameters)
        samples: list[Sample] = []
        all_ns: list[int] = []
        for metric in _METRICS:
            moves = _ARRAYS[metric.name] * array_bytes
            measure.require_number(lines, f"{metric.name} moves", moves, "bytes")
            times_ns = measure.series_ns(lines, metric.name, repetitions)
            if 0 in times_ns:
                raise missing(metric.name, "a repetition took no time")
            all_ns += times_ns
            samples += measure.series(metric, [moves / each * 1e3 for each in times_ns])
        best = max(sample.value for sample in samples if sample.metric == "triad")
        return [
            *samples,
            to_sample(_TRIAD_BEST, best),
            to_sample(_TRIAD_BYTES, float(_ARRAYS["triad"] * array_bytes)),
            to_sample(_ARRAY_BYTES, float(array_bytes)),
            measure.elapsed(lines, all_ns),
        ]


def _require_size(array_bytes: int, cache_bytes: int, parameters: Parameters) -> None:
    """Raise OutputError for arrays of another size than asked for, or too small to measure memory."""
    # Each worker has a whole number of elements.
    rest = 8 * int(parameters["threads"])
    asked = int(parameters["array_bytes"]) or 4 * cache_bytes
    if not asked - rest < array_bytes <= asked:
        raise OutputError(f"its arrays have {array_bytes} bytes, not {asked}", reason=Reason.UNPARSABLE)
    if array_bytes + rest < 4 * cache_bytes:
        raise OutputError(
            f"arrays of {array_bytes} bytes are less than four times the last-level cache of {cache_bytes}",
            reason=Reason.UNPARSABLE,
            hint="the cache was measured; raise array_bytes",
        )
