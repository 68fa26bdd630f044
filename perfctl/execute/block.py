"""One block: every environment once and the baseline twice, in the planned order, on one host or pair."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NoReturn

from perfctl.errors import DatabaseUnavailable, DataError, HostError, Interrupted, SchemaMismatch
from perfctl.execute.bandwidth import NativeBandwidth
from perfctl.execute.fleet import ConnectedHost, Fleet
from perfctl.execute.measure import Assignment, Outcome, measure, outcome_of
from perfctl.execute.survey import Survey, first_output_s
from perfctl.model import (
    SERVER_COUNTERS,
    Benchmark,
    Block,
    Environment,
    Fingerprint,
    InvocationEnded,
    InvocationRecord,
    InvocationStarted,
    Listener,
    Metric,
    Note,
    Plan,
    PlannedInvocation,
    Reason,
    Sample,
    Status,
    content_hash,
)
from perfctl.shell import Completed
from perfctl.store import Store
from perfctl.validity import Assessment, Thresholds
from perfctl.validity.invocation import MeasuredInvocation, assess_invocation
from perfctl.workloads import Workload, workload

BlockStatus = Literal["complete", "failed"]

BlockKey = tuple[str, str, int]
"""Benchmark, target as text, index: names a block of a plan."""


def block_key(block: Block) -> BlockKey:
    """Return what names a block of a plan."""
    return (block.benchmark, str(block.target), block.index)


@dataclass(slots=True)
class Conduct:
    """What the blocks of one run share. `stop` is set when the user wants to end."""

    run_id: str
    plan: Plan
    store: Store
    fleet: Fleet
    survey: Survey
    listener: Listener
    stop: threading.Event = field(default_factory=threading.Event)
    thresholds: Thresholds = field(default_factory=Thresholds)
    """By which invocations and hosts are judged."""
    facts: dict[str, Fingerprint] = field(default_factory=dict)
    """Of the hosts, before the first block."""
    bandwidth: NativeBandwidth = field(init=False)
    """What the hosts' memory has been seen to allow."""

    def __post_init__(self) -> None:
        """Ask the run's own database."""
        self.bandwidth = NativeBandwidth(self.store, self.run_id)

    def environment(self, name: str) -> Environment:
        """Return the plan's environment of that name."""
        return next(item for item in self.plan.environments if item.name == name)

    def benchmark(self, name: str) -> Benchmark:
        """Return the plan's benchmark of that name."""
        return next(item for item in self.plan.benchmarks if item.name == name)


def invocation_id(block_id: str, planned: PlannedInvocation) -> str:
    """Return the id of an invocation: derived, so that a later controller can name a job it never started."""
    return content_hash([block_id, planned.environment, planned.replicate])[:32]


def run_block(conduct: Conduct, block: Block, attempt: int) -> BlockStatus:
    """Carry out one block and return how it ended: complete, failed or interrupted.

    Every invocation is committed when it ends. Raises Interrupted after the block has been closed.
    """
    block_id = conduct.store.begin_block(conduct.run_id, block, attempt)
    statuses: list[Status] = []
    for planned in block.invocations:
        if conduct.stop.is_set():
            _interrupt(conduct, block_id)
        outcome = _run_one(conduct, block, block_id, planned)
        statuses.append(outcome.status)
        if outcome.status is Status.INTERRUPTED:
            _interrupt(conduct, block_id)
    status = block_status(statuses)
    conduct.store.end_block(block_id, status)
    return status


def block_status(statuses: Iterable[Status]) -> BlockStatus:
    """Return 'complete' when all members are ok, or skipped: they cannot exist there; else 'failed'."""
    return "complete" if all(status in (Status.OK, Status.SKIPPED) for status in statuses) else "failed"


def record(
    conduct: Conduct,
    block: Block,
    block_id: str,
    planned: PlannedInvocation,
    outcome: Outcome,
    started_at: float,
) -> None:
    """Commit one invocation, let the host forget its job, and tell the listener."""
    benchmark = conduct.benchmark(block.benchmark)
    metrics = workload(benchmark.workload).metrics(benchmark.parameters)
    surveyed = conduct.survey.get((block.target.host, conduct.environment(planned.environment).key))
    assessment, remark = _assess(conduct, block, planned, outcome)
    stored = replace(
        _record_of(block_id, planned, outcome, started_at),
        fingerprint_id=surveyed.fingerprint_id if surveyed else None,
        validity=assessment.validity.verdict.value if assessment else None,
        validity_json=assessment.to_json() if assessment else None,
    )
    _commit(conduct.store, stored, metrics, outcome.samples)
    if outcome.boot and outcome.boot.attempts > 1:
        where = f"{block.target} {block.benchmark} {planned.environment} block {block.index}"
        conduct.listener(Note("warning", where, outcome.boot.remark))
    if outcome.completed is not None and block.target.host not in conduct.fleet.lost:
        conduct.fleet[block.target.host].jobs.acknowledge(stored.id)
    conduct.listener(
        InvocationEnded(
            block,
            planned,
            outcome.status,
            outcome.reason,
            outcome.detail,
            outcome.headline(metrics),
            stored.validity,
            remark,
        )
    )


