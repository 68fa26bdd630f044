"""Run one invocation: open its environments, run the benchmark in them, and return what became of it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from perfctl.environments import EnvironmentShell
from perfctl.errors import (
    CommandFailed,
    CommandTimeout,
    EnvironmentFailure,
    EnvironmentUnavailable,
    HostError,
    Interrupted,
    OutputError,
    PerfctlError,
)
from perfctl.execute.fleet import ConnectedHost
from perfctl.execute.place import Opened, Place, name_artifacts, open_places
from perfctl.execute.server import ServerNotReady, ServerWatch, serving
from perfctl.job import ProcessProbe
from perfctl.model import Benchmark, Environment, GuestBoot, Metric, Reason, Sample, Status
from perfctl.model.quantity import quantity
from perfctl.shell import Completed
from perfctl.validity.invocation import ServerCounters
from perfctl.workloads import OpeningWorkload, Workload

_SETUP_TIMEOUT_S = 300.0
_NOT_EXECUTABLE, _NOT_FOUND = 126, 127

_ENDINGS: tuple[tuple[type[PerfctlError], Status, Reason], ...] = (
    (Interrupted, Status.INTERRUPTED, Reason.INTERRUPTED),
    (CommandTimeout, Status.FAILED, Reason.TIMEOUT),
    (ServerNotReady, Status.FAILED, Reason.SERVER_NOT_READY),
    (HostError, Status.FAILED, Reason.UNREACHABLE),
    (CommandFailed, Status.FAILED, Reason.SETUP_FAILED),
)
"""Status and reason of an invocation that ended in an error; a database error ends the run instead."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one invocation; `completed` is None when the benchmark itself never ended."""

    status: Status
    reason: Reason | None = None
    detail: str = ""
    completed: Completed | None = None
    samples: tuple[Sample, ...] = ()
    boot: GuestBoot | None = None
    """Of the guest that took part; of two the client's, with the attempts of the one that took more."""
    artifacts: Mapping[str, bytes] = field(default_factory=dict)
    """What is kept of its environments, by name."""
    server: ServerCounters | None = None
    """What was read at the server's host."""

    def headline(self, metrics: Sequence[Metric]) -> str:
        """Return the leading metric's value with its unit, or ''."""
        for metric in metrics:
            values = [sample.value for sample in self.samples if sample.metric == metric.name]
            if metric.headline and values:
                return quantity(values[0], metric.unit)
        return ""


@dataclass(frozen=True, slots=True)
class InvocationContext:
    """What one invocation runs, where, and on which connected hosts."""

    run_id: str
    invocation_id: str
    environment: Environment
    benchmark: Benchmark
    workload: Workload
    client: ConnectedHost
    server: ConnectedHost | None
    host_view: bool
    """Whether the host's processes are read while the benchmark runs."""
    stop: threading.Event
    """Set when the user wants to end: what is not measured by then will not be."""
    first_output_s: Mapping[str, float | None] = field(default_factory=dict)
    """By host: how long an earlier guest took there until it printed something."""


def measure(context: InvocationContext) -> Outcome:
    """Carry out one invocation. Every failure of it is a value; only a lost host or database is raised."""
    outcome: Outcome | None = None
    try:
        with ExitStack() as stack:
            outcome = _measure_in_places(context, stack)
    except HostError:
        raise
    except PerfctlError as error:
        failed = outcome_of(error)
        if outcome is None:
            return failed
        # It was measured, and then could not be cleared away.
        return replace(outcome, status=failed.status, reason=failed.reason, detail=failed.detail, samples=())
    return outcome


def outcome_of(error: PerfctlError) -> Outcome:
    """Return how an invocation that ended in this error is recorded; raises it when it is not its own."""
    completed = getattr(error, "completed", None)
    if isinstance(error, OutputError):
        return Outcome(Status.FAILED, Reason(error.reason), str(error), completed)
    if isinstance(error, EnvironmentFailure):
        is_impossible = isinstance(error, EnvironmentUnavailable)
        status = Status.SKIPPED if is_impossible else Status.FAILED
        detail = f"{error} (try: {error.hint})" if error.hint else str(error)
        return Outcome(status, Reason(error.reason), detail, completed, artifacts=error.artifacts)
    for kind, status, reason in _ENDINGS:
        if isinstance(error, kind):
            return Outcome(status, reason, str(error), completed)
    raise error


def read_outcome(workload: Workload, benchmark: Benchmark, completed: Completed) -> Outcome:
    """Return the outcome of a benchmark that ended: its samples, or why there are none."""
    if completed.exit_code in (_NOT_FOUND, _NOT_EXECUTABLE):
        detail = f"{completed.error_text or completed.text.strip()} (try: perfctl provision)"
        return Outcome(Status.FAILED, Reason.TOOL_MISSING, detail, completed)
    if completed.exit_code != 0:
        output = completed.error_text or completed.text.strip()
        detail = f"exit code {completed.exit_code}: {output[-500:] or 'it said nothing'}"
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


