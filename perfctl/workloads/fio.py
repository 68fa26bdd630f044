"""fio 3: reading, writing and both, in order and at random, by several ways to ask the kernel.

Its JSON names no units: a field's name or its documentation does (`bw_bytes`, `runtime` in ms, `lat_ns`). All
bandwidths become MiB/s and all times of a test seconds, as the other workloads have them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from perfctl.errors import OutputError, UsageError
from perfctl.model import Direction, Metric, Parameter, Reason, Sample
from perfctl.workloads.base import Crossing, FilesSpec, Load, Parameters, ParameterSpec, Workload
from perfctl.workloads.reading import at, json_report, missing, number_at
from perfctl.workloads.relations import (
    ERROR_LINE_OF_TEXT,
    Ascending,
    Cap,
    Product,
    Relation,
    percentile_bound,
)

_RANDOM = ("randread", "randwrite", "randrw")
_MIXED = ("randrw", "rw")
_TESTS = ("read", "write", "rw", *_RANDOM)
_WRITING = ("write", "rw", "randwrite", "randrw")
_ENGINES = ("psync", "libaio", "io_uring")

_PARAMETERS = (
    ParameterSpec("test", "randread", "", "what is done: rw and randrw do both", choices=_TESTS),
    ParameterSpec("threads", 1, "", "threads, each with a file of its own", minimum=1, maximum=1024),
    ParameterSpec("time_s", 10, "s", "how long to measure", minimum=1),
    ParameterSpec("engine", "psync", "", "how the kernel is asked", choices=_ENGINES),
    ParameterSpec(
        "queue_depth", 1, "", "requests that a thread has under way (not psync)", minimum=1, maximum=4096
    ),
    ParameterSpec("direct", True, "", "past the page cache (O_DIRECT)"),
    ParameterSpec("block_bytes", 4096, "bytes", "size of one request", minimum=1),
    ParameterSpec("directory", "/var/tmp", "", "where to make perfctl-fio/", pattern="/[^:]*"),
    ParameterSpec("file_total_bytes", 1 << 30, "bytes", "size of all files together", minimum=1),
    ParameterSpec(
        "read_percent", 50, "%", "share of reads among requests", minimum=1, maximum=99, tests=_MIXED
    ),
    ParameterSpec("fsync_freq", 0, "", "fsync after so many writes; 0: never", minimum=0, tests=_WRITING),
    ParameterSpec("rand_seed", 1, "", "seed of the random numbers", minimum=1),
)

_PERCENTILES: Mapping[str, float] = {"p50": 50, "p90": 90, "p99": 99, "p99_9": 99.9}
_BIN = 1 / 64
"""Relative width of a histogram bin: fio keeps six bits of a time."""
_LAST_BIN_NS = 17.1e9
"""All that took longer is in the last bin too."""

_MIB = 1 << 20
_NS_PER_S = 1e9
_MS_PER_S = 1000

_SLACK_S = 0.1
_TOLERANCE = 0.02
"""How far the end of the measurement is from the end of the last request."""

_REPORT = "a JSON report of fio"
_ERROR_LINES = re.compile(
    rf"^fio: [^\n]{{0,200}}\b(?:err|error)=[^\n]{{0,300}}|{ERROR_LINE_OF_TEXT.pattern}",
    ERROR_LINE_OF_TEXT.flags,
)
_NO_ENGINE = re.compile(
    r"^fio: [^\n]{0,200}engines/(?P<engine>\w+)\.c[^\n]{0,200}"
    r"error=(?P<error>Operation not permitted|Function not implemented)",
    re.MULTILINE,
)


class Fio(Workload):
    """The flexible I/O tester of the distribution."""

    name = "fio"
    programs = ("fio",)
    packages = ("fio",)
    layer = "storage"
    parameter_specs = _PARAMETERS
    error_lines = _ERROR_LINES

    def check(self, parameters: Parameters) -> None:
        """Raise UsageError for a queue that an engine does not have, and files without room for a block."""
        if parameters["engine"] == "psync" and int(parameters["queue_depth"]) > 1:
            raise UsageError(
                f"engine psync has no queue: queue_depth = {parameters['queue_depth']} is not possible",
                hint="engine = 'libaio' or 'io_uring', or several threads",
            )
        file_bytes, block_bytes = _file_bytes(parameters), int(parameters["block_bytes"])
        if file_bytes < block_bytes:
            raise UsageError(
                f"a file of {file_bytes} bytes cannot hold a block of {block_bytes}",
                hint="each thread's file has file_total_bytes / threads bytes",
            )
        if parameters["direct"] and block_bytes % 512:
            raise UsageError(
                f"direct I/O needs blocks of whole sectors: block_bytes = {block_bytes}",
                hint="a multiple of 512, or of 4096 on most disks; or direct = false",
            )

    def metrics(self, parameters: Parameters) -> tuple[Metric, ...]:
        """Return what is reported of reads, writes or both; the headline is of reads where there are."""
        return tuple(
            metric
            for place, way in enumerate(_ways(parameters))
            for metric, _, _ in _rows(way, str(parameters["test"]), is_first=place == 0)
        )

    def argv(self, parameters: Parameters, *, server_address: str | None = None) -> Sequence[str]:
        """Return the measured command, which ends by time alone."""
        test = str(parameters["test"])
        mixed = [f"--rwmixread={parameters['read_percent']}"] if test in _MIXED else []
        synced = [f"--fsync={parameters['fsync_freq']}"] if test in _WRITING else []
        return [
            *_command(parameters, test),
            *(f"--{name}={value}" for name, value in _settings(parameters).items()),
            *mixed,
            *synced,
            "--time_based",
            # Files begin outside the page cache, where their environment allows that.
            "--invalidate=1",
            f"--randseed={parameters['rand_seed']}",
            # What the program waits for, from its call until the data is there.
            "--clat_percentiles=0",
            "--lat_percentiles=1",
            f"--percentile_list={':'.join(f'{percent:g}' for percent in _PERCENTILES.values())}",
        ]

    def setup_argvs(self, parameters: Parameters) -> Sequence[Sequence[str]]:
        """Return the commands that write the files, whole and to the disk, not measured."""
        # To be read they are written through; to be written fio would only reserve their blocks.
        made = [*_command(parameters, "read"), "--create_only=1", "--fallocate=none"]
        return (["mkdir", "-p", _folder(parameters)], made, ["sync", "-f", _folder(parameters)])

    def cleanup_argvs(self, parameters: Parameters) -> Sequence[Sequence[str]]:
        """Return the commands that remove the files and their folder, and nothing else."""
        files = [f"{_folder(parameters)}/{_FILE}.{number}.0" for number in range(int(parameters["threads"]))]
        return (["rm", "-f", *files], ["rmdir", _folder(parameters)])

    def files(self, parameters: Parameters) -> FilesSpec | None:
        """Return its files."""
        return FilesSpec(_folder(parameters), int(parameters["file_total_bytes"]))

    def load(self, parameters: Parameters) -> Load:
        """Return its threads; what goes past the page cache must be seen at the disks."""
        crossed: Mapping[str, Literal["read", "written"]] = {"read": "read", "write": "written"}
        crossings = tuple(
            Crossing(f"{way}_bandwidth", f"{way}_time", crossed[way], _folder(parameters))
            for way in _ways(parameters)
        )
        is_counted = bool(parameters["direct"])
        return Load(
            int(parameters["threads"]), frozenset({"cpu", "storage"}), crossings if is_counted else ()
        )

    def relations(self, parameters: Parameters) -> Sequence[Relation]:
        """Return how rates, requests, times and latencies of each direction hang together."""
        under_way = int(parameters["threads"]) * int(parameters["queue_depth"])
        return tuple(
            relation
            for way in _ways(parameters)
            for relation in _relations(way, int(parameters["block_bytes"]), under_way)
        )

    def caps(self, parameters: Parameters) -> Sequence[Cap]:
        """Return the end of the histogram that percentiles are taken from."""
        return tuple(
            Cap(f"{way}_latency_{name}", _LAST_BIN_NS, "17 s or more")
            for way in _ways(parameters)
            for name in _PERCENTILES
        )

    def refusal(self, output: str) -> str:
        """Return that an engine is refused, as a container's seccomp profile does with io_uring."""
        found = _NO_ENGINE.search(output)
        if not found:
            return ""
        return (
            f"{found['engine']} is refused ({found['error']}): by the container's seccomp profile, or by"
            " kernel.io_uring_disabled (try: engine = 'libaio', or security of its own for the environment)"
        )

    def read_samples(self, stdout: str, parameters: Parameters) -> list[Sample]:
        """Read a report. Raises OutputError: unparsable, missing_metric, tool_error."""
        report = json_report(stdout, _REPORT)
        if not str(at(report, "fio version")).startswith("fio-3."):
            raise OutputError(f"this is not {_REPORT} 3", reason=Reason.UNPARSABLE)
        jobs = at(report, "jobs")
        if not isinstance(jobs, list) or len(jobs) != 1:
            raise OutputError("the report is not of one group of threads", reason=Reason.UNPARSABLE)
        _require_settings(at(jobs, 0, "job options"), parameters)
        error = at(jobs, 0, "error")
        if error is None:
            raise missing("error", "the report does not say whether there was one")
        if error:
            raise OutputError(f"fio ended with error {error!r:.80}", reason=Reason.TOOL_ERROR)
        samples: list[Sample] = []
        for place, way in enumerate(_ways(parameters)):
            _require_histogram(way, at(jobs, 0, way))
            for metric, path, divisor in _rows(way, str(parameters["test"]), is_first=place == 0):
                samples.append(number_at(at(jobs, 0, way), metric, *path, divisor=divisor))
        return samples


