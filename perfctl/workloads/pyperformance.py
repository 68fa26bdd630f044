"""pyperformance: a benchmark of Python's own suite, one worker process of pyperf or all of its processes.

    process   one worker process is one invocation: blocks are the unit of comparison, not pyperf's processes
    whole     pyperf starts its processes itself, as `pyperformance run -b NAME` has it; one value

The scripts are those of pyperformance, in the virtual environment of the image layer `python`; what they
print goes to standard error, the JSON of pyperf to standard output. Its own comparison is never used.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from perfctl.errors import OutputError, UsageError
from perfctl.model import Direction, Metric, Parameter, Reason, Sample
from perfctl.workloads.base import Parameters, ParameterSpec, Workload
from perfctl.workloads.pyperformance_suite import NEEDS, SCRIPTS, SEVERAL, VERSION
from perfctl.workloads.reading import missing, require_output, require_unit, to_sample, unparsable

PYTHON = "/opt/perfctl/python/bin/python3"
_SCRIPTS = "/opt/perfctl/python/benchmarks"
_START_S = 0.3
_DEFAULT_BENCHMARK = "nbody"
_PROCESSES = {"fast": 10, "default": 20, "rigorous": 40}
_VALUES = {"fast": 2, "default": 3, "rigorous": 3}
_LEAST_VALUE_S = 0.1
"""pyperf repeats a loop until a value takes so long."""
_TOLERANCE, _SLACK_S = 1.01, 0.01

# $1 the interpreter, $2 the script, $3 whether its workers are to have every variable; then its options.
_RUN = """
python=$1 script=$2 workers=$3
shift 3
[ -e "$script" ] || { echo "$script: not found" >&2; exit 127; }
if [ "$workers" = yes ]; then
  names=$(env | sed -n 's/^\\([A-Za-z_][A-Za-z0-9_]*\\)=.*/\\1/p' | tr '\\n' ',')
  set -- "$@" --inherit-environ "${names%,}"
