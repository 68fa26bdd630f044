"""Execute a planned run: connect and lease its hosts, survey them, run its blocks, and close it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal

from perfctl import __version__
from perfctl.environments import traits_of
from perfctl.environments.drivers import remove_all
from perfctl.environments.kinds import boots
from perfctl.errors import (
    CommandFailed,
    DatabaseLost,
    DatabaseMoved,
    DatabaseUnavailable,
    HostLeased,
    Interrupted,
)
from perfctl.execute.ahead import ReadAhead
from perfctl.execute.block import BlockKey, block_key
from perfctl.execute.files import remove_files
from perfctl.execute.fleet import ConnectedHost, Fleet
from perfctl.execute.leftovers import reap_leftovers
from perfctl.execute.preflight import preflight
from perfctl.execute.scheduler import Scheduler, without
from perfctl.execute.session import RunSession
from perfctl.execute.survey import describe_again, survey_environments, take_host_facts
from perfctl.model import Event, Listener, Note, Plan, RunEnded, RunStarted, Status, WorkAdded
from perfctl.plan.request import PlannedRun
from perfctl.ssh import Connect, connect
from perfctl.store import Store, open_store

FEWEST_BOOTS = 3
"""Guests differ from boot to boot: fewer boots than this do not show by how much."""

_SURVEY_S = 1800.0
"""How long hosts are held while guests are booted to read what is true inside."""

Before = Callable[[RunSession], frozenset[BlockKey]]
"""Called once the hosts are connected; returns further blocks that are complete."""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended: 'complete', 'partial' or 'interrupted', with its counts of invocations."""

    run_id: str
    status: str
    ok: int
    """Of the run, also where this was a shard of it."""
    failed: int
    resume_command: str = ""
    """What a user types to go on with it; '' is `perfctl resume` with its id."""


def execute_run(
    planned: PlannedRun,
    *,
    database_url: str,
    command: Sequence[str],
    listener: Listener,
    connect: Connect = connect,
    patience_s: float = 0.0,
) -> RunOutcome:
    """Store a run that has just been planned, and run it to its end, on hosts that `connect` reaches.

    A database's server that is lost meanwhile is waited for, up to `patience_s`; then DatabaseLost is raised.
    Raises Interrupted when stopped, with the command that resumes it.
    """
    with open_store(database_url, create=True, patience_s=patience_s) as store:
        store.writer.begin_run(
            planned.run_id,
            planned.plan,
            planned.plan_json,
            planned.hosts,
            command=command,
            perfctl_version=__version__,
            inventory=planned.inventory,
            thresholds_json=planned.thresholds.to_json(),
        )
        try:
            return run_to_end(planned, store, listener, connect=connect)
        except HostLeased:
            store.writer.end_run(planned.run_id, "interrupted")
            raise


def run_to_end(
    planned: PlannedRun,
    store: Store,
    listener: Listener,
    *,
    done: frozenset[BlockKey] = frozenset(),
    attempts: Mapping[BlockKey, int] | None = None,
    before: Before | None = None,
    connect: Connect = connect,
) -> RunOutcome:
    """Connect, lease, survey, run what is not done yet, read the hosts' facts again, and close the run.

    `attempts` has the attempts so far at each block. `before` collects what an earlier controller left. On
    Ctrl-C or SIGTERM jobs and containers are ended, unfinished blocks are flagged, and the error is raised.
    Raises HostLeased, before anything is changed, while another holder has one of the hosts.
    Raises DatabaseMoved when the database goes away, DatabaseLost when its server does and stays away: the
    hosts keep the results that are not stored.
    """
    listener = _also_stored(listener, store, planned.run_id)
    longest = planned.estimate()
    lifetime_s = 3 * (longest.planned_s + longest.most_later_s) + 3600
    ahead = ReadAhead()
    # Jobs of an earlier controller may still run, and are waited for first.
    meanwhile = () if before else ahead.readers(planned.plan, planned.hosts)
    purpose = "resume" if before else "run"
    with _with_way_back(planned.resume_command):
        try:
            with Fleet(
                *(planned.hosts, planned.run_id),
                lifetime_s=lifetime_s,
                purpose=purpose,
                connect=connect,
                meanwhile=meanwhile,
            ) as fleet:
                # Only now: a run that another controller holds must not be touched.
                _reopen(store, planned)
                session = RunSession(planned, store, fleet, listener, ahead=ahead)
                reap_leftovers(session)
                _run(session, done | (before(session) if before else frozenset()), attempts or {})
        except (HostLeased, DatabaseMoved, DatabaseLost):
            raise
        except BaseException as error:
            store.stop_waiting()
            close(store, planned, "interrupted")
            _report_end(store, planned, "interrupted", listener)
            if isinstance(error, (KeyboardInterrupt, Interrupted)):
                where, hint = f"run {planned.run_id}", planned.resume_command
                raise Interrupted("stopped; what was measured is kept", where=where, hint=hint) from error
            raise
        return _close(store, session.planned, listener)


def _reopen(store: Store, planned: PlannedRun) -> None:
    if planned.shard is None:
        store.writer.reopen_run(planned.run_id)
    else:
        store.writer.reopen_shard(planned.run_id, planned.shard.number)


def close(store: Store, planned: PlannedRun, status: Literal["complete", "partial", "interrupted"]) -> None:
    """Store how a run, or the shard of one, has ended."""
    if planned.shard is None:
        store.writer.end_run(planned.run_id, status)
    else:
        names = [host.name for host in planned.hosts]
        store.writer.end_shard(planned.run_id, planned.shard.number, status, names)


