"""Run one invocation: open its environments, run the benchmark in them, and return the outcome."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from perfctl.environments import EnvironmentShell, label, launcher
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
from perfctl.execute.environments import OpenEnvironment, Placement, name_artifacts, open_environments
from perfctl.execute.fleet import ConnectedHost
from perfctl.execute.server import ServerNotReady, ServerWatch, serving
from perfctl.job import ProcessProbe
from perfctl.model import TASK, Benchmark, Environment, GuestBoot, Metric, Reason, Sample, Status
from perfctl.model.quantity import quantity
from perfctl.shell import Completed
from perfctl.validity.invocation import ServerCounters
from perfctl.workloads import FilesSpec, FileToCopy, OpeningWorkload, Workload
from perfctl.workloads.relations import error_line

_SETUP_TIMEOUT_S = 300.0
_SHORTEST_WITH_HALF_S = 2.0
_NOT_EXECUTABLE, _NOT_FOUND = 126, 127
_KILLED_BY_SIGSYS = 128 + 31
"""The signal of a filter of system calls, and of nothing else: no crash ends in it."""
_OPENING = f"{launcher.PROGRAM} would be a part of what a start costs"

_ENDINGS: tuple[tuple[type[PerfctlError], Status, Reason], ...] = (
    (Interrupted, Status.INTERRUPTED, Reason.INTERRUPTED),
    (CommandTimeout, Status.FAILED, Reason.TIMEOUT),
    (ServerNotReady, Status.FAILED, Reason.SERVER_NOT_READY),
    (HostError, Status.FAILED, Reason.UNREACHABLE),
    (CommandFailed, Status.FAILED, Reason.SETUP_FAILED),
)
"""Status and reason of an invocation that ended in an error; a database error ends the run instead."""


@dataclass(frozen=True, slots=True)
class InvocationOutcome:
    """The result of one invocation; `completed` is None when the benchmark itself never ended."""

    status: Status
    reason: Reason | None = None
    detail: str = ""
    completed: Completed | None = None
    samples: tuple[Sample, ...] = ()
    boot: GuestBoot | None = None
    """Of its guest; with two guests the client's, with the attempts of the one that took more."""
    artifacts: Mapping[str, bytes] = field(default_factory=dict)
    """The artifacts of its environments, by name."""
    server: ServerCounters | None = None
    """The counters of the server's host."""

    @property
    def took_s(self) -> float | None:
        """How long the measured command took, None where that is not known."""
        done = self.completed
        if done is None or done.started_ns is None or done.ended_ns is None:
            return None
        return (done.ended_ns - done.started_ns) / 1e9

    def as_failure(self, why: str) -> InvocationOutcome:
        """Return the outcome with status 'failed' where it is 'skipped', `why` put before its detail."""
        if self.status is not Status.SKIPPED:
            return self
        is_plain = self.reason is Reason.ENVIRONMENT_UNAVAILABLE
        reason = Reason.ENVIRONMENT_NOT_MADE if is_plain else self.reason
        return replace(self, status=Status.FAILED, reason=reason, detail=why + self.detail)

    def headline(self, metrics: Sequence[Metric]) -> str:
        """Return the leading metric's value with its unit, or ''."""
        for metric in metrics:
            if metric.headline:
                first = next((sample for sample in self.samples if sample.metric == metric.name), None)
                if first is not None:
                    return quantity(first.value, metric.unit)
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
    """Whether the host's processes are read around the benchmark."""
    stop: threading.Event
    """Set when the user ends the run: nothing more is measured after that."""
    took_s: float | None = None
    """How long the measured command took the last time; None: it is the first one of its kind."""
    first_output_s: Mapping[str, float | None] = field(default_factory=dict)
    """By host: the seconds that an earlier guest took there until its first output."""
    has_launcher: bool = False
    """Whether the environment has the program that measures what a command uses."""
    host_task: label.Task = field(default_factory=dict)
    """What the kernel said of a task of the client's host."""


def measure(context: InvocationContext) -> InvocationOutcome:
    """Run one invocation. Its failures are values; only a lost host or database is raised."""
    outcome: InvocationOutcome | None = None
    try:
        with ExitStack() as stack:
            outcome = _measure_in_environments(context, stack)
    except HostError:
        raise
    except PerfctlError as error:
        failed = outcome_of(error)
        if outcome is None:
            return failed
        # It was measured, and then its environments could not be removed.
        return replace(outcome, status=failed.status, reason=failed.reason, detail=failed.detail, samples=())
    return outcome


