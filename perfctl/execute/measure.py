"""One invocation: make the environment, run the benchmark in it, say what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from perfctl.environments import EnvironmentShell, driver_for
from perfctl.errors import (
    CommandFailed,
    CommandTimeout,
    EnvironmentDied,
    EnvironmentUnavailable,
    HostError,
    Interrupted,
    OutputError,
    PerfctlError,
)
from perfctl.execute.fleet import ConnectedHost
from perfctl.execute.server import ServerNotReady, serving
from perfctl.job import JobShell, JobTimeout, SpoolFull
from perfctl.model import Benchmark, Environment, Metric, Reason, Sample, Status
from perfctl.model.quantity import quantity
from perfctl.shell import Completed, Process
from perfctl.workloads import Workload

_SETUP_TIMEOUT_S = 300.0
_NOT_EXECUTABLE, _NOT_FOUND = 126, 127

_ENDINGS: tuple[tuple[type[PerfctlError], Status, Reason], ...] = (
    (Interrupted, Status.INTERRUPTED, Reason.INTERRUPTED),
    (CommandTimeout, Status.FAILED, Reason.TIMEOUT),
    (EnvironmentDied, Status.FAILED, Reason.ENVIRONMENT_DIED),
    (EnvironmentUnavailable, Status.SKIPPED, Reason.ENVIRONMENT_UNAVAILABLE),
    (ServerNotReady, Status.FAILED, Reason.SERVER_NOT_READY),
    (HostError, Status.FAILED, Reason.UNREACHABLE),
    (CommandFailed, Status.FAILED, Reason.SETUP_FAILED),
)
"""What an error says of the invocation that ended in it. A database error is not here: it ends the run."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one invocation; `completed` is None when the benchmark itself never ended."""

    status: Status
    reason: Reason | None = None
    detail: str = ""
    completed: Completed | None = None
    samples: tuple[Sample, ...] = ()

    def headline(self, metrics: Sequence[Metric]) -> str:
        """Return the leading metric's value with its unit, or ''."""
        for metric in metrics:
            values = [sample.value for sample in self.samples if sample.metric == metric.name]
            if metric.headline and values:
                return quantity(values[0], metric.unit)
        return ""


class InvocationShell:
    """A host's job shell as one invocation sees it.

    After `measure_next()` one command runs under the invocation's own id, so that a later controller finds
    its result in the host's spool. Only one: whatever the environment has to ask the host around it (is the
    container alive, end what is left in it) is a job of its own.
    """

    def __init__(self, jobs: JobShell, invocation_id: str) -> None:
        self._jobs = jobs
        self._invocation_id = invocation_id
        self._is_next_measured = False

    @property
    def name(self) -> str:
        """The host's name."""
        return self._jobs.name

    def measure_next(self) -> None:
        """Give the next command the invocation's id."""
        self._is_next_measured = True

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        """Run `argv` as a detached job."""
        if self._is_next_measured:
            self._is_next_measured = False
            return self._jobs.run_job(self._invocation_id, argv, timeout_s=timeout_s, stdin=stdin)
        return self._jobs.run(argv, timeout_s=timeout_s, stdin=stdin)

    def spawn(self, argv: Sequence[str]) -> Process:
        """Start `argv` in the background."""
        return self._jobs.spawn(argv)

    def put(self, local: Path, remote: str, *, mode: int) -> None:
        """Copy a file there."""
        self._jobs.put(local, remote, mode=mode)

    def get(self, remote: str) -> bytes:
        """Return a file's bytes."""
        return self._jobs.get(remote)


@dataclass(frozen=True, slots=True)
class Assignment:
    """Everything one invocation needs to know."""

    run_id: str
    invocation_id: str
    environment: Environment
    benchmark: Benchmark
    workload: Workload
    client: ConnectedHost
    server: ConnectedHost | None


def measure(assignment: Assignment) -> Outcome:
    """Carry out one invocation. Every failure of it is a value; only a lost host or database is raised."""
    try:
        with ExitStack() as stack:
            return _measure_inside(assignment, stack)
    except HostError:
        raise
    except PerfctlError as error:
        return outcome_of(error)