_FILE = "perfctl-fio-file"
"""fio calls its files so, with two numbers behind it, unless its working folder has a folder of that name."""


def _ways(parameters: Parameters) -> tuple[Literal["read", "write"], ...]:
    test = parameters["test"]
    if test in _MIXED:
        return ("read", "write")
    return ("write",) if test in _WRITING else ("read",)


def _folder(parameters: Parameters) -> str:
    return f"{str(parameters['directory']).rstrip('/')}/perfctl-fio"


def _file_bytes(parameters: Parameters) -> int:
    return int(parameters["file_total_bytes"]) // int(parameters["threads"])


def _command(parameters: Parameters, test: str) -> list[str]:
    """Return what the measured command and the one that makes its files have in common."""
    return [
        *("fio", f"--name={_FILE}", f"--directory={_folder(parameters)}", "--thread", "--group_reporting"),
        *("--output-format=json+", f"--rw={test}"),
        *(f"--{name}={value}" for name, value in _sizes(parameters).items()),
    ]


def _sizes(parameters: Parameters) -> Mapping[str, Parameter]:
    return {
        "size": _file_bytes(parameters),
        "numjobs": parameters["threads"],
        "bs": parameters["block_bytes"],
    }


def _settings(parameters: Parameters) -> Mapping[str, Parameter]:
    return {
        "ioengine": parameters["engine"],
        "iodepth": parameters["queue_depth"],
        "direct": int(bool(parameters["direct"])),
        "runtime": parameters["time_s"],
    }


