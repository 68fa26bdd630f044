"""stress-ng 0.15: any one of its stressors, in bogus operations per second.

What an operation is depends on the stressor, and may change with the version: values of one stressor and one
version are compared, never those of two. The report is the YAML that it writes to standard output. Figures
that only some stressors have are left out: a table of a user's own (docs/workloads.md) reads those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from perfctl.errors import OutputError, UsageError
from perfctl.model import Direction, Metric, Reason, Sample
from perfctl.workloads.base import FilesSpec, Load, Parameters, ParameterSpec, Workload
from perfctl.workloads.reading import missing, named_values, to_sample, unparsable
from perfctl.workloads.relations import ERROR_LINE, Product, Relation, Total

_PARAMETERS = (
    ParameterSpec(
        "stressor", "cpu", "", "which one, e.g. cpu, matrix, switch, futex", pattern="[a-z][a-z0-9-]*"
    ),
    ParameterSpec(
        "method", "", "", "of a stressor that has several (--cpu-method); '': all", pattern="[a-z0-9-]*"
    ),
    ParameterSpec("threads", 1, "", "workers, each a process", minimum=1, maximum=4096),
    ParameterSpec("time_s", 10, "s", "how long to measure", minimum=1),
    ParameterSpec("directory", "/var/tmp", "", "where to make perfctl-stress-ng/", pattern="/.*"),
)

_NO_STRESSORS = ("all", "sequential", "random", "permute", "class", "pathological")
"""Options that would start many stressors."""

_RATE_STEP = 1e-6

_RATE = Metric(
    *("bogo_ops_per_second", "bogo-ops/s", Direction.HIGHER, "operations per second of real time"),
    headline=True,
    step=_RATE_STEP,
)
_CPU_RATE = Metric(
    *("bogo_ops_per_cpu_second", "bogo-ops/s", Direction.HIGHER),
    "operations per second of processor time; missing where that was too short to be counted",
    step=_RATE_STEP,
)
_OPS = Metric("bogo_ops", "bogo-ops", Direction.NEUTRAL, "operations of all workers", step=1)
_WALL = Metric("total_time", "s", Direction.NEUTRAL, "how long a worker ran, on average", step=_RATE_STEP)
_USER = Metric("user_time", "s", Direction.NEUTRAL, "processor time of all workers", step=_RATE_STEP)
_SYSTEM = Metric("system_time", "s", Direction.NEUTRAL, "that of the kernel for them", step=_RATE_STEP)

_KEYS = (
    (_RATE, "bogo-ops-per-second-real-time"),
    (_CPU_RATE, "bogo-ops-per-second-usr-sys-time"),
    (_OPS, "bogo-ops"),
    (_WALL, "wall-clock-time"),
    (_USER, "user-time"),
    (_SYSTEM, "system-time"),
)

_REPORT = "a YAML report of stress-ng"
_TOLERANCE = 1e-5

_BEGIN = re.compile(r"^metrics:\r?$", re.MULTILINE)
_END = re.compile(r"^\.\.\.\r?$", re.MULTILINE)
_SKIPPED = re.compile(
    r"^stress-ng: info:[ \t]+\[\d+\] (?P<why>[^\n]{0,100}(?:will be skipped|skipping stress)[^\n]{0,200})",
    re.MULTILINE,
)


class StressNg(Workload):
    """The stress tester of the distribution, which has some 300 stressors."""

    name = "stress-ng"
    programs = ("stress-ng",)
    packages = ("stress-ng",)
    layer = "stress"
    parameter_specs = _PARAMETERS
    error_lines = re.compile(
        rf"^stress-ng: (?:error|fail):[^\n]{{0,300}}|{ERROR_LINE.pattern}", ERROR_LINE.flags
    )

    def check(self, parameters: Parameters) -> None:
        """Raise UsageError for what would start more than one stressor."""
        if parameters["stressor"] in _NO_STRESSORS:
            raise UsageError(
                f"{parameters['stressor']} is no stressor of stress-ng",
                hint="name one; stress-ng --stressors lists them",
            )

    def metrics(self, parameters: Parameters) -> tuple[Metric, ...]:
        """Return what every stressor reports."""
        return tuple(metric for metric, _ in _KEYS)

    def argv(self, parameters: Parameters, *, server_address: str | None = None) -> Sequence[str]:
        """Return the measured command, with the same random numbers each time."""
        stressor, method = str(parameters["stressor"]), str(parameters["method"])
        return [
            *("stress-ng", f"--{stressor}", str(parameters["threads"])),
            *([f"--{stressor}-method", method] if method else []),
            *("--timeout", f"{parameters['time_s']}s", "--no-rand-seed", "--temp-path", _folder(parameters)),
            *("--metrics", "--yaml", "/dev/stdout"),
        ]

    def setup_argvs(self, parameters: Parameters) -> Sequence[Sequence[str]]:
        """Return the command that makes the folder for files of stressors."""
        return (["mkdir", "-p", _folder(parameters)],)

    def cleanup_argvs(self, parameters: Parameters) -> Sequence[Sequence[str]]:
        """Return the command that removes the folder with what a stressor that was ended left there."""
        return (["rm", "-rf", "--one-file-system", _folder(parameters)],)

    def files(self, parameters: Parameters) -> FilesSpec | None:
        """Return its folder; how much a stressor writes is not known."""
        return FilesSpec(_folder(parameters), 0)

    def load(self, parameters: Parameters) -> Load:
        """Return its workers, which may use anything."""
        return Load(int(parameters["threads"]), frozenset({"cpu", "storage"}))

    def relations(self, parameters: Parameters) -> Sequence[Relation]:
        """Return what makes the two rates."""
        return (
            Product((_RATE.name, _WALL.name), (_OPS.name,), 1, _TOLERANCE),
            Total(_OPS.name, _CPU_RATE.name, (_USER.name, _SYSTEM.name), (), _TOLERANCE),
        )

    def refusal(self, output: str) -> str:
        """Return why stress-ng skipped the stressor: a privilege, a device or a feature is missing."""
        found = _SKIPPED.search(output)
        return found["why"].strip() if found else ""

    def read_samples(self, stdout: str, parameters: Parameters) -> list[Sample]:
        """Read a report. Raises OutputError: unparsable, missing_metric."""
        values = _metrics_of(stdout)
        stressor = values.get("    - stressor", "").replace("_", "-")
        if stressor != parameters["stressor"]:
            raise OutputError(
                f"stress-ng ran the stressor {stressor!r:.80}, not {parameters['stressor']}",
                reason=Reason.UNPARSABLE,
            )
        samples = {metric: to_sample(metric, _value(values, key, metric)) for metric, key in _KEYS}
        if not samples[_OPS].value:
            raise missing("bogo-op", "none ended within the time limit; raise time_s")
        if not samples[_USER].value + samples[_SYSTEM].value:
            # The tool then prints a rate of 0, which was not measured.
            del samples[_CPU_RATE]
        return list(samples.values())


def _folder(parameters: Parameters) -> str:
    return f"{str(parameters['directory']).rstrip('/')}/perfctl-stress-ng"


def _metrics_of(stdout: str) -> Mapping[str, str]:
    """Return the lines between `metrics:` and the end of the document, by their keys."""
    ends = [found.start() for found in _END.finditer(stdout)]
    begins = [found.end() for found in _BEGIN.finditer(stdout)] if ends else []
    if len(begins) > 1 or len(ends) > 1:
        raise OutputError(f"the output has more than one of {_REPORT}", reason=Reason.UNPARSABLE)
    if not begins or ends[0] < begins[0]:
        raise unparsable(_REPORT, stdout)
    return named_values(stdout[begins[0] : ends[0]], ": ", _REPORT)


def _value(values: Mapping[str, str], key: str, metric: Metric) -> str:
    line = f"      {key}"
    if line not in values:
        raise missing(metric.name, f"no line {key}:")
    return values[line]