def outcome_of(error: PerfctlError) -> InvocationOutcome:
    """Return the outcome of an invocation that ended in this error; raise any error of the run itself."""
    completed = getattr(error, "completed", None)
    if isinstance(error, OutputError):
        return InvocationOutcome(Status.FAILED, Reason(error.reason), error.with_hint, completed)
    if isinstance(error, EnvironmentFailure):
        is_refused = isinstance(error, EnvironmentUnavailable)
        status = Status.SKIPPED if is_refused else Status.FAILED
        return InvocationOutcome(
            status, Reason(error.reason), error.with_hint, completed, artifacts=error.artifacts
        )
    for kind, status, reason in _ENDINGS:
        if isinstance(error, kind):
            cut = cut_text(completed) if completed else ""
            return InvocationOutcome(status, reason, f"{error} ({cut})" if cut else str(error), completed)
    raise error


def read_outcome(workload: Workload, benchmark: Benchmark, completed: Completed) -> InvocationOutcome:
    """Return the outcome of a benchmark that ended: its samples, or why there are none."""
    if completed.exit_code in (_NOT_FOUND, _NOT_EXECUTABLE):
        detail = f"{completed.last_output} (try: {workload.provided_by})"
        return InvocationOutcome(Status.FAILED, Reason.TOOL_MISSING, detail, completed)
    cut = cut_text(completed)
    if completed.exit_code != 0:
        if refused := _refused(workload, completed):
            return refused
        reported = error_line(workload.error_lines, completed.error_text, completed.text)
        detail = f"exit code {completed.exit_code}: {reported or completed.last_output or 'no output'}"
        if completed.exit_code == _KILLED_BY_SIGSYS:
            detail = (
                f"killed by SIGSYS: its seccomp profile kills who makes a system call that it makes; {detail}"
            )
        detail += f" ({cut})" if cut else ""
        return InvocationOutcome(Status.FAILED, Reason.EXIT_NONZERO, detail, completed)
    if cut:
        # What is missing may be figures, or the word that they are wrong.
        return InvocationOutcome(Status.FAILED, Reason.OUTPUT_CUT, cut, completed)
    if not workload.may_be_silent and (not completed.stdout or completed.stdout.isspace()):
        failed = InvocationOutcome(
            Status.FAILED, Reason.NO_OUTPUT, "the benchmark printed nothing", completed
        )
        return _refused(workload, completed) or failed
    try:
        reading = workload.read_output(
            completed.text, benchmark.parameters, stderr=completed.error_text, usage=completed.usage
        )
    except OutputError as error:
        failed = InvocationOutcome(Status.FAILED, Reason(error.reason), error.with_hint, completed)
        return _refused(workload, completed) or failed
    except (ValueError, LookupError, TypeError, ArithmeticError) as error:
        # A parser's mistake must not cost the raw output, which is stored with this record.
        return InvocationOutcome(
            Status.FAILED, Reason.UNPARSABLE, f"{type(error).__name__}: {error}", completed
        )
    return InvocationOutcome(Status.OK, detail=reading.remark, completed=completed, samples=reading.samples)


def _refused(workload: Workload, completed: Completed) -> InvocationOutcome | None:
    """Return the outcome of a benchmark that did not run because its environment refuses what it needs."""
    why = workload.refusal(f"{completed.text}\n{completed.error_text}")
    return InvocationOutcome(Status.SKIPPED, Reason.ENVIRONMENT_UNAVAILABLE, why, completed) if why else None


def cut_text(completed: Completed) -> str:
    """Return that an output is not whole, and how to have more of it; '' where it is whole."""
    if completed.cut_at_bytes is None:
        return ""
    return (
        f"the output was longer than {completed.cut_at_bytes:,} bytes and was cut there; what is kept is not"
        " read (try: have it print less, or raise output_limit_bytes in the suite)"
    )


def _measure_in_environments(context: InvocationContext, stack: ExitStack) -> InvocationOutcome:
    """Open client and server, measure, and read their artifacts before they are closed."""
    hosts = [(context.client, context.environment, "")]
    if context.server is not None:
        hosts.append((context.server, context.environment.of_server, "server_"))
    placements = [Placement(*each, context.first_output_s.get(each[0].host.name)) for each in hosts]
    opened = open_environments(
        placements, run_id=context.run_id, invocation_id=context.invocation_id, stack=stack
    )
    try:
        outcome = _measure_between(context, *opened)
    except HostError:
        raise
    except PerfctlError as error:
        outcome = outcome_of(error)
    kept = {name: content for each in opened for name, content in each.artifacts().items()}
    return replace(outcome, boot=_boot_of(opened), artifacts={**kept, **outcome.artifacts})


