"""hyperfine 1.15: any command of a user's, timed from its start to its end, again and again, without a shell.

Its times are wall time of the command alone; of user and system time it gives the means over all runs. A run
that exits with another code than 0 ends it, and so fails the invocation.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace

from perfctl.errors import OutputError, UsageError
from perfctl.model import Direction, Metric, Parameter, Reason, Sample
from perfctl.workloads.base import Parameters, ParameterSpec, Workload
from perfctl.workloads.reading import at, json_report, missing, number_at, to_sample

_PARAMETERS = (
    ParameterSpec("command", "true", "", "what is timed, quoted as for a shell; no shell runs it"),
    ParameterSpec("runs", 10, "", "how often", minimum=2, maximum=100_000),
    ParameterSpec("warmup", 3, "", "runs before that are not timed", minimum=0, maximum=100_000),
    ParameterSpec("prepare", "", "", "a command before each run, not timed; '': none"),
    ParameterSpec("run_s", 1.0, "s", "how long a run takes when all is well", minimum=0.0),
)

_STEP_S, _CPU_STEP_S = 1e-9, 1e-6
"""The kernel counts processor time in microseconds."""
_TIME = Metric("time", "s", Direction.LOWER, "wall time of each run", headline=True, step=_STEP_S)
_USER = Metric(
    "user_time", "s", Direction.NEUTRAL, "processor time in user mode, mean over runs", step=_CPU_STEP_S
)
_SYSTEM = Metric(
    "system_time", "s", Direction.NEUTRAL, "processor time in the kernel, mean over runs", step=_CPU_STEP_S
)

_REPORT = "a JSON report of hyperfine"
_ROUNDING = 1e-6
"""How far its mean may be from that of its times: it adds them up in another order."""


class Hyperfine(Workload):
    """The timer of whole commands."""

    name = "hyperfine"
    programs = ("hyperfine",)
    packages = ("hyperfine",)
    layer = "timing"
    parameter_specs = _PARAMETERS

    def check(self, parameters: Parameters) -> None:
        """Raise UsageError for a command that cannot be taken apart into words."""
        for name in ("command", "prepare"):
            _require_words(name, parameters[name])

    def metrics(self, parameters: Parameters) -> tuple[Metric, ...]:
        """Return the time of each run, and the means of user and system time."""
        return (_TIME, _USER, _SYSTEM)

    def argv(self, parameters: Parameters, *, server_address: str | None = None) -> Sequence[str]:
        """Return hyperfine's command: nothing is guessed, so the number of runs is always given."""
        prepare = ["--prepare", str(parameters["prepare"])] if parameters["prepare"] else []
        return [
            *("hyperfine", "--shell=none", "--style=none", f"--warmup={parameters['warmup']}"),
            *(f"--runs={parameters['runs']}", *prepare, "--export-json=/dev/stdout"),
            *("--", str(parameters["command"])),
        ]

    def expected_s(self, parameters: Parameters) -> float:
        """Return the time of all runs, warm-up included."""
        runs = int(parameters["runs"]) + int(parameters["warmup"])
        return super().expected_s(parameters) + runs * float(parameters["run_s"])

    def read_samples(self, stdout: str, parameters: Parameters) -> list[Sample]:
        """Read the report. Raises OutputError: unparsable, missing_metric, contradiction."""
        report = json_report(stdout, _REPORT)
        result = at(report, "results", 0)
        times, codes = at(result, "times"), at(result, "exit_codes")
        if not isinstance(times, list) or not times:
            raise missing(_TIME.name, "the report has no times of runs")
        if not isinstance(codes, list) or any(code != 0 for code in codes):
            raise OutputError(
                "a run did not exit with 0", reason=Reason.TOOL_ERROR, hint="the report is kept"
            )
        samples = [replace(_number(value), index=index) for index, value in enumerate(times)]
        _require_agreement(result, [sample.value for sample in samples], int(parameters["runs"]))
        return [*samples, number_at(result, _USER, "user"), number_at(result, _SYSTEM, "system")]


def _require_words(name: str, text: Parameter) -> None:
    try:
        words = shlex.split(str(text))
    except ValueError as error:
        raise UsageError(
            f"{name} = {text!r:.80}: {error}", hint="close the quote, or escape it with \\"
        ) from None
    if name == "command" and not words:
        raise UsageError("command is empty", hint="say what is to be timed")


def _number(value: object) -> Sample:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OutputError(f"a time is {value!r:.80}, no number", reason=Reason.UNPARSABLE)
    return to_sample(_TIME, value)


def _require_agreement(result: object, times: Sequence[float], runs: int) -> None:
    """Raise OutputError (contradiction) where the report's own figures do not go together."""
    if len(times) != runs:
        raise _contradiction(f"{runs} runs were asked for, and it has {len(times)} times")
    for name, found in (("min", min(times)), ("max", max(times)), ("mean", sum(times) / len(times))):
        told = number_at(result, replace(_TIME, name=name), name).value
        if abs(told - found) > _ROUNDING * max(told, found):
            raise _contradiction(f"its {name} is {told:g} s, and that of its times {found:g} s")


def _contradiction(what: str) -> OutputError:
    return OutputError(
        f"the report contradicts itself: {what}",
        reason=Reason.CONTRADICTION,
        hint="run it again; the raw output is kept",
    )
