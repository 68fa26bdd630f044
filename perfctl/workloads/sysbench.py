"""sysbench 1.0.20: cpu, memory, threads, mutex and fileio.

Every test but mutex runs for `time_s`; mutex runs until its work is done, so its time is its result.
The report of a test is a table (`_report`): one row per metric, with where its number is in the output.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import Literal

from perfctl.errors import OutputError, UsageError
from perfctl.model import Direction, Metric, Parameter, Reason, Resource, Sample
from perfctl.workloads.base import (
    Crossing,
    FilesSpec,
    Load,
    MemoryTraffic,
    Parameters,
    ParameterSpec,
    Workload,
)
from perfctl.workloads.reading import lines_with, missing, require_unit, to_sample, unparsable
from perfctl.workloads.relations import Ascending, Cap, Product, Relation, Total, percentile_bound

_TESTS = ("cpu", "memory", "threads", "mutex", "fileio")
_TIMED = ("cpu", "memory", "threads", "fileio")
_FILE_FLAGS = ("", "sync", "dsync", "direct")
_FILE_MODES = ("seqwr", "seqrewr", "seqrd", "rndrd", "rndwr", "rndrw")


def _specs_of(tests: tuple[str, ...], *specs: ParameterSpec) -> tuple[ParameterSpec, ...]:
    return tuple(replace(spec, tests=tests) for spec in specs)


_PARAMETERS = (
    ParameterSpec("test", "cpu", "", "the part of the machine", choices=_TESTS),
    ParameterSpec("threads", 1, "", "worker threads", minimum=1),
    *_specs_of(_TIMED, ParameterSpec("time_s", 10, "s", "how long to measure", minimum=1)),
    ParameterSpec("percentile", 95, "", "the latency percentile to report", minimum=1, maximum=100),
    ParameterSpec("rand_seed", 1, "", "seed of the random numbers; 0 takes the clock", minimum=0),
    *_specs_of(
        ("cpu",), ParameterSpec("cpu_max_prime", 10000, "", "an event finds primes up to this", minimum=3)
    ),
    *_specs_of(
        ("memory",),
        ParameterSpec("memory_block_bytes", 1024, "bytes", "block of an event, a power of two", minimum=1),
        ParameterSpec("memory_total_bytes", 0, "bytes", "end after so much; 0: after time_s", minimum=0),
        ParameterSpec(
            "memory_operation", "write", "", "what is done to the block", choices=("read", "write")
        ),
        ParameterSpec("memory_scope", "global", "", "a block for all or each", choices=("global", "local")),
        ParameterSpec("memory_access_mode", "seq", "", "sequential or random", choices=("seq", "rnd")),
        ParameterSpec("memory_hugetlb", False, "", "take the block from the HugeTLB pool"),
    ),
    *_specs_of(
        ("threads",),
        ParameterSpec("thread_yields", 1000, "", "lock, yield, unlock: rounds per event", minimum=1),
        ParameterSpec("thread_locks", 8, "", "mutexes that all threads share", minimum=1),
    ),
    *_specs_of(
        ("mutex",),
        ParameterSpec("mutex_num", 4096, "", "mutexes to choose from", minimum=1),
        ParameterSpec("mutex_locks", 50000, "", "locks that each thread takes", minimum=1),
        ParameterSpec("mutex_loops", 10000, "", "empty loops between two locks", minimum=0),
    ),
    *_specs_of(
        ("fileio",),
        ParameterSpec("file_test_mode", "rndrw", "", "what is done to the files", choices=_FILE_MODES),
        ParameterSpec("directory", "/var/tmp", "", "where to make perfctl-fileio/", pattern="/.*"),
        ParameterSpec("file_num", 128, "", "files", minimum=1),
        ParameterSpec("file_total_bytes", 2 << 30, "bytes", "size of all files together", minimum=1),
        ParameterSpec("file_block_bytes", 16384, "bytes", "size of one request", minimum=1),
        ParameterSpec("file_io_mode", "sync", "", "system calls used", choices=("sync", "async", "mmap")),
        ParameterSpec("file_async_backlog", 128, "", "requests queued per thread (async)", minimum=1),
        ParameterSpec("file_extra_flags", "", "", "open(2) flag; '': through the cache", choices=_FILE_FLAGS),
        ParameterSpec("file_fsync_freq", 100, "", "fsync after so many requests; 0: never", minimum=0),
        ParameterSpec("file_fsync_all", False, "", "fsync after every write"),
        ParameterSpec("file_fsync_end", True, "", "fsync when the time is over"),
        ParameterSpec("file_fsync_mode", "fsync", "", "which call", choices=("fsync", "fdatasync")),
        ParameterSpec("file_merged_requests", 0, "", "merge at most so many requests; 0: none", minimum=0),
        ParameterSpec("file_rw_ratio", 1.5, "", "reads per write (rndrw)", minimum=0),
    ),
)

_OPTION_OF = {
    "memory_block_bytes": "memory-block-size",
    "memory_total_bytes": "memory-total-size",
    "memory_operation": "memory-oper",
    "file_total_bytes": "file-total-size",
    "file_block_bytes": "file-block-size",
}
"""Where the tool's option has another name than ours."""