def _record_of(
    block_id: str, planned: PlannedInvocation, outcome: Outcome, started_at: float
) -> InvocationRecord:
    done = outcome.completed or Completed((), -1, b"", b"")
    return InvocationRecord(
        id=invocation_id(block_id, planned),
        block_id=block_id,
        environment=planned.environment,
        replicate=planned.replicate,
        position=planned.position,
        status=outcome.status,
        reason=outcome.reason,
        detail=outcome.detail,
        argv=done.argv,
        exit_code=outcome.completed.exit_code if outcome.completed else None,
        started_at=started_at,
        host_started_ns=done.started_ns,
        host_ended_ns=done.ended_ns,
        stdout=done.stdout,
        stderr=done.stderr,
        counters_before=done.counters_before,
        counters_after=done.counters_after,
        fingerprint_id=None,
        accelerator=outcome.boot.accelerator if outcome.boot else None,
        vcpus=outcome.boot.vcpus if outcome.boot else None,
        boot_attempts=outcome.boot.attempts if outcome.boot else None,
        artifacts=_artifacts(outcome, done),
    )


def _assess(
    conduct: Conduct, block: Block, planned: PlannedInvocation, outcome: Outcome
) -> tuple[Assessment | None, str]:
    """Return whether the invocation counts, None where that cannot be told, and what is to be said of it."""
    if outcome.completed is None:
        return None, ""
    host, benchmark = block.target.host, conduct.benchmark(block.benchmark)
    environment = conduct.environment(planned.environment)
    try:
        measured = MeasuredInvocation(
            target=block.target,
            benchmark=benchmark,
            environment=environment,
            completed=outcome.completed,
            hosts=conduct.fleet.hosts,
            facts=conduct.facts,
            memory_bandwidth=conduct.bandwidth.bound(host, conduct.facts.get(host), benchmark, environment),
            server=outcome.server,
            boot=outcome.boot,
        )
        assessment = assess_invocation(measured, outcome.samples, conduct.thresholds.validity)
    except (DataError, ValueError, LookupError, TypeError, ArithmeticError) as error:
        # What was measured must not be lost for a mistake in what judges it.
        return None, f"not judged: {type(error).__name__}: {error}"
    return assessment, assessment.summary()


def _artifacts(outcome: Outcome, done: Completed) -> dict[str, bytes]:
    kept = {**outcome.artifacts, "host_view": done.host_view}
    if outcome.server is not None:
        kept |= dict(zip(SERVER_COUNTERS, (outcome.server.before, outcome.server.after), strict=True))
    return {name: content for name, content in kept.items() if content}


def _commit(
    store: Store, invocation: InvocationRecord, metrics: Sequence[Metric], samples: Sequence[Sample]
) -> None:
    """Store an invocation; if its samples are refused, store it as failed without them: raw is never lost."""
    try:
        store.record_invocation(invocation, metrics, samples)
    except (DatabaseUnavailable, SchemaMismatch):
        raise
    except DataError as error:
        refused = replace(invocation, status=Status.FAILED, reason=Reason.UNPARSABLE, detail=str(error))
        store.record_invocation(refused, metrics, ())


def _interrupt(conduct: Conduct, block_id: str) -> NoReturn:
    conduct.store.end_block(block_id, "interrupted")
    raise Interrupted("stopped; what was measured is kept")


def _run_one(conduct: Conduct, block: Block, block_id: str, planned: PlannedInvocation) -> Outcome:
    benchmark = conduct.benchmark(block.benchmark)
    tool = workload(benchmark.workload)
    started_at = time.time()
    outcome = _known_beforehand(conduct, block, planned, tool)
    if outcome is None:
        conduct.listener(InvocationStarted(block, planned, benchmark.expected_s))
        outcome = _measure(conduct, block, block_id, planned, benchmark, tool)
    record(conduct, block, block_id, planned, outcome, started_at)
    return outcome


def would_fail_again(conduct: Conduct, block: Block) -> bool:
    """Return whether a member is known to fail without trying: a host is lost, or a tool is missing."""
    tool = workload(conduct.benchmark(block.benchmark).workload)
    known = (_known_beforehand(conduct, block, planned, tool) for planned in block.invocations)
    return any(outcome is not None and outcome.status is Status.FAILED for outcome in known)


def _known_beforehand(
    conduct: Conduct, block: Block, planned: PlannedInvocation, tool: Workload
) -> Outcome | None:
    environment = conduct.environment(planned.environment)
    for name, own in ((block.target.host, environment), (block.target.peer, environment.of_server)):
        if name is None:
            continue
        if name in conduct.fleet.lost:
            return outcome_of(conduct.fleet.lost[name])
        surveyed = conduct.survey.get((name, own.key))
        verdict = surveyed.verdict_for(tool.programs) if surveyed else None
        if verdict is not None:
            return verdict
    return None


def _measure(
    conduct: Conduct,
    block: Block,
    block_id: str,
    planned: PlannedInvocation,
    benchmark: Benchmark,
    tool: Workload,
) -> Outcome:
    client: ConnectedHost = conduct.fleet[block.target.host]
    server = conduct.fleet[block.target.peer] if block.target.peer else None
    assignment = Assignment(
        run_id=conduct.run_id,
        invocation_id=invocation_id(block_id, planned),
        environment=conduct.environment(planned.environment),
        benchmark=benchmark,
        workload=tool,
        client=client,
        server=server,
        host_view=conduct.plan.host_view,
        stop=conduct.stop,
        first_output_s={
            name: first_output_s(conduct.survey, name)
            for name in (block.target.host, block.target.peer)
            if name
        },
    )
    try:
        return measure(assignment)
    except HostError as error:
        # Its name is in the error; when it is not, the client is the one we talked to.
        lost = error.where if error.where in (block.target.host, block.target.peer) else block.target.host
        conduct.fleet.mark_lost(str(lost), error)
        return outcome_of(error)
