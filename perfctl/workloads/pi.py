"""pi: estimate pi by random points, in a loop of Python or in numpy's vectors.

The study "Faster Python in Docker" measured what a container's security costs by such a program: 10 rounds of
10 repetitions. A round gives one sample. `programs/pi.py` is what runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from perfctl.errors import OutputError
from perfctl.model import Direction, Metric, Reason, Sample
from perfctl.workloads.base import Parameters, ParameterSpec, Workload
from perfctl.workloads.programs import source
from perfctl.workloads.reading import missing, require_output, to_sample
from perfctl.workloads.rounds import (
    NS_PER_S,
    elapsed_ns,
    read_report,
    require_settings,
    series,
    times_ns,
)

_NS_PER_MS = 1e6
_STEP_MS = 1e-6
"""A nanosecond; it is less where a round has many repetitions."""
_POINT_S = {"loop": 150e-9, "numpy": 25e-9}
"""About the time of a point on a small machine."""
_DEVIATIONS = 6.0
"""Of a correct estimate one in a billion is further from pi than so many standard deviations."""


class Pi(Workload):
    """The time of an estimate of pi."""

    name = "pi"
    programs = ("python3",)
    packages = ("python3", "python3-numpy")
    layer = "python"
    parameter_specs = (
        ParameterSpec("test", "loop", "", "one point after the other, or vectors", choices=("loop", "numpy")),
        ParameterSpec("points", 100_000, "", "random points of an estimate", minimum=100),
        ParameterSpec("repetitions", 10, "", "estimates in a round", minimum=1),
        ParameterSpec("rounds", 10, "", "each gives one sample", minimum=1, maximum=500),
        ParameterSpec("seed", 1, "", "of the random points: every environment has the same", minimum=0),
    )

    def metrics(self, parameters: Parameters) -> tuple[Metric, ...]:
        """Return the time of an estimate, the estimate, and the time of all."""
        time = "mean time of an estimate in a round"
        return (
            Metric("estimate_time", "ms", Direction.LOWER, time, headline=True, step=_STEP_MS),
            Metric("estimate", "pi", Direction.NEUTRAL, "what pi was found to be", step=1e-6),
            Metric("elapsed_time", "s", Direction.NEUTRAL, "all rounds", step=1 / NS_PER_S),
        )

    def argv(self, parameters: Parameters, *, server_address: str | None = None) -> Sequence[str]:
        """Return the interpreter with the program on its command line."""
        sizes = (str(parameters[name]) for name in ("points", "repetitions", "rounds", "seed"))
        return ["python3", "-c", source("pi"), str(parameters["test"]), *sizes]

    def expected_s(self, parameters: Parameters) -> float:
        """Return the time of all points, and that of starting an interpreter and numpy."""
        count = int(parameters["rounds"]) * int(parameters["repetitions"]) + 1
        return 0.3 + count * int(parameters["points"]) * _POINT_S[str(parameters["test"])]

    def read_samples(self, stdout: str, parameters: Parameters) -> list[Sample]:
        """Read the report. Raises OutputError, also for what is no estimate of pi (contradiction)."""
        require_output(stdout)
        lines = read_report(stdout, "perfctl pi", "a report of perfctl's pi")
        if lines["perfctl pi"] != parameters["test"]:
            raise OutputError(
                f"the report is of {lines['perfctl pi']:.80}, and not of {parameters['test']}",
                reason=Reason.CONTRADICTION,
            )
        require_settings(lines, parameters, ("points", "repetitions", "rounds"))
        rounds, repetitions = int(parameters["rounds"]), int(parameters["repetitions"])
        each_ns = times_ns(lines, "round", rounds)
        all_ns = elapsed_ns(lines, each_ns)
        time, estimate, elapsed = self.metrics(parameters)
        if "estimate" not in lines:
            raise missing("estimate", "no line of it")
        found = to_sample(estimate, lines["estimate"])
        _require_pi(found.value, int(parameters["points"]) * (rounds * repetitions + 1))
        return [
            *series(time, [ns / repetitions / _NS_PER_MS for ns in each_ns]),
            found,
            to_sample(elapsed, all_ns / NS_PER_S),
        ]


def _require_pi(estimate: float, points: int) -> None:
    """Raise OutputError unless the estimate is as near to pi as so many random points bring it."""
    share = math.pi / 4
    deviation = 4 * math.sqrt(share * (1 - share) / points)
    if abs(estimate - math.pi) > _DEVIATIONS * deviation + 1e-6:
        raise OutputError(
            f"the estimate of pi is {estimate:.6f}, with {points:,} points: what was computed is wrong",
            reason=Reason.CONTRADICTION,
            hint="the interpreter, or numpy, is broken: its times are of no use",
        )