def _require_settings(options: Any, parameters: Parameters) -> None:
    """Raise OutputError (unparsable) unless fio says that it ran with what was asked for."""
    for name, value in {"rw": parameters["test"], **_sizes(parameters), **_settings(parameters)}.items():
        ran = at(options, name)
        if ran is None:
            raise missing(name, "the report does not say with which it ran")
        if ran != str(value):
            raise OutputError(f"fio ran with {name} = {ran!r:.80}, not {value}", reason=Reason.UNPARSABLE)


def _require_histogram(way: str, report: Any) -> None:
    """Raise OutputError unless there was a request, and the histogram has all of them."""
    count, bins = at(report, "total_ios"), at(report, "lat_ns", "bins")
    if not count:
        raise missing(f"{way} request", "none ended within the time limit; raise time_s")
    values = list(bins.values()) if isinstance(bins, dict) else []
    counted = sum(value for value in values if isinstance(value, float))
    if counted != count:
        raise OutputError(
            f"the histogram of {way} latencies has {counted:.0f} requests, not {count}"[:300],
            reason=Reason.UNPARSABLE,
        )


_Row = tuple[Metric, tuple[str, ...], float]
"""A metric, where a direction's report has it, and what gives it in its unit."""


def _rows(way: Literal["read", "write"], test: str, *, is_first: bool) -> tuple[_Row, ...]:
    """Return the rows of one direction's report."""
    read = "read" if way == "read" else "written"
    requests = f"{way}s_per_second", f"{way}s/s", Direction.HIGHER, f"{way} requests per second"
    bandwidth = f"{way}_bandwidth", "MiB/s", Direction.HIGHER, f"data {read} per second"
    is_random = test in _RANDOM
    return (
        (Metric(*bandwidth, is_first and not is_random, step=1 / _MIB), ("bw_bytes",), _MIB),
        (Metric(*requests, is_first and is_random, step=1e-6), ("iops",), 1.0),
        *(_latency(way, *row) for row in _LATENCIES),
        (_neutral(f"{way}s", f"{way}s", f"{way} requests that ended", 1), ("total_ios",), 1.0),
        (_neutral(f"{way}_time", "s", f"how long was {read}", 1 / _MS_PER_S), ("runtime",), _MS_PER_S),
    )