_NOT_OPTIONS = {"test", "time_s", "directory"}

# What they take is never given back: a line of a million digits or points would be tried in every way.
_NUMBER = r"(?P<value>-?(?:nan|inf|[\d.]++))"
_UNIT = r"(?P<unit>[^\s\d)]*+)"


@dataclass(frozen=True, slots=True)
class _Row:
    """Where a report has a metric: `head` matches the start of its line, `tail` number and unit after it."""

    metric: Metric
    head: str
    tail: str = _NUMBER
    unit_text: str = ""
    """The unit as the tool prints it; '' where it prints none."""
    text: str = ""
    """What is in its line, by which that is found; '' where `head` is no pattern but that very text."""


_TITLE = "sysbench 1."
_LATENCIES = re.compile(r"Latency \((?P<unit>[^)\n]*)\):[ \t\r]*$")


class Sysbench(Workload):
    """The multi-threaded benchmark tool of the distribution."""

    name = "sysbench"
    programs = ("sysbench",)
    packages = ("sysbench",)
    parameter_specs = _PARAMETERS

    def check(self, parameters: Parameters) -> None:
        """Raise UsageError for sizes that sysbench itself would refuse."""
        if parameters["test"] == "memory":
            block = int(parameters["memory_block_bytes"])
            if block & (block - 1):
                raise UsageError(
                    f"memory_block_bytes = {block} is not a power of two",
                    hint=f"the next ones are {1 << block.bit_length() - 1} and {1 << block.bit_length()}",
                )
        if parameters["test"] == "fileio":
            per_file = int(parameters["file_total_bytes"]) // int(parameters["file_num"])
            if per_file < int(parameters["file_block_bytes"]):
                raise UsageError(
                    f"a file of {per_file} bytes cannot hold a block of {parameters['file_block_bytes']}",
                    hint="each file has file_total_bytes / file_num bytes",
                )

    def metrics(self, parameters: Parameters) -> tuple[Metric, ...]:
        """Return the metrics of this test's report; the tool rounds times of events to 0.01 ms."""
        rows = tuple(row.metric for row in _report(parameters))
        return (_derived_rate(parameters), *rows) if parameters["test"] == "threads" else rows

    def argv(self, parameters: Parameters, *, server_address: str | None = None) -> Sequence[str]:
        """Return the measured command, always with both limits: time and number of events."""
        return _command(parameters, "run")

    def setup_argvs(self, parameters: Parameters) -> Sequence[Sequence[str]]:
        """Return the commands that create the test files and flush them to disk, not measured."""
        if parameters["test"] != "fileio":
            return ()
        folder = _folder(parameters)
        return (["mkdir", "-p", folder], _command(parameters, "prepare"), ["sync", "-f", folder])

    def cleanup_argvs(self, parameters: Parameters) -> Sequence[Sequence[str]]:
        """Return the commands that remove the test files and their folder, and nothing else."""
        if parameters["test"] != "fileio":
            return ()
        return (_command(parameters, "cleanup"), ["rmdir", _folder(parameters)])

    def files(self, parameters: Parameters) -> FilesSpec | None:
        """Return the test files of fileio."""
        if parameters["test"] != "fileio":
            return None
        return FilesSpec(_folder(parameters), int(parameters["file_total_bytes"]))

    def expected_s(self, parameters: Parameters) -> float:
        """Return `time_s` and a moment to start; for mutex about 0.5 ns for each empty loop."""
        if parameters["test"] == "mutex":
            loops = int(parameters["mutex_locks"]) * (int(parameters["mutex_loops"]) + 50)
            return 0.1 + loops * int(parameters["threads"]) * 0.5e-9
        return super().expected_s(parameters)

    def load(self, parameters: Parameters) -> Load:
        """Return its threads, and the resource that the test is about."""
        used: dict[str, Resource] = {"memory": "memory", "fileio": "storage"}
        uses = frozenset[Resource]({"cpu", used.get(str(parameters["test"]), "cpu")})
        return Load(int(parameters["threads"]), uses, _direct_io(parameters), _memory_traffic(parameters))

    def relations(self, parameters: Parameters) -> Sequence[Relation]:
        """Return how the rates, totals, times and latencies of a report hang together."""
        return (*_relations_of_rates(parameters), *_relations_of_latencies(int(parameters["percentile"])))

    def caps(self, parameters: Parameters) -> Sequence[Cap]:
        """Return the end of the histogram that the percentile is taken from."""
        return (Cap(f"latency_p{parameters['percentile']}", 100_000.0, "100 s or more"),)

    def read_samples(self, stdout: str, parameters: Parameters) -> list[Sample]:
        """Read a report. Raises OutputError: unparsable, missing_metric, unit_mismatch."""
        if not (stdout.startswith(_TITLE) or f"\n{_TITLE}" in stdout):
            raise unparsable("a report of sysbench 1.x", stdout)
        samples = [_read_row(row, stdout) for row in _report(parameters)]
        header = next(filter(None, map(_LATENCIES.match, lines_with(stdout, "Latency ("))), None)
        require_unit("latency", header["unit"] if header else "", "ms")
        by_name = {sample.metric: sample.value for sample in samples}
        if not by_name["total_events"] or not by_name["total_time"]:
            # The tool then prints zeros for times that were not measured.
            raise missing("event", "none ended within the time limit; raise time_s")
        if parameters["test"] == "threads":
            rate = by_name["total_events"] / by_name["total_time"]
            samples.insert(0, to_sample(_derived_rate(parameters), rate))
        return samples


