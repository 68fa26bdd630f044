"""Carry out a run: its hosts, its lease, and the tracks of each round side by side, a thread each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from perfctl.environments import traits_of
from perfctl.environments.drivers import remove_all
from perfctl.environments.kinds import boots
from perfctl.errors import Interrupted
from perfctl.execute.block import BlockKey, Conduct, block_key, run_block
from perfctl.execute.course import Course, remaining
from perfctl.execute.fleet import ConnectedHost, Fleet
from perfctl.execute.outlook import Outlook, known_scatter, outlook
from perfctl.execute.preflight import preflight
from perfctl.execute.survey import survey_environments, take_host_facts
from perfctl.model import (
    Event,
    Host,
    Listener,
    Note,
    Plan,
    RunEnded,
    RunStarted,
    Status,
    Track,
    WorkAdded,
)
from perfctl.store import Store
from perfctl.validity import Thresholds

FEWEST_BOOTS = 3
"""What a guest is like differs from boot to boot: fewer boots than this do not show by how much."""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended: 'complete', 'partial' or 'interrupted', with its counts of invocations."""

    run_id: str
    status: str
    ok: int
    failed: int


@dataclass(frozen=True, slots=True)
class Work:
    """A run as it is to be carried out, or carried on: `attempts` has the tries so far of each block."""

    run_id: str
    plan: Plan
    hosts: Sequence[Host]
    done: frozenset[BlockKey] = frozenset()
    attempts: Mapping[BlockKey, int] = field(default_factory=dict)
    thresholds: Thresholds = field(default_factory=Thresholds)
    force: bool = False
    """Measure also on hosts that preflight would refuse."""


def conduct_run(
    work: Work,
    store: Store,
    listener: Listener,
    *,
    before: Callable[[Conduct], frozenset[BlockKey]] | None = None,
) -> RunOutcome:
    """Connect, survey, run what is not done yet, read the hosts' facts again, and close the run.

    Pilots are followed by what they show to be needed, and what failed is run once more (`Course`).

    `before` is called once the hosts are connected (resume collects what an earlier controller left) and
    returns further blocks that are complete. On Ctrl-C or SIGTERM jobs and containers are ended, the blocks
    in work are flagged, and the exception goes on.
    """
    listener = _also_stored(listener, store, work.run_id)
    longest = outlook(work.plan, {})
    lifetime_s = 3 * (longest.planned_s + longest.most_later_s) + 3600
    with _leased(store, work, lifetime_s):
        # Only now: a run that another controller holds must not be touched.
        store.reopen_run(work.run_id)
        return _conduct_leased(work, store, listener, before, lifetime_s=lifetime_s)


def _conduct_leased(
    work: Work,
    store: Store,
    listener: Listener,
    before: Callable[[Conduct], frozenset[BlockKey]] | None,
    *,
    lifetime_s: float,
) -> RunOutcome:
    try:
        with Fleet(work.hosts, work.run_id, lifetime_s=lifetime_s) as fleet:
            conduct = Conduct(work.run_id, work.plan, store, fleet, {}, listener, thresholds=work.thresholds)
            done = work.done | (before(conduct) if before else frozenset())
            known = known_scatter(store, work.plan, without_run=work.run_id)
            ahead = outlook(work.plan, known, remaining=remaining(work.plan, done))
            listener(_started(work, done, ahead))
            for note in (*_forecasts(ahead), *_lost_hosts(fleet), *few_boots(work.plan)):
                listener(note)
            try:
                preflight(conduct, force=work.force)
                conduct.survey = survey_environments(fleet, store, work.run_id, work.plan, listener)
                Course(conduct, partial(_run_side_by_side, conduct), known=known).run(done, work.attempts)
                take_host_facts(fleet, store, work.run_id, work.plan, "after", listener)
            except BaseException:
                # An engine that was asked for a container as we were stopped may have made it since.
                fleet.each(lambda connected: sweep(connected, work.run_id, work.plan))
                raise
    except BaseException as error:
        store.end_run(work.run_id, "interrupted")
        _tell_end(store, work.run_id, "interrupted", listener)
        if isinstance(error, (KeyboardInterrupt, Interrupted)):
            where, hint = f"run {work.run_id}", f"perfctl resume {work.run_id}"
            raise Interrupted("stopped; what was measured is kept", where=where, hint=hint) from error
        raise
    return _close(store, work.run_id, listener)