def _boot_of(opened: Sequence[OpenEnvironment]) -> GuestBoot | None:
    boots = [each.shell.boot for each in opened if each.shell.boot]
    return replace(boots[0], attempts=max(boot.attempts for boot in boots)) if boots else None


def _measure_between(
    context: InvocationContext, client: OpenEnvironment, server: OpenEnvironment | None = None
) -> InvocationOutcome:
    workload, parameters = context.workload, context.benchmark.parameters
    spec = workload.server(parameters)
    if spec is None or server is None or context.server is None:
        return _measure_inside(context, client, None)
    try:
        with serving(server.shell, spec, context.server.jobs, context.stop):
            outcome = _measure_inside(context, client, server.shell.address)
            if outcome.reason is Reason.EXIT_NONZERO and not server.shell.is_alive():
                detail = f"the server's environment: {server.shell.state_report()}"
                return replace(outcome, reason=Reason.ENVIRONMENT_DIED, detail=detail)
            return outcome
    except EnvironmentFailure as error:
        # An error of the client's environment has become an outcome: this is the server's.
        name_artifacts(server.placement, error)
        raise


def _measure_inside(
    context: InvocationContext, client: OpenEnvironment, server_address: str | None
) -> InvocationOutcome:
    try:
        return _run_inside(context, client, server_address)
    except HostError:
        raise
    except PerfctlError as error:
        return outcome_of(error)


def _run_inside(
    context: InvocationContext, client: OpenEnvironment, server_address: str | None
) -> InvocationOutcome:
    workload, benchmark = context.workload, context.benchmark
    parameters = benchmark.parameters
    try:
        _require_space(client.shell, workload.files(parameters))
        for argv in workload.folder_argvs(parameters):
            _prepare(client.shell, argv, workload.provided_by)
        for file in workload.files_to_copy(parameters):
            _copy(client.shell, Path(benchmark.files_dir, file.source), file)
        for argv in workload.setup_argvs(parameters):
            _prepare(client.shell, argv, workload.provided_by)
        argv = workload.argv(parameters, server_address=server_address)
        if context.stop.is_set():
            raise Interrupted("stopped before the benchmark began", where=client.shell.name)
        watch = ServerWatch(context.server.jobs, benchmark.timeout_s) if context.server else None
        if watch:
            watch.begin()
        completed = _run_measured(context, client, argv)
        if watch:
            watch.end()
        if isinstance(workload, OpeningWorkload):
            completed = _with_report(workload, client.shell, completed)
        outcome = replace(
            read_outcome(workload, benchmark, completed), server=watch.counters if watch else None
        )
        if outcome.reason is Reason.EXIT_NONZERO and not client.shell.is_alive():
            return replace(outcome, reason=Reason.ENVIRONMENT_DIED, detail=client.shell.state_report())
        return _checked(context, client.shell, outcome)
    finally:
        for argv in workload.cleanup_argvs(parameters):
            client.shell.run(argv, timeout_s=_SETUP_TIMEOUT_S)


def _run_measured(context: InvocationContext, client: OpenEnvironment, argv: Sequence[str]) -> Completed:
    """Run the benchmark under the invocation's id, with what it uses."""
    benchmark = context.benchmark
    timeout_s, limit_bytes = benchmark.timeout_s, benchmark.output_limit_bytes
    probe = _probe(context, client.shell)
    is_opening = isinstance(context.workload, OpeningWorkload)
    if context.has_launcher and not is_opening:
        client.host.measure_next(probe, limit_bytes + launcher.LINE_BYTES)
        return launcher.run(client.shell, argv, timeout_s=timeout_s, output_limit_bytes=limit_bytes)
    client.host.measure_next(probe, limit_bytes)
    completed = client.shell.run(argv, timeout_s=timeout_s)
    return launcher.with_usage(completed, _OPENING if is_opening else launcher.NOT_THERE)


def _checked(
    context: InvocationContext, shell: EnvironmentShell, outcome: InvocationOutcome
) -> InvocationOutcome:
    """Return the outcome, failed where its environment was not what it says; nothing is measured any more."""
    environment, completed, lost = context.environment, outcome.completed, ""
    if outcome.status is Status.OK and completed is not None:
        if not completed.task and label.has_claims(environment):
            # Without a launcher: by a command that is started as the measured one was.
            done = shell.run(label.READ_ARGV, timeout_s=_SETUP_TIMEOUT_S)
            outcome = replace(outcome, completed=replace(completed, task=done.stdout))
        argv = label.limits_argv(environment)
        if argv is not None:
            lost = label.lost_limit(environment, shell.run(argv, timeout_s=_SETUP_TIMEOUT_S).text)
    return with_true_label(outcome, environment, context.host_task, lost_limit=lost)


