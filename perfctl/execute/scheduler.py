"""Schedule the blocks of a run: the plan's rounds, each benchmark's second stage, then failed blocks again.

    rounds of the plan ── a pilot is over: grow and store the plan ── second stages ── failed blocks again
    └── tracks   one thread each, side by side within a round
        └── run_block

The plan in the database always has every block that is run, so that `resume` continues a killed run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace

from perfctl.environments.kinds import boots
from perfctl.errors import Interrupted
from perfctl.execute.block import BlockKey, block_key, run_block, would_fail_again
from perfctl.execute.session import RunSession
from perfctl.job import MARGIN_S
from perfctl.model import Benchmark, Block, Round, Track, WorkAdded
from perfctl.plan import grow

_BOOTS_S = 600.0
"""How long it may take to open an environment with a guest, with a second boot."""

_INTERVAL_PER_THREAD_S = 1e-4

RunTracks = Callable[[RunSession, Sequence[Track], Mapping[BlockKey, int]], None]
"""Runs the tracks of a round side by side; the mapping has the attempts so far at each block."""


def run_tracks(session: RunSession, tracks: Sequence[Track], attempts: Mapping[BlockKey, int]) -> None:
    """Run the tracks of a round side by side, a thread each. Raises the first error; the others end then."""
    with (
        _seldom_switching(len(tracks)),
        ThreadPoolExecutor(max_workers=len(tracks), thread_name_prefix="track") as pool,
    ):
        futures = [pool.submit(_run_track, session, track, attempts) for track in tracks]
        try:
            _wait(futures)
        except BaseException:
            # Ctrl-C, SIGTERM, or an error in one track: end the others too.
            session.stop.set()
            session.store.stop_waiting()
            session.fleet.cancel()
            raise


@contextmanager
def _seldom_switching(thread_count: int) -> Iterator[None]:
    """Have Python change between so many threads less often.

    Each thread that waits for its turn wakes up once per interval (5 ms): a thousand of them took a third of
    the processor for that.
    """
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(max(before_s, _INTERVAL_PER_THREAD_S * thread_count))
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


class Scheduler:
    """Runs the blocks of a session's plan in their order, and grows the plan when a pilot is over."""

    def __init__(self, session: RunSession, run_tracks: RunTracks = run_tracks) -> None:
        """Take the session, and what runs the tracks of a round."""
        self._session = session
        self._run_tracks = run_tracks

    def run(self, done: frozenset[BlockKey], attempts: Mapping[BlockKey, int]) -> None:
        """Run the blocks that are not `done`, decide pilots that are over, repeat failed blocks once."""
        position = 0
        while position < len(self._session.plan.rounds):
            ahead = without(self._session.plan.rounds[position : position + 1], done)
            for round_ in ahead:
                self._hold_idle(round_)
                self._run_tracks(self._session, round_.tracks, attempts)
            position += 1
            self._grow_due(position, done)
        self._repeat_failed()

    def _hold_idle(self, round_: Round) -> None:
        """Hold the hosts that are not in the round to its latest end: meanwhile nothing is sent there."""
        session = self._session
        busy = {name for track in round_.tracks for block in track.blocks for name in block.target.hosts}
        idle = {host.name for host in session.fleet.hosts} - busy
        if idle:
            longest_s = max(_longest_s(session, track) for track in round_.tracks)
            session.fleet.hold(idle, longest_s + MARGIN_S)

    def _grow_due(self, position: int, done: frozenset[BlockKey]) -> None:
        plan = self._session.plan
        ahead = {block.benchmark for block in replace(plan, rounds=plan.rounds[position:]).blocks()}
        for benchmark in plan.undecided():
            if benchmark.name not in ahead:
                self._grow(benchmark, position, done)

    def _grow(self, benchmark: Benchmark, position: int, done: frozenset[BlockKey]) -> None:
        session = self._session
        plan = grow(session.plan, benchmark, session.stored.observations())
        decision = plan.decisions[-1]
        if decision.wanted is None and session.fleet.lost:
            # The lost hosts may be reachable when the run is resumed; the pilot is decided then.
            return
        before = len(session.plan.rounds)
        grown = replace(session.planned, plan=plan)
        session.store.writer.grow_plan(session.run_id, plan, grown.plan_json)
        session.planned = grown
        added = replace(plan, rounds=plan.rounds[before:])
        self._report(
            benchmark.name, decision.text, tuple(added.blocks()), without(plan.rounds[position:], done)
        )

    def _repeat_failed(self) -> None:
        """Run blocks that failed once again, as their next attempt, unless they would fail again."""
        session = self._session
        failures = dict[BlockKey, int]()
        latest = dict[BlockKey, tuple[int, str]]()
        for state in session.stored.block_states():
            key = (state.benchmark, str(state.target), state.index)
            latest[key] = max(latest.get(key, (0, "")), (state.attempt, state.status))
            failures[key] = failures.get(key, 0) + (state.status == "failed")
        again = {
            block_key(block): block
            for block in session.plan.blocks()
            if latest.get(block_key(block), (0, ""))[1] == "failed" and failures[block_key(block)] == 1
        }
        again = {key: block for key, block in again.items() if not would_fail_again(session, block)}
        if not again:
            return
        others = frozenset(block_key(block) for block in session.plan.blocks()) - again.keys()
        rounds = without(session.plan.rounds, others)
        blocks = (
            "1 block with a failed member is"
            if len(again) == 1
            else f"{len(again)} blocks with a failed member are"
        )
        text = f"{blocks} run once more, whole"
        self._report("", text, tuple(again.values()), rounds, is_repetition=True)
        for round_ in rounds:
            self._hold_idle(round_)
            attempts = {key: attempt for key, (attempt, _) in latest.items()}
            self._run_tracks(session, round_.tracks, attempts)

    def _report(
        self,
        where: str,
        text: str,
        blocks: tuple[Block, ...],
        rounds: tuple[Round, ...],
        *,
        is_repetition: bool = False,
    ) -> None:
        ahead = self._session.planned.estimate(rounds)
        self._session.listener(
            WorkAdded(where, text, blocks, ahead.planned_s, ahead.later_s, ahead.most_later_s, is_repetition)
        )


def _longest_s(session: RunSession, track: Track) -> float:
    """Return how long a track takes when every benchmark takes all of its time limit."""
    return sum(
        session.benchmark(block.benchmark).timeout_s
        + (_BOOTS_S if boots(session.environment(planned.environment)) else 0.0)
        for block in track.blocks
        for planned in block.invocations
    )


def without(rounds: Sequence[Round], done: Collection[BlockKey]) -> tuple[Round, ...]:
    """Return the rounds without the blocks that are done; rounds and tracks stay in their order."""
    found = []
    for round_ in rounds:
        blocks = [
            [block for block in track.blocks if block_key(block) not in done] for track in round_.tracks
        ]
        found.append(Round(tuple(Track(tuple(left)) for left in blocks if left)))
    return tuple(round_ for round_ in found if round_.tracks)


def _wait(futures: Sequence[Future[None]]) -> None:
    """Wait for all, or for the first error, and raise it. Signals get through between the waits."""
    pending = set(futures)
    while pending:
        finished, pending = wait(pending, timeout=1.0, return_when=FIRST_EXCEPTION)
        for future in finished:
            future.result()


def _run_track(session: RunSession, track: Track, attempts: Mapping[BlockKey, int]) -> None:
    for block in track.blocks:
        if session.stop.is_set():
            raise Interrupted("stopped before the next block")
        run_block(session, block, attempts.get(block_key(block), 0) + 1)
