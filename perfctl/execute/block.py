"""Run one block on a host or pair: every environment once and the baseline twice, in planned order."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal, NoReturn

from perfctl.environments import label
from perfctl.environments.kinds import boots
from perfctl.errors import DatabaseUnavailable, DataError, HostError, Interrupted, SchemaMismatch
from perfctl.execute.fleet import ConnectedHost
from perfctl.execute.invocation import InvocationContext, InvocationOutcome, measure, outcome_of
from perfctl.execute.session import RunSession
from perfctl.execute.survey import first_output_s, survey_again
from perfctl.model import (
    SERVER_COUNTERS,
    Benchmark,
    Block,
    Environment,
    InvocationEnded,
    InvocationRecord,
    InvocationStarted,
    Metric,
    Note,
    PlannedInvocation,
    Reason,
    Sample,
    Status,
    content_hash,
)
from perfctl.shell import Completed
from perfctl.store import Store
from perfctl.validity.assessment import Assessment
from perfctl.validity.invocation import MeasuredInvocation, assess_invocation
from perfctl.workloads import Workload, workload_of

BlockStatus = Literal["complete", "failed"]

LONGEST_PAUSE_S = 60.0
"""Between members of a block for which its database is waited for."""

BlockKey = tuple[str, str, int]
"""Benchmark, target as text, index: names a block of a plan."""


def block_key(block: Block) -> BlockKey:
    """Return the key of a block in a plan."""
    return (block.benchmark, str(block.target), block.index)


@lru_cache(maxsize=1024)
def invocation_id(block_id: str, planned: PlannedInvocation) -> str:
    """Return the id of an invocation, derived from the plan: a later controller finds its job by it."""
    return content_hash([block_id, planned.environment, planned.replicate])[:32]


def run_block(session: RunSession, block: Block, attempt: int) -> BlockStatus:
    """Run one block and return how it ended: complete, failed or interrupted.

    Every invocation is committed when it ends. Where one waited for that longer than LONGEST_PAUSE_S, the
    block is closed as interrupted and run again whole: its members would be too far apart to be compared.
    Raises Interrupted after the block has been closed.
    """
    block_id = session.store.writer.begin_block(session.run_id, block, attempt)
    statuses: list[Status] = []
    for planned in block.invocations:
        if session.stop.is_set():
            _interrupt(session, block_id)
        outcome, waited_s = _run_one(session, block, block_id, planned)
        statuses.append(outcome.status)
        if outcome.status is Status.INTERRUPTED:
            _interrupt(session, block_id)
        if waited_s > LONGEST_PAUSE_S and planned is not block.invocations[-1]:
            session.store.writer.end_block(block_id, "interrupted")
            where = f"{block.target} {block.benchmark} block {block.index}"
            text = f"interrupted for {waited_s:.0f} s, as the database was away; it is run again whole"
            session.listener(Note("warning", where, text))
            return run_block(session, block, attempt + 1)
    status = block_status(statuses)
    session.store.writer.end_block(block_id, status)
    return status


def block_status(statuses: Iterable[Status]) -> BlockStatus:
    """Return 'complete' when all members are ok, or skipped: their host refuses them; else 'failed'."""
    return "complete" if all(status in (Status.OK, Status.SKIPPED) for status in statuses) else "failed"


def record(
    session: RunSession,
    block: Block,
    block_id: str,
    planned: PlannedInvocation,
    outcome: InvocationOutcome,
    started_at: float,
) -> float:
    """Commit one invocation, acknowledge its job on the host, and pass its end to the listener.

    Returns how many seconds the commit took.
    """
    benchmark = session.benchmark(block.benchmark)
    metrics = workload_of(benchmark).metrics(benchmark.parameters)
    result = session.survey.get((block.target.host, session.environment(planned.environment).key))
    assessment, remark = _assess(session, block, planned, outcome)
    stored = replace(
        _record_of(block_id, planned, outcome, started_at),
        fingerprint_id=result.fingerprint_id if result else None,
        validity=assessment.validity.verdict.value if assessment else None,
        validity_json=assessment.to_json() if assessment else None,
    )
    begun = time.monotonic()
    stored = _commit(session.store, stored, metrics, outcome.samples)
    waited_s = time.monotonic() - begun
    if stored.status is Status.OK and stored.validity != "invalid" and block.target.peer is None:
        environment = session.environment(planned.environment)
        session.bandwidth.add(block.target.host, benchmark, environment, outcome.samples)
    if outcome.boot and outcome.boot.attempts > 1:
        where = f"{block.target} {block.benchmark} {planned.environment} block {block.index}"
        session.listener(Note("warning", where, outcome.boot.remark))
    if outcome.completed is not None and block.target.host not in session.fleet.lost:
        session.fleet[block.target.host].jobs.acknowledge(stored.id)
    session.listener(
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
    return waited_s


def _record_of(
    block_id: str, planned: PlannedInvocation, outcome: InvocationOutcome, started_at: float
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
        usage=done.usage,
    )


def _assess(
    session: RunSession, block: Block, planned: PlannedInvocation, outcome: InvocationOutcome
) -> tuple[Assessment | None, str]:
    """Return whether the invocation counts, None where that is not known, and a summary of its findings."""
    if outcome.completed is None:
        return None, ""
    host, benchmark = block.target.host, session.benchmark(block.benchmark)
    environment = session.environment(planned.environment)
    try:
        measured = MeasuredInvocation(
            target=block.target,
            benchmark=benchmark,
            environment=environment,
            completed=outcome.completed,
            hosts=session.fleet.hosts,
            facts=session.facts,
            memory_bandwidth=session.bandwidth.bound(host, session.facts.get(host), benchmark, environment),
            server=outcome.server,
            boot=outcome.boot,
        )
        assessment = assess_invocation(measured, outcome.samples, session.thresholds.validity)
    except (DataError, ValueError, LookupError, TypeError, ArithmeticError) as error:
        # A mistake in the rules must not lose what was measured.
        return None, f"not judged: {type(error).__name__}: {error}"
    return assessment, assessment.summary()


def _artifacts(outcome: InvocationOutcome, done: Completed) -> dict[str, bytes]:
    kept = {**outcome.artifacts, "host_view": done.host_view}
    if outcome.server is not None:
        kept |= dict(zip(SERVER_COUNTERS, (outcome.server.before, outcome.server.after), strict=True))
    return {name: content for name, content in kept.items() if content}


def _commit(
    store: Store, invocation: InvocationRecord, metrics: Sequence[Metric], samples: Sequence[Sample]
) -> InvocationRecord:
    """Store an invocation, and return it as stored: failed, with raw output alone, if samples are refused."""
    try:
        store.writer.record_invocation(invocation, metrics, samples)
        return invocation
    except (DatabaseUnavailable, SchemaMismatch):
        raise
    except DataError as error:
        refused = replace(invocation, status=Status.FAILED, reason=Reason.UNPARSABLE, detail=str(error))
        store.writer.record_invocation(refused, metrics, ())
        return refused


def _interrupt(session: RunSession, block_id: str) -> NoReturn:
    session.store.writer.end_block(block_id, "interrupted")
    raise Interrupted("stopped; what was measured is kept")


def _run_one(
    session: RunSession, block: Block, block_id: str, planned: PlannedInvocation
) -> tuple[InvocationOutcome, float]:
    """Return how an invocation ended, and how many seconds its commit took."""
    benchmark = session.benchmark(block.benchmark)
    tool = workload_of(benchmark)
    started_at = time.time()
    _settle_doubts(session, block, planned)
    outcome = _known_outcome(session, block, planned, tool)
    if outcome is None:
        session.listener(InvocationStarted(block, planned, benchmark.expected_s))
        outcome = _measure(session, block, block_id, planned, benchmark, tool)
        # The survey has opened it: whatever refuses it now was not there from the beginning.
        outcome = outcome.as_failure("it was opened in this run before: ")
    return outcome, record(session, block, block_id, planned, outcome, started_at)


def would_fail_again(session: RunSession, block: Block) -> bool:
    """Return whether an invocation must fail: its host is lost, or a program is missing there."""
    tool = workload_of(session.benchmark(block.benchmark))
    known = (_known_outcome(session, block, planned, tool) for planned in block.invocations)
    return any(outcome is not None and outcome.status is Status.FAILED for outcome in known)


def _known_outcome(
    session: RunSession, block: Block, planned: PlannedInvocation, tool: Workload
) -> InvocationOutcome | None:
    for name, own in _places(session, block, planned):
        if name in session.fleet.lost:
            return outcome_of(session.fleet.lost[name])
        result = session.survey.get((name, own.key))
        known = result.outcome_for(tool.programs, tool.provided_by) if result else None
        if known is not None:
            is_required = planned.environment in session.plan.required
            return known.as_failure("it is required: ") if is_required else known
    return None


def _places(
    session: RunSession, block: Block, planned: PlannedInvocation
) -> Iterator[tuple[str, Environment]]:
    """Yield the hosts of an invocation, each with the environment that is opened there."""
    environment = session.environment(planned.environment)
    yield block.target.host, environment
    if block.target.peer is not None:
        yield block.target.peer, environment.of_server


def _settle_doubts(session: RunSession, block: Block, planned: PlannedInvocation) -> None:
    """Open what could not be opened in the survey, for a reason that may pass, once more."""
    for name, own in _places(session, block, planned):
        result = session.survey.get((name, own.key))
        if result is None or not result.is_doubtful or name in session.fleet.lost:
            continue
        try:
            survey_again(
                *(session.fleet, session.store, session.run_id, session.plan, session.listener),
                *(session.survey, name, own),
            )
        except HostError as error:
            session.fleet.mark_lost(name, error)


def _first_outputs(session: RunSession, block: Block, environment: Environment) -> dict[str, float | None]:
    """Return how long guests took on the block's hosts until they printed something; {} without guests."""
    if not (boots(environment) or boots(environment.of_server)):
        # What was read on all hosts is not gone through for each invocation on one.
        return {}
    return {name: first_output_s(session.survey, name) for name in block.target.hosts}