def with_true_label(
    outcome: InvocationOutcome, environment: Environment, host: label.Task, *, lost_limit: str = ""
) -> InvocationOutcome:
    """Return the outcome with what the kernel said of the command; failed where that contradicts its label.

    `lost_limit` is a limit that was found not to hold.
    """
    if outcome.completed is None:
        return outcome
    task = label.parse_task(outcome.completed.task)
    kept = {**outcome.artifacts, TASK: label.task_text(task)} if task else outcome.artifacts
    wrong = [*label.contradictions(environment, task, host), *filter(None, [lost_limit])]
    if not wrong or outcome.status is not Status.OK:
        return replace(outcome, artifacts=kept)
    detail = f"it is not what its name says: {'; '.join(wrong)}"
    return replace(
        outcome,
        status=Status.FAILED,
        reason=Reason.LABEL_MISMATCH,
        detail=detail,
        samples=(),
        artifacts=kept,
    )


def _probe(context: InvocationContext, shell: EnvironmentShell) -> ProcessProbe | None:
    # A probe during the first command would be a part of what a start costs.
    if not context.host_view or isinstance(context.workload, OpeningWorkload):
        return None
    expected_s = context.benchmark.expected_s if context.took_s is None else context.took_s
    return ProcessProbe(shell.host_processes, half_way_s(expected_s))


def half_way_s(expected_s: float) -> float | None:
    """Return after how many seconds a command that takes so long is half way, None for a short one.

    A short one would be disturbed more.
    """
    return expected_s / 2 if expected_s >= _SHORTEST_WITH_HALF_S else None


def _with_report(workload: OpeningWorkload, shell: EnvironmentShell, completed: Completed) -> Completed:
    if completed.exit_code != 0 or completed.started_ns is None or completed.ended_ns is None:
        return completed
    took_s = (completed.ended_ns - completed.started_ns) / 1e9
    return replace(completed, stdout=workload.opening_report(shell.opening_s, took_s).encode())


def _require_space(shell: EnvironmentShell, files: FilesSpec | None) -> None:
    """Raise OutputError (disk_full) when the file system cannot hold the files of the benchmark.

    Where the free space cannot be read, nothing is said of it.
    """
    if files is None:
        return
    for folder in PurePosixPath(files.folder).parents:
        done = shell.run(["stat", "-f", "-c", "%a %S", str(folder)], timeout_s=_SETUP_TIMEOUT_S)
        if done.exit_code == 0:
            break
    blocks = done.text.split()
    if done.exit_code != 0 or len(blocks) != 2 or not all(map(str.isdigit, blocks)):
        return
    free_bytes = int(blocks[0]) * int(blocks[1])
    if free_bytes < files.size_bytes:
        raise OutputError(
            f"{shell.name}: the files of the benchmark need {files.size_bytes:,} bytes in {folder},"
            f" and {free_bytes:,} are free",
            reason=Reason.DISK_FULL.value,
            hint="smaller files, or another directory; what killed runs left: perfctl reap --all",
        )


def _copy(shell: EnvironmentShell, source: Path, file: FileToCopy) -> None:
    """Copy a file into the environment. Raises CommandFailed when it is not the one that was planned."""
    try:
        found = hashlib.sha256(source.read_bytes()).hexdigest()
    except OSError as error:
        raise CommandFailed(f"{source} cannot be read: {error.strerror}", where=shell.name) from error
    if found != file.sha256:
        raise CommandFailed(
            f"{source} has changed since the run was planned: sha256 {found[:12]}, not {file.sha256[:12]}",
            where=shell.name,
            hint="put the old file back and resume, or begin a new run",
        )
    shell.put(source, file.path, mode=file.mode)


def _prepare(shell: EnvironmentShell, argv: Sequence[str], provided_by: str) -> None:
    done = shell.run(argv, timeout_s=_SETUP_TIMEOUT_S)
    if done.exit_code in (_NOT_FOUND, _NOT_EXECUTABLE):
        raise OutputError(done.last_output, reason=Reason.TOOL_MISSING.value, hint=provided_by)
    if done.exit_code != 0:
        raise CommandFailed(f"{' '.join(argv)} exited {done.exit_code}: {done.last_output}", where=shell.name)