def _run(session: RunSession, done: frozenset[BlockKey], attempts: Mapping[BlockKey, int]) -> None:
    """Run the blocks that are not done on the connected hosts."""
    session.planned = session.planned.with_prior(session.store)
    for event in _opening_events(session, done):
        session.listener(event)
    fleet, store, run_id, plan = session.fleet, session.store, session.run_id, session.plan
    try:
        if is_unfinished(plan, done):
            preflight(session, force=session.planned.force)
            if any(boots(item) for item in plan.environments):
                # A host may have to wait long for the guests of another one.
                fleet.hold({host.name for host in fleet.hosts}, _SURVEY_S)
            session.survey = survey_environments(fleet, store, run_id, plan, session.listener)
            Scheduler(session).run(done, attempts)
        where = (fleet, store, run_id, plan)
        readers: list[Callable[[], object]] = [
            partial(take_host_facts, *where, "after", session.listener),
            partial(describe_again, *where, session.listener),
        ]
        fleet.each_of(readers, _call)
        own = {host.name for host in fleet.hosts}
        for change in store.run(run_id).changes():
            if change.place[0] not in own:
                # Of another shard's hosts another controller says it.
                continue
            text = f"{change}: its benchmarks are confounded, and no gate passes or fails by them"
            session.listener(Note("warning", change.place[0], text))
    except BaseException as error:
        if isinstance(error, DatabaseMoved):
            # What was stored may have gone with the file.
            fleet.each(lambda connected: connected.jobs.keep_results())
        # A container that was requested just before the stop may have been made since.
        fleet.each(lambda connected: sweep(connected, run_id, plan))
        raise


def _call(action: Callable[[], object]) -> None:
    action()


def is_unfinished(plan: Plan, done: Collection[BlockKey]) -> bool:
    """Return whether a block is still to be run, or a pilot to be decided."""
    return bool(plan.undecided()) or any(block_key(block) not in done for block in plan.blocks())


def sweep(connected: ConnectedHost, run_id: str, plan: Plan) -> None:
    """Remove the containers, guests and files of this run that are still on a host."""
    used = (each for item in plan.environments for each in (item, item.of_server))
    if any(traits_of(each).is_made for each in used):
        remove_all(connected.jobs, run_id)
    with suppress(CommandFailed):  # `perfctl reap` says what stays there, and why.
        remove_files(connected.jobs, plan)


def _opening_events(session: RunSession, done: frozenset[BlockKey]) -> Iterator[Event]:
    plan = session.plan
    ahead = session.planned.estimate(without(plan.rounds, done))
    done_before = len(done) * (len(plan.environments) + 1)
    yield RunStarted(session.run_id, plan, done_before, ahead.planned_s, ahead.later_s, ahead.most_later_s)
    for benchmark, text in ahead.lines():
        yield Note("info", benchmark, text)
    for name, error in session.fleet.lost.items():
        hint = f" ({error.hint})" if error.hint else ""
        yield Note("warning", name, f"nothing is measured there: {error.message}{hint}")
    yield from few_boots(plan)


def few_boots(plan: Plan) -> Iterator[Note]:
    """Yield a warning when guests are booted too seldom to show the variance between boots."""
    times = len({block.index for block in plan.blocks()})
    guests = [item.name for item in plan.environments if boots(item)]
    if guests and times < FEWEST_BOOTS:
        yield Note(
            "warning",
            ", ".join(guests),
            f"each guest is booted only {times}x: the variance between boots takes {FEWEST_BOOTS} or more"
            f" (--blocks {FEWEST_BOOTS})",
        )


def _also_stored(listener: Listener, store: Store, run_id: str) -> Listener:
    """Return a listener that stores notes and added work as events of the run, and passes everything on."""

    def store_and_pass_on(event: Event) -> None:
        if isinstance(event, Note):
            store.writer.record_event(run_id, event.level, event.where, event.text)
        if isinstance(event, WorkAdded):
            store.writer.record_event(run_id, "info", event.where, event.text)
        listener(event)

    return store_and_pass_on


@contextmanager
def _with_way_back(resume_command: str) -> Iterator[None]:
    """Name the command that finishes the run in the error of a database that went away or is full."""
    try:
        yield
    except DatabaseMoved as error:
        error.hint = (
            f"put it back, then: {resume_command}; or name with --db where it is now;"
            " the hosts keep the results that are not in it"
        )
        raise
    except DatabaseUnavailable as error:
        error.hint = "; ".join(filter(None, (error.hint, f"go on: {resume_command}")))
        raise


def _close(store: Store, planned: PlannedRun, listener: Listener) -> RunOutcome:
    """End the run, or its shard: complete when every planned block, with all invocations, is stored."""
    whole = {
        (state.benchmark, str(state.target), state.index): len(state.invocations)
        for state in store.run(planned.run_id).block_states()
        if state.status == "complete"
    }
    plan = planned.plan
    is_whole = not plan.undecided() and all(
        whole.get(block_key(block)) == len(block.invocations) for block in plan.blocks()
    )
    status: Literal["complete", "partial"] = "complete" if is_whole else "partial"
    close(store, planned, status)
    return _report_end(store, planned, status, listener)


def _report_end(store: Store, planned: PlannedRun, status: str, listener: Listener) -> RunOutcome:
    run_id = planned.run_id
    counts = store.run(run_id).counts()
    ok = sum(item.invocations for item in counts if item.status is Status.OK)
    failed = sum(item.invocations for item in counts if item.status is Status.FAILED)
    skipped = sum(item.invocations for item in counts if item.status is Status.SKIPPED)
    listener(RunEnded(run_id, status, ok, failed, skipped))
    return RunOutcome(run_id, status, ok, failed, planned.resume_command)