fi
file=/dev/shm/perfctl-$$.json
"$python" "$script" "$@" -q -o "$file" >&2
code=$?
[ $code -ne 0 ] || cat "$file" || code=$?
rm -f "$file"
exit $code
"""


class Pyperformance(Workload):
    """A benchmark of pyperformance."""

    name = "pyperformance"
    programs = (PYTHON,)
    packages = ("python3",)
    layer = "python"
    wheels = (f"pyperformance=={VERSION}", "pyperf==2.10.0", "packaging==24.2")
    parameter_specs = (
        ParameterSpec("test", "process", "", "one worker, or pyperf's own run", choices=("process", "whole")),
        ParameterSpec("benchmark", _DEFAULT_BENCHMARK, "", "its name in pyperformance", pattern="[a-z0-9_]+"),
        ParameterSpec("values", 3, "", "samples of a process", minimum=1, maximum=1000, tests=("process",)),
        ParameterSpec("warmups", 1, "", "before them, not counted", minimum=0, tests=("process",)),
        ParameterSpec(
            "loops", 0, "", "of the benchmark in a value; 0: perfctl's table", minimum=0, tests=("process",)
        ),
        ParameterSpec(
            *("effort", "fast", "", "how many processes pyperf starts: 10, 20, 40"),
            choices=tuple(_PROCESSES),
            tests=("whole",),
        ),
    )

    @property
    def version_argv(self) -> tuple[str, ...]:
        """Return the command that prints the version of the suite."""
        return (PYTHON, "-m", "pyperformance", "--version")

    def check(self, parameters: Parameters) -> None:
        """Raise UsageError for a benchmark that pyperformance does not have, or that cannot be run here."""
        name = str(parameters["benchmark"])
        if name in SCRIPTS:
            return
        if name in NEEDS:
            raise UsageError(
                f"the benchmark {name} needs {NEEDS[name]}, which the layer python does not have",
                hint="perfctl runs those of the standard library alone: perfctl benchmarks pyperformance",
            )
        if name in SEVERAL:
            raise UsageError(
                f"the script of {name} reports several figures, and perfctl reads one",
                hint=f"there are: {', '.join(SCRIPTS)}",
            )
        close = get_close_matches(name, SCRIPTS, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(SCRIPTS)}"
        raise UsageError(f"pyperformance {VERSION} has no benchmark {name!r}", hint=hint)

    def metrics(self, parameters: Parameters) -> tuple[Metric, ...]:
        """Return the time of a loop, the memory of the largest process, and what was repeated."""
        what = (
            "time of a loop, or of a turn in it"
            if parameters["test"] == "process"
            else "median of the processes' mean times"
        )
        return (
            Metric("loop_time", "s", Direction.LOWER, what, headline=True, step=1e-12),
            Metric("max_rss", "bytes", Direction.NEUTRAL, "memory of the largest process", step=1024),
            Metric("loops", "loops", Direction.NEUTRAL, "loops in a value", step=1),
            Metric("processes", "processes", Direction.NEUTRAL, "worker processes with values", step=1),
        )

    def argv(self, parameters: Parameters, *, server_address: str | None = None) -> Sequence[str]:
        """Return the shell that runs the script and prints what pyperf has written."""
        script = SCRIPTS[str(parameters["benchmark"])]
        is_whole = parameters["test"] == "whole"
        options = [f"--{parameters['effort']}"] if is_whole else _worker_options(parameters)
        if options == ["--default"]:
            options = []
        path = f"{_SCRIPTS}/bm_{script.folder}/run_benchmark.py"
        workers = "yes" if is_whole else "no"
        return ["sh", "-c", _RUN, self.name, PYTHON, path, workers, *options, *script.options]

    def expected_s(self, parameters: Parameters) -> float:
        """Return the time of all loops and of the interpreters."""
        script = SCRIPTS[str(parameters["benchmark"])]
        if parameters["test"] == "process":
            count = _loops(parameters) * (int(parameters["values"]) + int(parameters["warmups"]))
            return _START_S + count * script.loop_s
        effort = str(parameters["effort"])
        each_s = (_VALUES[effort] + 1) * max(script.loop_s, _LEAST_VALUE_S * 1.5)
        return _START_S + (_PROCESSES[effort] + 1) * (_START_S + each_s)

    def read_samples(self, stdout: str, parameters: Parameters) -> list[Sample]:
        """Read pyperf's JSON. Raises OutputError as `read_output` does."""
        require_output(stdout)
        report = _report(stdout)
        try:
            return self._samples(report, parameters)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            message = f"this is not a report of pyperf: {type(error).__name__}: {error}"
            raise OutputError(message[:300], reason=Reason.UNPARSABLE) from error

    def _samples(self, report: Mapping[str, Any], parameters: Parameters) -> list[Sample]:
        if report["version"] != "1.0":
            raise OutputError(
                f"the report is of pyperf's format {report['version']!r:.40}, and not of 1.0",
                reason=Reason.UNPARSABLE,
                hint=f"perfctl reads pyperformance {VERSION} with pyperf 2.10",
            )
        (benchmark,) = report["benchmarks"]
        about = {**report["metadata"], **benchmark.get("metadata", {})}
        wanted = SCRIPTS[str(parameters["benchmark"])].reported
        if about["name"] != wanted:
            raise _contradiction(f"the report is of {about['name']!r:.80}, and not of {wanted!r}")
        require_unit("loop_time", str(about["unit"]), "second")
        runs = [run for run in benchmark["runs"] if run.get("values")]
        if not runs:
            raise missing("loop_time", "no process has values")
        loops = _number(about["loops"])
        for run in runs:
            _require_time(run, about, loops)
        times = [[_time_s(value) for value in run["values"]] for run in runs]
        loop_time, max_rss, loop_count, processes = self.metrics(parameters)
        rss = max(_number({**about, **run.get("metadata", {})}["mem_max_rss"]) for run in runs)
        return [
            *_values(loop_time, times, loops, parameters),
            to_sample(max_rss, rss),
            to_sample(loop_count, loops),
            to_sample(processes, len(runs)),
        ]


