"""Resume an unfinished run: collect the jobs that outlived their controller, then run the missing blocks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from perfctl.environments import launcher
from perfctl.environments.kinds import boots
from perfctl.errors import PerfctlError, UsageError
from perfctl.execute.block import BlockKey, block_key, block_status, host_task, invocation_id, record
from perfctl.execute.fleet import ConnectedHost
from perfctl.execute.invocation import InvocationOutcome, outcome_of, read_outcome, with_true_label
from perfctl.execute.run import RunOutcome, is_unfinished, run_to_end, sweep
from perfctl.execute.session import RunSession
from perfctl.model import Benchmark, Block, Environment, Listener, Reason, Status
from perfctl.plan.request import PlannedRun
from perfctl.plan.shards import Shard
from perfctl.shell import Completed
from perfctl.ssh import Connect, connect
from perfctl.store import BlockState, RunSummary, StoredShard, open_store
from perfctl.workloads import OpeningWorkload, workload_of


def resume_run(
    run: str,
    *,
    database_url: str,
    inventory: Sequence[str] = (),
    listener: Listener,
    force: bool = False,
    shard: Shard | None = None,
    connect: Connect = connect,
    patience_s: float = 0.0,
) -> RunOutcome:
    """Finish a run: collect the jobs that outlived their controller, then run the missing blocks.

    Invocations and hosts are judged by the limits that the run was begun with; `force` measures also on
    hosts that preflight would refuse. A database's server that is lost is waited for as in `execute_run`.

    Complete blocks are never repeated; an interrupted or failed block is kept, flagged, and run again
    whole as its next attempt. A pilot that is over and undecided is decided. A run whose controller died
    after the last block is closed. Of a run that is measured in shards one is finished: `shard`, or the only
    one that is not complete here. Raises UsageError when nothing is left to do.
    """
    with open_store(database_url, patience_s=patience_s) as store:
        stored = store.run(run)
        stored.require_kept()
        summary = stored.summary()
        begun = _begun_shard(summary, shard)
        shard = None if begun is None else Shard(begun.number, begun.count)
        planned = PlannedRun.from_store(store, stored.id, inventory=inventory, shard=shard)
        plan = planned.plan
        own = {block_key(block) for block in plan.blocks()}
        states = [item for item in stored.block_states() if _key_of(item) in own]
        done, attempts = progress_of(states)
        status = summary.status if begun is None else begun.status
        if status == "complete" and not is_unfinished(plan, done):
            where, hint = f"run {stored.id}", f"perfctl compare {stored.id}"
            raise UsageError("nothing is left to do", where=where, hint=hint)
        return run_to_end(
            replace(planned, force=force),
            store,
            listener,
            done=done,
            attempts=attempts,
            before=lambda session: collect_orphans(session, states),
            connect=connect,
        )


def _begun_shard(run: RunSummary, wanted: Shard | None) -> StoredShard | None:
    """Return the shard to finish; None for a run without shards. Raises UsageError when it is not clear."""
    where, begun = f"run {run.run_id}", {str(Shard(item.number, item.count)): item for item in run.shards}
    if not begun:
        if wanted is not None or run.status == "planned":
            text = "it is measured in one piece" if run.status != "planned" else "no shard of it was begun"
            raise UsageError(text, where=where, hint="perfctl run --plan FILE --shard 1/8 begins one")
        return None
    if wanted is not None:
        if str(wanted) not in begun:
            text = f"shard {wanted} was not begun, only {', '.join(begun)}"
            raise UsageError(text, where=where, hint=f"perfctl run --plan FILE --shard {wanted} begins it")
        return begun[str(wanted)]
    left = {name: item for name, item in begun.items() if item.status != "complete"} or begun
    if len(left) > 1:
        text = f"several of its shards can be gone on with: {', '.join(left)}"
        raise UsageError(text, where=where, hint=f"perfctl resume {run.run_id} --shard {next(iter(left))}")
    return next(iter(left.values()))


def _key_of(state: BlockState) -> BlockKey:
    return state.benchmark, str(state.target), state.index


def progress_of(states: Sequence[BlockState]) -> tuple[frozenset[BlockKey], dict[BlockKey, int]]:
    """Return the blocks with a complete attempt, and the number of attempts of each."""
    done, attempts = set(), dict[BlockKey, int]()
    for state in states:
        key = _key_of(state)
        attempts[key] = max(attempts.get(key, 0), state.attempt)
        if state.status == "complete":
            done.add(key)
    return frozenset(done), attempts


def collect_orphans(session: RunSession, states: Sequence[BlockState]) -> frozenset[BlockKey]:
    """Store the results of jobs whose controller died, close their blocks, and remove left-over containers.

    Returns the blocks that are complete now.
    """
    blocks = {block_key(block): block for block in session.plan.blocks()}
    open_states = [state for state in states if state.status == "running"]
    collected: dict[str, Completed | PerfctlError] = {}
    by_host: list[tuple[ConnectedHost, tuple[str, ...]]] = []
    for host in session.fleet.hosts:
        known = session.stored.facts(host.name)
        if known.facts:
            session.facts[host.name] = known

    def collect(connected: ConnectedHost) -> None:
        found = connected.jobs.collect_results()
        collected.update(found)
        by_host.append((connected, tuple(found)))
        sweep(connected, session.run_id, session.plan)

    session.fleet.each(collect)
    completed_now = set()
    for state in open_states:
        block = blocks[_key_of(state)]
        if _close_orphaned(session, block, state, collected):
            completed_now.add(block_key(block))
    for connected, job_ids in by_host:
        # Also those that were stored just before their controller died: their results are not read again.
        for job_id in job_ids:
            connected.jobs.acknowledge(job_id)
    return frozenset(completed_now)


def _close_orphaned(
    session: RunSession, block: Block, state: BlockState, collected: Mapping[str, Completed | PerfctlError]
) -> bool:
    benchmark = session.benchmark(block.benchmark)
    known = {(item.environment, item.replicate): item.status for item in state.invocations}
    for planned in block.invocations:
        leg = (planned.environment, planned.replicate)
        identity = invocation_id(state.block_id, planned)
        if leg not in known and identity in collected:
            environment = session.environment(planned.environment)
            outcome = outcome_of_orphan(environment, benchmark, collected[identity])
            host = host_task(session, block.target.host, environment)
            outcome = with_true_label(outcome, environment, host)
            # The start is known by the host's monotonic clock only; this is when it was collected.
            record(session, block, state.block_id, planned, outcome, time.time())
            known[leg] = outcome.status
    whole = len(known) == len(block.invocations)
    session.store.writer.end_block(state.block_id, block_status(known.values()) if whole else "interrupted")
    return whole and block_status(known.values()) == "complete"


def outcome_of_orphan(
    environment: Environment, benchmark: Benchmark, found: Completed | PerfctlError
) -> InvocationOutcome:
    """Return the outcome of a job whose controller died; INTERRUPTED where too little of it is known."""
    if isinstance(found, PerfctlError):
        launcher.read_failure(found, benchmark.output_limit_bytes)
        return outcome_of(found)
    found = launcher.collected(found, benchmark.output_limit_bytes)
    tool = workload_of(benchmark)
    if boots(environment) or isinstance(tool, OpeningWorkload):
        detail = "the controller died, and only it knew how long the environment took to open"
        return InvocationOutcome(Status.INTERRUPTED, Reason.INTERRUPTED, detail, found)
    return read_outcome(tool, benchmark, found)