def _command(parameters: Parameters, step: str) -> list[str]:
    """Return the command line of one step: prepare, run or cleanup."""
    test = str(parameters["test"])
    limits = {"time": 0, "events": parameters["threads"]}  # mutex: one event for each thread
    if test != "mutex":
        limits = {"time": parameters["time_s"], "events": 0}
    options: dict[str, Parameter] = dict(limits)
    for name, value in parameters.items():
        if name not in _NOT_OPTIONS:
            options[_OPTION_OF.get(name, name.replace("_", "-"))] = value
    argv = ["sysbench", test, *(f"--{name}={_option_value(value)}" for name, value in options.items()), step]
    # sysbench creates its files in the working directory and has no option for another one.
    return ["env", "-C", _folder(parameters), *argv] if test == "fileio" else argv


def _direct_io(parameters: Parameters) -> tuple[Crossing, ...]:
    # What is mapped goes through the page cache whatever the file was opened with.
    if parameters.get("file_extra_flags") != "direct" or parameters["file_io_mode"] == "mmap":
        return ()
    rates: tuple[tuple[str, Literal["read", "written"]], ...]
    rates = (("read_bandwidth", "read"), ("write_bandwidth", "written"))
    reported = {row.metric.name for row in _report(parameters)}
    return tuple(
        Crossing(rate, "total_time", direction, _folder(parameters))
        for rate, direction in rates
        if rate in reported
    )