_LATENCIES = (
    ("min", ("min",), Direction.LOWER, "the fastest one", 1.0),
    ("mean", ("mean",), Direction.LOWER, "mean", 1e-6),
    *(
        (name, ("percentile", f"{percent:.6f}"), Direction.LOWER, f"{percent:g}th percentile", 0.0)
        for name, percent in _PERCENTILES.items()
    ),
    ("max", ("max",), Direction.LOWER, "the slowest one", 1.0),
    ("stddev", ("stddev",), Direction.NEUTRAL, "standard deviation", 1e-6),
)


def _latency(way: str, name: str, path: tuple[str, ...], better: Direction, what: str, step: float) -> _Row:
    description = f"time of a {way} request from the call until its end: {what}"
    metric_name = f"{way}_latency_{name}"
    if step:
        metric = Metric(metric_name, "ns", better, description, step=step)
    else:
        bins = f"{description}, a bin of a histogram with steps of 1.6 %"
        metric = Metric(metric_name, "ns", better, bins, resolution=_BIN, step=1.0)
    return metric, ("lat_ns", *path), 1.0


def _neutral(name: str, unit: str, description: str, step: float) -> Metric:
    return Metric(name, unit, Direction.NEUTRAL, description, step=step)


def _relations(way: str, block_bytes: int, under_way: int) -> tuple[Relation, ...]:
    """Return how the figures of one direction hang together, with so many requests under way at most."""
    latency = f"{way}_latency_"
    slack = {f"{way}_time": _SLACK_S}
    time = (f"{way}_time",)
    return (
        Product((f"{way}_bandwidth",), (f"{way}s_per_second",), block_bytes / _MIB, 1e-6),
        Product((f"{way}s_per_second", *time), (f"{way}s",), 1, 1e-6),
        Ascending(tuple(latency + name for name in ("min", *_PERCENTILES, "max"))),
        Ascending((f"{latency}min", f"{latency}mean", f"{latency}max")),
        *(percentile_bound(latency + name, f"{latency}mean", each) for name, each in _PERCENTILES.items()),
        Ascending((f"{latency}stddev", f"{latency}max")),
        Product((f"{latency}max",), time, _NS_PER_S, _TOLERANCE, slack, is_bound=True),
        # As many requests are under way at a time as there is room for (Little's law).
        Product((f"{latency}mean", f"{way}s"), time, under_way * _NS_PER_S, _TOLERANCE, slack, is_bound=True),
    )