def _measure_in_places(context: InvocationContext, stack: ExitStack) -> Outcome:
    """Open client and server, measure, and read what is kept of them before they are closed."""
    hosts = [(context.client, context.environment, "")]
    if context.server is not None:
        hosts.append((context.server, context.environment.of_server, "server_"))
    places = [Place(*each, context.first_output_s.get(each[0].host.name)) for each in hosts]
    opened = open_places(places, run_id=context.run_id, invocation_id=context.invocation_id, stack=stack)
    try:
        outcome = _measure_between(context, *opened)
    except HostError:
        raise
    except PerfctlError as error:
        outcome = outcome_of(error)
    kept = {name: content for each in opened for name, content in each.artifacts().items()}
    return replace(outcome, boot=_boot_of(opened), artifacts={**kept, **outcome.artifacts})


def _boot_of(opened: Sequence[Opened]) -> GuestBoot | None:
    boots = [each.shell.boot for each in opened if each.shell.boot]
    return replace(boots[0], attempts=max(boot.attempts for boot in boots)) if boots else None


def _measure_between(context: InvocationContext, client: Opened, server: Opened | None = None) -> Outcome:
    workload, parameters = context.workload, context.benchmark.parameters
    spec = workload.server(parameters)
    if spec is None or server is None:
        return _measure_inside(context, client, None)
    try:
        with serving(server.shell, spec):
            outcome = _measure_inside(context, client, server.shell.address)
            if outcome.reason is Reason.EXIT_NONZERO and not server.shell.is_alive():
                detail = f"its server's: {server.shell.state_report()}"
                return replace(outcome, reason=Reason.ENVIRONMENT_DIED, detail=detail)
            return outcome
    except EnvironmentFailure as error:
        # What the client's environment ends in has become an outcome.
        name_artifacts(server.place, error)
        raise


def _measure_inside(context: InvocationContext, client: Opened, server_address: str | None) -> Outcome:
    try:
        return _run_inside(context, client, server_address)
    except HostError:
        raise
    except PerfctlError as error:
        return outcome_of(error)


def _run_inside(context: InvocationContext, client: Opened, server_address: str | None) -> Outcome:
    workload, benchmark = context.workload, context.benchmark
    parameters = benchmark.parameters
    for argv in workload.setup_argvs(parameters):
        _prepare(client.shell, argv)
    try:
        argv = workload.argv(parameters, server_address=server_address)
        if context.stop.is_set():
            raise Interrupted("stopped before it began", where=client.shell.name)
        watch = ServerWatch(context.server.jobs) if context.server else None
        if watch:
            watch.begin()
        client.host.measure_next(_probe(context, client.shell))
        completed = client.shell.run(argv, timeout_s=benchmark.timeout_s)
        if watch:
            watch.end()
        if isinstance(workload, OpeningWorkload):
            completed = _with_report(workload, client.shell, completed)
        outcome = replace(
            read_outcome(workload, benchmark, completed), server=watch.counters if watch else None
        )
        if outcome.reason is Reason.EXIT_NONZERO and not client.shell.is_alive():
            return replace(outcome, reason=Reason.ENVIRONMENT_DIED, detail=client.shell.state_report())
        return outcome
    finally:
        for argv in workload.cleanup_argvs(parameters):
            client.shell.run(argv, timeout_s=_SETUP_TIMEOUT_S)


def _probe(context: InvocationContext, shell: EnvironmentShell) -> ProcessProbe | None:
    # A probe during the first command would be a part of what a start costs.
    if not context.host_view or isinstance(context.workload, OpeningWorkload):
        return None
    return ProcessProbe(shell.host_processes, after_s=context.benchmark.expected_s / 2)


def _with_report(workload: OpeningWorkload, shell: EnvironmentShell, completed: Completed) -> Completed:
    if completed.exit_code != 0 or completed.started_ns is None or completed.ended_ns is None:
        return completed
    took_s = (completed.ended_ns - completed.started_ns) / 1e9
    return replace(completed, stdout=workload.opening_report(shell.opening_s, took_s).encode())


def _prepare(shell: EnvironmentShell, argv: Sequence[str]) -> None:
    done = shell.run(argv, timeout_s=_SETUP_TIMEOUT_S)
    if done.exit_code in (_NOT_FOUND, _NOT_EXECUTABLE):
        raise OutputError(done.error_text, reason=Reason.TOOL_MISSING.value, hint="perfctl provision")
    if done.exit_code != 0:
        output = done.error_text or done.text.strip()
        raise CommandFailed(f"{' '.join(argv)} exited {done.exit_code}: {output[-500:]}", where=shell.name)