def _memory_traffic(parameters: Parameters) -> MemoryTraffic | None:
    if parameters["test"] != "memory":
        return None
    # Threads that share one block also share what one of them has just loaded into a cache.
    names = ("memory_operation", "memory_scope", "memory_access_mode", "memory_hugetlb")
    return MemoryTraffic(
        rate="bandwidth",
        time="total_time",
        direction="read" if parameters["memory_operation"] == "read" else "written",
        block_bytes=int(parameters["memory_block_bytes"]),
        way=tuple(parameters[name] for name in names),
    )


def _option_value(value: Parameter) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _folder(parameters: Parameters) -> str:
    return f"{str(parameters['directory']).rstrip('/')}/perfctl-fileio"


@lru_cache(maxsize=64)
def _patterns_of(head: str, tail: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what the beginning of a row's line is like, and what the whole line."""
    return re.compile(rf"[ \t]*{head}"), re.compile(rf"[ \t]*{head}[ \t]*{tail}[ \t]*\r?\n")


def _read_row(row: _Row, stdout: str) -> Sample:
    """Return a row's sample. Only whole lines are read, so that no truncated number becomes a value."""
    head, line = _patterns_of(row.head, row.tail)
    # Two of them are one too many, and enough.
    found = list(islice(filter(head.match, lines_with(stdout, row.text or row.head)), 2))
    if not found:
        raise missing(row.metric.name, f"no line like {row.head!r}")
    whole = line.fullmatch(found[0])
    if len(found) > 1 or whole is None:
        problem = "is printed twice" if len(found) > 1 else "cannot be read"
        raise OutputError(f"{row.metric.name} {problem}", reason=Reason.UNPARSABLE)
    if row.unit_text:
        require_unit(row.metric.name, whole["unit"], row.unit_text)
    return to_sample(row.metric, whole["value"])


_TIME_STEP_S = 0.0001
_RATE_STEP = 0.01
"""The last decimals that a report has of times in seconds, and of rates and averages."""

_MIB = 1 << 20


def _derived_rate(parameters: Parameters) -> Metric:
    description = "total_events / total_time"
    resolution = _TIME_STEP_S / float(parameters["time_s"])
    return Metric(
        "events_per_second", "events/s", Direction.HIGHER, description, headline=True, resolution=resolution
    )


def _rate(name: str, unit: str, description: str, *, headline: bool = False) -> Metric:
    return Metric(name, unit, Direction.HIGHER, description, headline=headline, step=_RATE_STEP)


def _neutral(name: str, unit: str, description: str, step: float) -> Metric:
    return Metric(name, unit, Direction.NEUTRAL, description, step=step)


_BIN = 0.0182
"""Relative width of a histogram bin, rounded up: 1,024 bins from 1 us to 100 s."""


def _latency(name: str, description: str, *, resolution: float | None = None) -> Metric:
    text = f"{description}, rounded to 0.01 ms"
    return Metric(f"latency_{name}", "ms", Direction.LOWER, text, resolution=resolution, step=0.01)


def _report(parameters: Parameters) -> tuple[_Row, ...]:
    """Return the rows of a test's report."""
    test = parameters["test"]
    rows: tuple[_Row, ...] = ()
    if test == "cpu":
        rate = _rate("events_per_second", "events/s", "searches for primes per second", headline=True)
        rows = (_Row(rate, "events per second:"),)
    elif test == "memory":
        rows = _MEMORY_ROWS
    elif test == "fileio":
        rows = _fileio_rows(str(parameters["file_test_mode"]))
    return rows + _common_rows(int(parameters["percentile"]), by_work=test == "mutex")


_MEMORY_ROWS = (
    _Row(
        _rate("bandwidth", "MiB/s", "data moved per second", headline=True),
        r"\S+ \S+ transferred",
        rf"\( *{_NUMBER} (?P<unit>[^\s)]+)\)",
        "MiB/sec",
        " transferred",
    ),
    _Row(
        _rate("operations_per_second", "operations/s", "blocks per second"),
        "Total operations:",
        rf"\d+ \( *{_NUMBER} (?P<unit>[^)]+)\)",
        "per second",
    ),
    _Row(
        _neutral("transferred", "MiB", "data moved in all", _RATE_STEP),
        r"(?=\S+ \S+ transferred)",
        rf"{_NUMBER} (?P<unit>\S+) transferred.*",
        "MiB",
        " transferred",
    ),
)


@lru_cache(maxsize=64)
def _fileio_rows(mode: str) -> tuple[_Row, ...]:
    """Return the rows for the mode's operations; the tool prints 0 for the others."""
    reads, writes = mode in ("seqrd", "rndrd", "rndrw"), mode not in ("seqrd", "rndrd")
    unit = r"(?P<unit>[^\s:]+):"
    rows: tuple[_Row, ...] = ()
    if reads:
        bandwidth = _rate("read_bandwidth", "MiB/s", "data read per second", headline=True)
        rows += (
            _Row(bandwidth, "read,", f"{unit} *{_NUMBER}", "MiB/s"),
            _Row(_rate("reads_per_second", "reads/s", "read requests per second"), "reads/s:"),
        )
    if writes:
        bandwidth = _rate("write_bandwidth", "MiB/s", "data written per second", headline=not reads)
        rows += (
            _Row(bandwidth, "written,", f"{unit} *{_NUMBER}", "MiB/s"),
            _Row(_rate("writes_per_second", "writes/s", "write requests per second"), "writes/s:"),
            _Row(_rate("fsyncs_per_second", "fsyncs/s", "calls of fsync per second"), "fsyncs/s:"),
        )
    return rows


@lru_cache(maxsize=64)
def _common_rows(percentile: int, *, by_work: bool) -> tuple[_Row, ...]:
    """Return the rows that every report has; `by_work`: the total time is the result."""
    total_time = _neutral("total_time", "s", "from the first event to the last", _TIME_STEP_S)
    if by_work:
        description = "time that the work took"
        total_time = Metric("total_time", "s", Direction.LOWER, description, headline=True, step=_TIME_STEP_S)
    bins = f"{percentile}th percentile of an event's time, a bin of a histogram with steps of 1.8 %"
    return (
        _Row(total_time, "total time:", _NUMBER + _UNIT, "s"),
        _Row(_neutral("total_events", "events", "events that ended", 1), "total number of events:"),
        _Row(_latency("min", "the fastest event"), "min:"),
        _Row(_latency("avg", "mean time of an event"), "avg:"),
        _Row(_latency("max", "the slowest event"), "max:"),
        _Row(_latency(f"p{percentile}", bins, resolution=_BIN), f"{percentile}th percentile:"),
        _Row(_neutral("latency_sum", "ms", "time of all events of all threads", 0.01), "sum:"),
        _Row(
            _neutral("thread_events_avg", "events", "events per thread", 0.0001),
            r"events \(avg/stddev\):",
            rf"{_NUMBER}/\S+",
            text="events (avg/stddev):",
        ),
        _Row(
            _neutral("thread_events_stddev", "events", "how unequal the threads' shares are", 0.01),
            r"events \(avg/stddev\):",
            rf"[^\s/]+/{_NUMBER}",
            text="events (avg/stddev):",
        ),
        _Row(
            _neutral("thread_time_avg", "s", "time of a thread inside events", _TIME_STEP_S),
            r"execution time \(avg/stddev\):",
            rf"{_NUMBER}/\S+",
            text="execution time (avg/stddev):",
        ),
        _Row(
            _neutral("thread_time_stddev", "s", "how unequal the threads' times are", 0.01),
            r"execution time \(avg/stddev\):",
            rf"[^\s/]+/{_NUMBER}",
            text="execution time (avg/stddev):",
        ),
    )


_SLACK_S = 0.1
"""Rates are taken over a time that ends a little after the total time, on a busy host later."""

_TOLERANCE = 0.02


def _relations_of_rates(parameters: Parameters) -> tuple[Relation, ...]:
    """Return how the rates of a test follow from its totals."""
    test = parameters["test"]
    slack = {"total_time": _SLACK_S}
    if test == "cpu":
        return (Product(("events_per_second", "total_time"), ("total_events",), 1, _TOLERANCE, slack),)
    if test == "memory":
        block_mib = int(parameters["memory_block_bytes"]) / _MIB
        return (
            Product(("operations_per_second", "total_time"), ("total_events",), 1, _TOLERANCE, slack),
            Product(("bandwidth",), ("operations_per_second",), block_mib),
            Product(("transferred",), ("total_events",), block_mib),
        )
    return _relations_of_files(parameters) if test == "fileio" else ()


def _relations_of_files(parameters: Parameters) -> tuple[Relation, ...]:
    """Return how requests make up events and data; queued requests (async) end after their events."""
    reported = {row.metric.name for row in _report(parameters)}
    both = (("read_bandwidth", "reads_per_second"), ("write_bandwidth", "writes_per_second"))
    pairs = [pair for pair in both if pair[0] in reported]
    found: list[Relation] = []
    block_bytes = int(parameters["file_block_bytes"])
    file_bytes = int(parameters["file_total_bytes"]) // int(parameters["file_num"])
    if file_bytes % block_bytes == 0 and not parameters["file_merged_requests"]:
        found += [Product((data,), (requests,), block_bytes / _MIB) for data, requests in pairs]
    if parameters["file_io_mode"] != "async":
        # A periodic fsync is an event; those after each write and at the end are not.
        fsyncs = ("fsyncs_per_second",) if "fsyncs_per_second" in reported else ()
        requests = tuple(name for _, name in pairs)
        found.append(Total("total_events", "total_time", requests, fsyncs, _TOLERANCE, _SLACK_S))
    if "fsyncs_per_second" in reported:
        at_the_end = int(parameters["file_num"]) * (int(parameters["threads"]) + 1)
        slack = {"total_time": _SLACK_S, "total_events": at_the_end}
        left, right = ("fsyncs_per_second", "total_time"), ("total_events",)
        found.append(Product(left, right, 1, _TOLERANCE, slack, is_bound=True))
    return tuple(found)


def _relations_of_latencies(percentile: int) -> tuple[Relation, ...]:
    """Return how the latencies of any test hang together, and with its events."""
    name = f"latency_p{percentile}"
    return (
        Ascending(("latency_min", "latency_avg", "latency_max", "latency_sum")),
        Ascending(("latency_min", name, "latency_max")),
        *([percentile_bound(name, "latency_avg", percentile)] if percentile < 100 else []),
        Ascending(("thread_time_avg", "total_time")),
        Ascending(("thread_time_stddev", "total_time")),
        Ascending(("thread_events_stddev", "total_events")),
        Product(("latency_max",), ("total_time",), 1e3, _TOLERANCE, {"total_time": _SLACK_S}, is_bound=True),
        Product(("latency_avg", "total_events"), ("latency_sum",)),
        # Both are the number of threads: a total by its mean over the threads.
        Product(("total_events", "thread_time_avg"), ("thread_events_avg", "latency_sum"), 1e-3),
    )