def _loops(parameters: Parameters) -> int:
    return int(parameters["loops"]) or SCRIPTS[str(parameters["benchmark"])].loops


def _worker_options(parameters: Parameters) -> list[str]:
    numbers = {"-l": _loops(parameters), "-w": parameters["warmups"], "-n": parameters["values"]}
    return ["--worker", *(word for name, value in numbers.items() for word in (name, str(value)))]


_BEGIN = '{"benchmarks":'


def _report(stdout: str) -> Mapping[str, Any]:
    """Return pyperf's JSON, which is one line. Raises OutputError unless there is exactly one, and whole."""
    start = 0 if stdout.startswith(_BEGIN) else stdout.find(f"\n{_BEGIN}") + 1
    if not stdout.startswith(_BEGIN, start):
        raise unparsable("a report of pyperf", stdout)
    end = stdout.find("\n", start)
    if end < 0:
        raise OutputError("the report of pyperf is cut off", reason=Reason.UNPARSABLE)
    if stdout.find(f"\n{_BEGIN}", end - 1) >= 0:
        raise OutputError("there are two reports of pyperf", reason=Reason.UNPARSABLE)
    try:
        found = json.loads(stdout[start:end])
    except (ValueError, RecursionError) as error:
        message = f"the report of pyperf is no JSON: {error}"
        raise OutputError(message[:300], reason=Reason.UNPARSABLE) from error
    if not isinstance(found, dict):
        raise unparsable("a report of pyperf", stdout)
    return found


def _values(
    metric: Metric, times: Sequence[Sequence[float]], loops: float, parameters: Mapping[str, Parameter]
) -> list[Sample]:
    """Return a sample for each value of a worker, or the one of a whole run."""
    if parameters["test"] == "whole":
        return [to_sample(metric, statistics.median(statistics.fmean(each) for each in times))]
    if len(times) != 1 or len(times[0]) != parameters["values"]:
        raise _contradiction(f"the report has {sum(map(len, times))} values, and not {parameters['values']}")
    if loops != _loops(parameters):
        raise _contradiction(f"the report is of {loops:g} loops, and not of {_loops(parameters)}")
    return [
        Sample(metric.name, to_sample(metric, value).value, metric.unit, index)
        for index, value in enumerate(times[0])
    ]


def _require_time(run: Mapping[str, Any], about: Mapping[str, Any], loops: float) -> None:
    """Raise OutputError where the values of a process do not fit into the time that it took."""
    warmups = sum(_number(count) * _number(value) for count, value in run.get("warmups") or ())
    turns = _number(about.get("inner_loops", 1))
    spent_s = turns * (warmups + loops * sum(_number(value) for value in run["values"]))
    duration_s = _number({**about, **run.get("metadata", {})}["duration"])
    if spent_s > duration_s * _TOLERANCE + _SLACK_S:
        raise _contradiction(
            f"the report contradicts itself: the values of a process take {spent_s:.3f} s, and it took"
            f" {duration_s:.3f} s"
        )


def _time_s(value: Any) -> float:
    """Return the time of a loop. Raises OutputError where it is 0."""
    if not _number(value):
        raise missing("loop_time", "a value reads 0 s")
    return _number(value)


def _number(value: Any) -> float:
    """Return a finite number from 0 up. Raises ValueError for anything else."""
    if type(value) not in (int, float) or not 0 <= value < 1e30:
        raise ValueError(f"{value!r:.40} is no number from 0 up")
    return float(value)


def _contradiction(message: str) -> OutputError:
    return OutputError(message, reason=Reason.CONTRADICTION, hint="run it again; the raw output is kept")