def host_task(session: RunSession, host: str, environment: Environment) -> label.Task:
    """Return what the kernel of a host said of a task; nothing for what is within another environment."""
    return label.task_of_facts(session.facts.get(host)) if environment.within is None else {}


def _measure(
    session: RunSession,
    block: Block,
    block_id: str,
    planned: PlannedInvocation,
    benchmark: Benchmark,
    tool: Workload,
) -> InvocationOutcome:
    client: ConnectedHost = session.fleet[block.target.host]
    leg = (block.benchmark, planned.environment, block.target.host)
    server = session.fleet[block.target.peer] if block.target.peer else None
    environment = session.environment(planned.environment)
    surveyed = session.survey.get((block.target.host, environment.key))
    context = InvocationContext(
        run_id=session.run_id,
        invocation_id=invocation_id(block_id, planned),
        environment=environment,
        benchmark=benchmark,
        workload=tool,
        client=client,
        server=server,
        host_view=session.plan.host_view,
        stop=session.stop,
        took_s=session.took_s.get(leg),
        first_output_s=_first_outputs(session, block, environment),
        has_launcher=surveyed.has_launcher if surveyed else False,
        host_task=host_task(session, block.target.host, environment),
    )
    try:
        outcome = measure(context)
    except HostError as error:
        # The error names the host; where it does not, it is the client's.
        lost = error.where if error.where in (block.target.host, block.target.peer) else block.target.host
        session.fleet.mark_lost(str(lost), error)
        return outcome_of(error)
    if outcome.status is Status.OK and outcome.took_s is not None:
        session.took_s[leg] = outcome.took_s
    return outcome
