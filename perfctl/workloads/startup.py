"""startup: how long it takes until the first command in a new environment has ended.

The measured command is `true`, which prints nothing; perfctl writes the report itself, from the times of its
jobs on the host's own clock, so that the time of the controller and the network between them is left out.

    steps: console kernel ssh
    console: 0.870000000 s         from the start of opening, as the environment reports it
    kernel: 2.041000000 s
    ssh: 4.377000000 s
    first command: 0.093000000 s   by itself
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from perfctl.model import Direction, Metric, Sample
from perfctl.workloads.base import Load, OpeningWorkload, Parameters
from perfctl.workloads.reading import missing, named_values, require_unit, to_sample, unparsable
from perfctl.workloads.relations import Ascending, Relation


def _seconds(name: str, description: str, step: float, *, headline: bool = False) -> Metric:
    return Metric(name, "s", Direction.LOWER, description, headline, show_difference=True, step=step)


_STEP_S = 1e-9
_GUEST_STEP_S = 0.01
"""What the host reads on its own clock, and what it reads of a guest."""


_READY = _seconds(
    "ready", "from the start of opening until the first command has ended", _STEP_S, headline=True
)
_STEPS = (
    _seconds("console", "until the guest has printed something (vm)", _GUEST_STEP_S),
    _seconds("kernel", "until the guest's kernel has started its first program (vm)", _GUEST_STEP_S),
    _seconds("ssh", "until the guest has answered by ssh (vm)", _GUEST_STEP_S),
    _seconds("made", "until the engine has started the container (container)", _STEP_S),
)
_HEAD, _COMMAND = "steps", "first command"
_REPORT = "a report of an opening"


class Startup(OpeningWorkload):
    """The time to make an environment and run a first command in it."""

    name = "startup"
    programs = ("true",)

    def metrics(self, parameters: Parameters) -> tuple[Metric, ...]:
        """Return `ready` and all steps; an environment reports only the steps that it has."""
        return (_READY, *_STEPS)

    def argv(self, parameters: Parameters, *, server_address: str | None = None) -> Sequence[str]:
        """Return the first command."""
        return ["true"]

    def load(self, parameters: Parameters) -> Load:
        """Return CPU and storage, with an unknown number of threads: the opening is measured as well."""
        return Load(None, frozenset({"cpu", "storage"}))

    def opening_report(self, opening_s: Mapping[str, float], command_s: float) -> str:
        """Return what `parse` reads: the steps of the opening and the first command, in seconds."""
        lines = [f"{_HEAD}: {' '.join(opening_s)}".rstrip()]
        lines += [f"{step}: {seconds:.9f} s" for step, seconds in opening_s.items()]
        return "\n".join([*lines, f"{_COMMAND}: {command_s:.9f} s", ""])

    def relations(self, parameters: Parameters) -> Sequence[Relation]:
        """Return the order of the steps."""
        return (Ascending((*(metric.name for metric in _STEPS), _READY.name)),)

    def read_samples(self, stdout: str, parameters: Parameters) -> list[Sample]:
        """Read the report. Raises OutputError: unparsable, missing_metric, unit_mismatch."""
        lines = _read_lines(stdout)
        steps = lines[_HEAD].split()
        times_s = {step: _time_s(lines, step) for step in [*steps, _COMMAND]}
        # Each step is counted from the start of opening, and the command comes after the last.
        ready_s = max((times_s[step] for step in steps), default=0.0) + times_s[_COMMAND]
        seen = [to_sample(metric, times_s[metric.name]) for metric in _STEPS if metric.name in steps]
        return [to_sample(_READY, ready_s), *seen]


def _read_lines(stdout: str) -> Mapping[str, str]:
    """Return NAME: VALUE lines as a mapping; a truncated last line is left out."""
    lines = named_values(stdout, ":", _REPORT)
    if _HEAD not in lines:
        raise unparsable(_REPORT, stdout)
    return lines


def _time_s(lines: Mapping[str, str], name: str) -> float:
    if name not in lines:
        raise missing(f"{name:.80}", "no line of it")
    number, _, unit = lines[name].partition(" ")
    require_unit(name, unit, "s")
    return to_sample(_READY, number).value