def sweep(connected: ConnectedHost, run_id: str, plan: Plan) -> None:
    """Remove the containers and guests of this run that are still on a host."""
    used = (each for item in plan.environments for each in (item, item.of_server))
    if any(traits_of(each).is_made for each in used):
        remove_all(connected.jobs, run_id)


def _started(work: Work, done: frozenset[BlockKey], ahead: Outlook) -> RunStarted:
    members = len(work.plan.environments) + 1
    done_before = len(done) * members
    return RunStarted(work.run_id, work.plan, done_before, ahead.planned_s, ahead.later_s, ahead.most_later_s)


def _forecasts(ahead: Outlook) -> Iterator[Note]:
    for benchmark, text in ahead.lines():
        yield Note("info", benchmark, text)


def _lost_hosts(fleet: Fleet) -> Iterator[Note]:
    for name, error in fleet.lost.items():
        hint = f" ({error.hint})" if error.hint else ""
        yield Note("warning", name, f"nothing is measured there: {error.message}{hint}")


def few_boots(plan: Plan) -> Iterator[Note]:
    """Yield a warning when guests are booted too seldom to see how one boot differs from another."""
    times = len({block.index for block in plan.blocks()})
    guests = [item.name for item in plan.environments if boots(item)]
    if guests and times < FEWEST_BOOTS:
        yield Note(
            "warning",
            ", ".join(guests),
            f"each guest is booted {times}x, and one boot differs from another: to see by how much takes"
            f" {FEWEST_BOOTS} (--blocks {FEWEST_BOOTS})",
        )


def _also_stored(listener: Listener, store: Store, run_id: str) -> Listener:
    """Return a listener that keeps what was worth saying in the database, and passes everything on."""

    def tell(event: Event) -> None:
        if isinstance(event, Note):
            store.record_event(run_id, event.level, event.where, event.text)
        if isinstance(event, WorkAdded):
            store.record_event(run_id, "info", event.where, event.text)
        listener(event)

    return tell


@contextmanager
def _leased(store: Store, work: Work, ttl_s: float) -> Iterator[None]:
    """Hold the hosts for this run: two runs on one machine would measure each other. Raises HostLeased."""
    lease_id = store.acquire_lease(work.run_id, work.hosts, ttl_s)
    try:
        yield
    finally:
        store.release_lease(lease_id)


def _close(store: Store, run_id: str, listener: Listener) -> RunOutcome:
    states = sorted(store.block_states(run_id), key=lambda state: state.attempt)
    latest = {(state.benchmark, str(state.target), state.index): state.status for state in states}
    whole = all(status == "complete" for status in latest.values())
    status: Literal["complete", "partial"] = "complete" if whole else "partial"
    store.end_run(run_id, status)
    return _tell_end(store, run_id, status, listener)


def _tell_end(store: Store, run_id: str, status: str, listener: Listener) -> RunOutcome:
    counts = store.counts(run_id)
    ok = sum(item.invocations for item in counts if item.status is Status.OK)
    failed = sum(item.invocations for item in counts if item.status is Status.FAILED)
    skipped = sum(item.invocations for item in counts if item.status is Status.SKIPPED)
    listener(RunEnded(run_id, status, ok, failed, skipped))
    return RunOutcome(run_id, status, ok, failed)


def _run_side_by_side(conduct: Conduct, tracks: Sequence[Track], attempts: Mapping[BlockKey, int]) -> None:
    with ThreadPoolExecutor(max_workers=len(tracks), thread_name_prefix="track") as pool:
        futures = [pool.submit(_run_track, conduct, track, attempts) for track in tracks]
        try:
            _wait(futures)
        except BaseException:
            # Ctrl-C, SIGTERM, or a track that could go no further: end what the others are doing too.
            conduct.stop.set()
            conduct.fleet.cancel()
            raise


def _wait(futures: Sequence[Future[None]]) -> None:
    """Wait for all, or for the first error, and raise it. Signals get through between the waits."""
    pending = set(futures)
    while pending:
        finished, pending = wait(pending, timeout=1.0, return_when=FIRST_EXCEPTION)
        for future in finished:
            future.result()


def _run_track(conduct: Conduct, track: Track, attempts: Mapping[BlockKey, int]) -> None:
    for block in track.blocks:
        if conduct.stop.is_set():
            raise Interrupted("stopped before the next block")
        run_block(conduct, block, attempts.get(block_key(block), 0) + 1)


__all__ = ["RunOutcome", "Work", "conduct_run"]