def outcome_of(error: PerfctlError) -> Outcome:
    """Return how an invocation that ended in this error is recorded; raises it when it is not its own."""
    completed = error.completed if isinstance(error, (JobTimeout, SpoolFull)) else None
    if isinstance(error, OutputError):
        return Outcome(Status.FAILED, Reason(error.reason), str(error), completed)
    for kind, status, reason in _ENDINGS:
        if isinstance(error, kind):
            return Outcome(status, reason, str(error), completed)
    raise error


def read_outcome(workload: Workload, benchmark: Benchmark, completed: Completed) -> Outcome:
    """Return what a benchmark that ended has to say: its samples, or why there are none."""
    if completed.exit_code in (_NOT_FOUND, _NOT_EXECUTABLE):
        detail = f"{completed.error_text or completed.text.strip()} (try: perfctl provision)"
        return Outcome(Status.FAILED, Reason.TOOL_MISSING, detail, completed)
    if completed.exit_code != 0:
        said = completed.error_text or completed.text.strip()
        detail = f"exit code {completed.exit_code}: {said[-500:] or 'it said nothing'}"
        return Outcome(Status.FAILED, Reason.EXIT_NONZERO, detail, completed)
    if not completed.stdout.strip():
        return Outcome(Status.FAILED, Reason.NO_OUTPUT, "it printed nothing", completed)
    try:
        samples = tuple(workload.parse(completed.text, benchmark.parameters))
    except OutputError as error:
        return Outcome(Status.FAILED, Reason(error.reason), str(error), completed)
    except (ValueError, LookupError, TypeError, ArithmeticError) as error:
        # A parser's mistake must not cost the raw output, which is stored with this record.
        return Outcome(Status.FAILED, Reason.UNPARSABLE, f"{type(error).__name__}: {error}", completed)
    return Outcome(Status.OK, completed=completed, samples=samples)


def _measure_inside(assignment: Assignment, stack: ExitStack) -> Outcome:
    workload, benchmark = assignment.workload, assignment.benchmark
    parameters = benchmark.parameters
    server_address = None
    spec = workload.server(parameters)
    if spec is not None and assignment.server is not None:
        _, server = _open(assignment, assignment.server, stack)
        stack.enter_context(serving(server, spec))
        server_address = server.address
    host_shell, client = _open(assignment, assignment.client, stack)
    for argv in workload.setup_argvs(parameters):
        _prepare(client, argv)
    try:
        argv = workload.argv(parameters, server_address=server_address)
        host_shell.measure_next()
        completed = client.run(argv, timeout_s=benchmark.timeout_s)
        outcome = read_outcome(workload, benchmark, completed)
        if outcome.reason is Reason.EXIT_NONZERO and not client.is_alive():
            return Outcome(Status.FAILED, Reason.ENVIRONMENT_DIED, client.last_words(), completed)
        return outcome
    finally:
        for argv in workload.cleanup_argvs(parameters):
            client.run(argv, timeout_s=_SETUP_TIMEOUT_S)


def _open(
    assignment: Assignment, connected: ConnectedHost, stack: ExitStack
) -> tuple[InvocationShell, EnvironmentShell]:
    host_shell = InvocationShell(connected.jobs, assignment.invocation_id)
    driver = driver_for(
        assignment.environment,
        run_id=assignment.run_id,
        invocation_id=assignment.invocation_id,
        host_address=connected.host.network_address,
    )
    return host_shell, stack.enter_context(driver.open(host_shell))


def _prepare(shell: EnvironmentShell, argv: Sequence[str]) -> None:
    done = shell.run(argv, timeout_s=_SETUP_TIMEOUT_S)
    if done.exit_code in (_NOT_FOUND, _NOT_EXECUTABLE):
        raise OutputError(done.error_text, reason=Reason.TOOL_MISSING.value, hint="perfctl provision")
    if done.exit_code != 0:
        said = done.error_text or done.text.strip()
        raise CommandFailed(f"{' '.join(argv)} exited {done.exit_code}: {said[-500:]}", where=shell.name)
