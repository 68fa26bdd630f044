"""Scheduling a run: pilots, second stages, and failed blocks once more, on a real database and plan.

Only the measuring is made up: `Made` stores values, or failures, where hosts would have been asked.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from perfctl.errors import EnvironmentNotMade, EnvironmentUnavailable, HostUnreachable
from perfctl.execute.block import LONGEST_PAUSE_S, BlockKey, block_key, run_block
from perfctl.execute.fleet import Fleet
from perfctl.execute.invocation import InvocationOutcome, outcome_of
from perfctl.execute.resume import progress_of
from perfctl.execute.scheduler import Scheduler, without
from perfctl.execute.session import RunSession
from perfctl.execute.survey import SurveyResult
from perfctl.model import (
    Benchmark,
    Block,
    Event,
    Host,
    Observation,
    Plan,
    Reason,
    Sample,
    Status,
    Suite,
    Track,
    WorkAdded,
    new_id,
)
from perfctl.plan import make_block, make_plan, plan_from_json, plan_to_json
from perfctl.plan.request import PlannedRun
from perfctl.render.comparison import comparison_view
from perfctl.report import comparison_report
from perfctl.stats.precision import second_stage, stdev
from perfctl.store import Store, open_store
from tests.unit import store_cases as cases

NOISY = replace(cases.CPU, name="noisy", precision=0.01)
QUIET = Benchmark("quiet", "sysbench", {"test": "cpu", "threads": 2}, expected_s=5, precision=0.01)
FIXED = Benchmark("fixed", "sysbench", {"test": "cpu", "threads": 3}, expected_s=5)


class Killed(Exception):
    """The controller dies."""


@dataclass
class Made:
    """Runs tracks: a leg's value is by its block's number alone, so that two runs give the same."""

    fails: Callable[[Block, int], bool] = lambda block, attempt: False
    deviation: Mapping[str, float] = field(default_factory=lambda: {"noisy": 0.02, "quiet": 0.001})
    dies_after: int | None = None
    order: list[tuple[BlockKey, int]] = field(default_factory=list)

    def __call__(
        self, session: RunSession, tracks: Sequence[Track], attempts: Mapping[BlockKey, int]
    ) -> None:
        for track in tracks:
            for block in track.blocks:
                if self.dies_after is not None and len(self.order) >= self.dies_after:
                    raise Killed
                self._measure(session, block, attempts.get(block_key(block), 0) + 1)

    def _measure(self, session: RunSession, block: Block, attempt: int) -> None:
        store = session.store
        block_id = store.writer.begin_block(session.run_id, block, attempt)
        self.order.append((block_key(block), attempt))
        failed = self.fails(block, attempt) or block.target.host in session.fleet.lost
        for planned in block.invocations:
            record = cases.record(block_id, planned.environment, planned.replicate, position=planned.position)
            if failed:
                record = replace(record, status=Status.FAILED, reason=Reason.EXIT_NONZERO)
            value = 1000.0
            if planned.environment != "native":
                value *= 1 + self.deviation.get(block.benchmark, 0.0) * (1 if block.index % 2 else -1)
            store.writer.record_invocation(record, cases.METRICS, () if failed else cases.samples(value))
        store.writer.end_block(block_id, "failed" if failed else "complete")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "results.db", create=True) as opened:
        yield opened


def session_of(store: Store, planned: PlannedRun) -> RunSession:
    """Return a session whose fleet is not connected to anything."""
    fleet = Fleet(planned.hosts, planned.run_id, lifetime_s=1)
    return RunSession(planned, store, fleet, lambda event: None)


def resumed(session: RunSession) -> RunSession:
    """Return the session that continues the run, from its plan in the database, with all hosts there."""
    return session_of(session.store, replace(session.planned, plan=stored(session)))


def begin(store: Store, *benchmarks: Benchmark, blocks: int | None = None, hosts: int = 2) -> RunSession:
    """Return a run that has not begun; its fleet is not connected to anything."""
    suite = Suite("s", "", "native", (cases.NATIVE, cases.CONTAINER), benchmarks, blocks)
    machines = [Host(f"h{number}", f"192.0.2.{number}") for number in range(1, hosts + 1)]
    run_id = new_id()
    plan = make_plan(suite, machines, seed="söed")
    store.writer.begin_run(
        run_id, plan, plan_to_json(plan), machines, command=(), perfctl_version="0", inventory=()
    )
    return session_of(store, PlannedRun(run_id, plan, tuple(machines)))


def carry_out(session: RunSession, made: Made) -> list[WorkAdded]:
    """Run or go on as `resume` does, and return what was said to be added."""
    heard: list[Event] = []
    session.listener = heard.append
    done, attempts = progress_of(session.store.run(session.run_id).block_states())
    Scheduler(session, made).run(done, attempts)
    return [event for event in heard if isinstance(event, WorkAdded)]


def stored(session: RunSession) -> Plan:
    return plan_from_json(session.store.run(session.run_id).plan_json())


def keys(plan: Plan) -> set[BlockKey]:
    return {block_key(block) for block in plan.blocks()}


def test_a_pilot_is_followed_by_what_it_shows_to_be_needed(store: Store) -> None:
    session = begin(store, NOISY, QUIET)
    made = Made()
    noisy, quiet = carry_out(session, made)
    values = [0.02 if number % 2 else -0.02 for number in range(10)]
    s_d = stdev(values)
    assert s_d is not None
    assert 10 < second_stage(s_d, tau=0.01).blocks == len({b.index for b in noisy.blocks}) + 10
    assert quiet.blocks == ()
    assert "needs 1 block for ±1 %; with 10 expect" in quiet.text
    assert (noisy.where, quiet.where) == ("noisy", "quiet")
    assert [key for key, _ in made.order] == [block_key(block) for block in session.plan.blocks()]
    assert len(set(made.order)) == len(made.order)
    assert store.run(session.run_id).detail().summary.planned == session.plan.invocation_count
    assert stored(session) == session.plan


def test_all_environments_and_hosts_of_a_benchmark_stop_together(store: Store) -> None:
    session = begin(store, NOISY, QUIET, hosts=3)
    carry_out(session, Made())
    counts: dict[tuple[str, str], int] = {}
    for benchmark, target, _ in keys(session.plan):
        counts[benchmark, target] = counts.get((benchmark, target), 0) + 1
    assert {counts["quiet", host] for host in ("h1", "h2", "h3")} == {10}
    assert len({counts["noisy", host] for host in ("h1", "h2", "h3")}) == 1


def test_a_report_counts_the_plan_as_grown_and_tells_the_first(store: Store) -> None:
    session = begin(store, NOISY, QUIET)
    before = comparison_report(store, session.run_id)
    assert (before.planned_blocks, before.first_planned_blocks) == (40, None)
    carry_out(session, Made())
    store.writer.end_run(session.run_id, "complete")
    grown_by = len(keys(session.plan)) - 40
    assert grown_by > 0
    report = comparison_report(store, session.run_id)
    assert (report.blocks, report.planned_blocks) == (40 + grown_by, 40 + grown_by)
    assert report.first_planned_blocks == 40
    (line, *_) = comparison_view(report).footer
    blocks = f"{40 + grown_by} of {40 + grown_by} blocks have values"
    assert line.endswith(f"{blocks} (40 were planned at first, second stages added {grown_by})")


def test_a_report_of_a_pilot_that_was_enough_tells_one_plan(store: Store) -> None:
    session = begin(store, QUIET)
    carry_out(session, Made())
    store.writer.end_run(session.run_id, "complete")
    report = comparison_report(store, session.run_id)
    assert (report.planned_blocks, report.first_planned_blocks) == (20, 20)
    assert comparison_view(report).footer[0].endswith("20 of 20 blocks have values")


def test_a_report_of_a_fixed_number_of_blocks_tells_one_plan(store: Store) -> None:
    session = begin(store, FIXED, blocks=4)
    carry_out(session, Made())
    report = comparison_report(store, session.run_id)
    assert (report.planned_blocks, report.first_planned_blocks) == (8, None)
    assert "planned at first" not in comparison_view(report).footer[0]


def test_the_second_stage_is_capped_and_says_so(store: Store) -> None:
    session = begin(store, NOISY, hosts=1)
    (said,) = carry_out(session, Made(deviation={"noisy": 0.1}))
    assert "capped at 30, expect ±" in said.text
    assert {index for _, _, index in keys(session.plan)} == set(range(30))


def test_a_fixed_number_of_blocks_has_no_second_stage(store: Store) -> None:
    session = begin(store, FIXED, blocks=4)
    assert carry_out(session, Made(deviation={"fixed": 0.5})) == []
    assert {index for _, _, index in keys(session.plan)} == set(range(4))


def test_the_order_is_that_of_a_plan_so_long_from_the_start(store: Store) -> None:
    session = begin(store, NOISY)
    carry_out(session, Made())
    for block in session.plan.blocks():
        assert block == make_block(session.plan, NOISY, block.target, block.index, seed="söed")


def test_a_killed_run_goes_on_to_the_same_end(store: Store) -> None:
    whole = begin(store, NOISY, QUIET)
    carry_out(whole, Made())
    for dies_after in (0, 1, 9, 10, 19, 20, 21, 30, 39, 40, 41, 50):
        cut = begin(store, NOISY, QUIET)
        first = Made(dies_after=dies_after)
        with pytest.raises(Killed):
            carry_out(cut, first)
        again = resumed(cut)
        second = Made()
        carry_out(again, second)
        assert again.plan == replace(whole.plan, decisions=again.plan.decisions)
        assert again.plan.decisions == whole.plan.decisions
        assert stored(again) == again.plan
        done = [key for key, _ in first.order + second.order]
        assert sorted(done) == sorted(keys(whole.plan)), f"every block once, none repeated ({dies_after})"


def test_what_is_decided_is_not_decided_again_when_a_failed_block_has_run(store: Store) -> None:
    session = begin(store, NOISY, hosts=1)
    made = Made(fails=lambda block, attempt: block.index == 3 and attempt == 1)
    carry_out(session, made)
    decisions = session.plan.decisions
    again = resumed(session)
    later = Made(deviation={"noisy": 0.5})
    assert carry_out(again, later) == []
    assert (again.plan.decisions, later.order) == (decisions, [])


def test_a_failed_block_is_run_once_more_at_the_end(store: Store) -> None:
    session = begin(store, FIXED, replace(QUIET, precision=None), blocks=3)
    made = Made(fails=lambda block, attempt: block.index == 1 and attempt == 1)
    said = carry_out(session, made)
    failed = [(block_key(b), 2) for b in session.plan.blocks() if b.index == 1]
    assert made.order[-len(failed) :] == failed
    assert [attempt for _, attempt in made.order].count(2) == len(failed) == 4
    assert said[-1].is_repetition
    assert said[-1].text == "4 blocks with a failed member are run once more, whole"
    assert len(said[-1].blocks) == 4
    states = store.run(session.run_id).block_states()
    kept = [state for state in states if state.status == "failed"]
    assert {state.attempt for state in kept} == {1}, "the failed attempt is kept"
    # The complete attempt is the one that counts, and it counts once.
    counted = {(o.benchmark, str(o.target), o.block, o.environment, o.replicate) for o in _seen(session)}
    assert len(counted) == len(_seen(session)) == 2 * 2 * 3 * 3


def _seen(session: RunSession) -> list[Observation]:
    return session.store.run(session.run_id).observations()


def test_a_block_that_fails_again_is_left_at_that(store: Store) -> None:
    session = begin(store, FIXED, blocks=2, hosts=1)
    made = Made(fails=lambda block, attempt: block.index == 0)
    (said,) = carry_out(session, made)
    assert said.text == "1 block with a failed member is run once more, whole"
    assert [attempt for key, attempt in made.order if key[2] == 0] == [1, 2]
    # Whoever resumes wants it tried again, once.
    later = Made(fails=lambda block, attempt: True)
    assert carry_out(session, later) == []
    assert later.order == [(("fixed", "h1", 0), 3)]


def test_the_realised_order_of_every_attempt_is_stored(store: Store) -> None:
    session = begin(store, NOISY, hosts=1)
    carry_out(session, Made(fails=lambda block, attempt: block.index in (2, 11) and attempt == 1))
    with sqlite3.connect(store.path) as connection:
        found = connection.execute(
            "SELECT block_index, attempt, order_json, (SELECT json_group_array(name) FROM"
            " (SELECT environment.name FROM invocation JOIN environment USING (environment_id)"
            "  WHERE invocation.block_id = block.block_id ORDER BY position)) FROM block"
        ).fetchall()
    planned = {b.index: [[i.environment, i.replicate] for i in b.invocations] for b in session.plan.blocks()}
    assert {(index, attempt) for index, attempt, *_ in found if attempt > 1} == {(2, 2), (11, 2)}
    for index, _, order, realised in found:
        assert json.loads(order) == planned[index]
        assert json.loads(realised) == [environment for environment, _ in planned[index]]


def test_a_lost_host_is_not_tried_again_and_the_others_decide(store: Store) -> None:
    session = begin(store, NOISY)
    session.fleet.mark_lost("h2", HostUnreachable("gone", where="h2"))
    made = Made()
    (said,) = carry_out(session, made)
    assert said.where == "noisy"
    assert "container on h1 needs" in said.text
    assert {attempt for _, attempt in made.order} == {1}


def test_when_all_hosts_are_lost_the_pilot_decides_once_they_are_back(store: Store) -> None:
    session = begin(store, NOISY, hosts=1)
    session.fleet.mark_lost("h1", HostUnreachable("gone", where="h1"))
    assert carry_out(session, Made()) == []
    assert [item.name for item in stored(session).undecided()] == ["noisy"]
    back = resumed(session)
    (said,) = carry_out(back, Made())
    assert "needs" in said.text


@pytest.mark.parametrize(
    ("known", "is_repeated"),
    [
        (SurveyResult(None, missing_programs=frozenset({"sysbench"})), False),
        (
            SurveyResult(
                None, unavailable=InvocationOutcome(Status.FAILED, Reason.ENVIRONMENT_DIED, "at once")
            ),
            False,
        ),
        (SurveyResult(None, unavailable=outcome_of(EnvironmentUnavailable("no /dev/kvm"))), True),
        (SurveyResult(None, unavailable=outcome_of(EnvironmentNotMade("no image"))), False),
        (SurveyResult(None), True),
    ],
    ids=["tool missing", "died", "skipped beside the failure", "not made", "could run"],
)
def test_what_must_fail_again_is_not_tried(store: Store, known: SurveyResult, is_repeated: bool) -> None:
    session = begin(store, FIXED, blocks=1, hosts=1)
    session.survey["h1", cases.CONTAINER.key] = known
    made = Made(fails=lambda block, attempt: True)
    carry_out(session, made)
    assert [attempt for _, attempt in made.order] == [1, 2][: 1 + is_repeated]


def test_an_environment_missing_on_all_hosts_does_not_hold_the_others_up(store: Store) -> None:
    gone = replace(cases.CONTAINER, name="gone", image="none")
    suite = Suite("s", "", "native", (cases.NATIVE, cases.CONTAINER, gone), (NOISY,), None)
    machines = [Host("h1", "192.0.2.1")]
    plan = make_plan(suite, machines, seed="1")
    run_id = new_id()
    store.writer.begin_run(
        run_id, plan, plan_to_json(plan), machines, command=(), perfctl_version="0", inventory=()
    )
    session = session_of(store, PlannedRun(run_id, plan, tuple(machines)))

    @dataclass
    class WithoutOne(Made):
        def _measure(self, session: RunSession, block: Block, attempt: int) -> None:
            kept = tuple(item for item in block.invocations if item.environment != "gone")
            super()._measure(session, replace(block, invocations=kept), attempt)

    (said,) = carry_out(session, WithoutOne())
    assert "container on h1 needs" in said.text
    assert said.blocks


def test_the_time_to_come_shrinks_with_every_decision(store: Store) -> None:
    session = begin(store, NOISY, QUIET, hosts=1)
    noisy, quiet = carry_out(session, Made())
    # At the first decision the second pilot and, at most, 20 blocks of its second stage are still to come.
    assert noisy.most_later_s > 0
    assert quiet.most_later_s == 0
    assert noisy.estimate_s > quiet.estimate_s > 0
    assert (noisy.later_s, quiet.later_s) == (0, 0)


def test_the_blocks_that_are_left_keep_their_rounds_and_tracks() -> None:
    suite = Suite("s", "", "native", (cases.NATIVE,), (FIXED, QUIET), 2)
    plan = make_plan(suite, [Host("h1", "192.0.2.1"), Host("h2", "192.0.2.2")], seed="1")
    assert without(plan.rounds, frozenset()) == plan.rounds
    left = without(plan.rounds, {("fixed", "h1", 0), ("fixed", "h2", 0), ("fixed", "h2", 1)})
    assert [len(round_.tracks) for round_ in left] == [1, 2]
    assert without(plan.rounds, keys(plan)) == ()


@pytest.mark.parametrize("pause_s", [59.0, 61.0])
def test_a_block_with_a_long_pause_inside_is_run_again_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch, pause_s: float
) -> None:
    """Only the clock of the commits, and what a host would measure, are made up."""
    parameters: dict[str, str | int | float | bool] = {
        "test": "cpu",
        "threads": 1,
        "cpu_max_prime": 20_000,
        "time_s": 5,
        "percentile": 95,
    }
    benchmark = replace(FIXED, parameters=parameters)
    session = begin(store, benchmark, blocks=1, hosts=1)
    heard: list[Event] = []
    session.listener = heard.append
    measured = InvocationOutcome(Status.OK, samples=(Sample("events_per_second", 1000.0, "events/s"),))
    monkeypatch.setattr("perfctl.execute.block._measure", lambda *_: measured)
    # Each commit looks at the clock before and after; the second one is long.
    moments = iter([0.0, 0.1, 1.0, 1.0 + pause_s, *range(100, 200)])
    clock = SimpleNamespace(time=time.time, monotonic=lambda: next(moments))
    monkeypatch.setattr("perfctl.execute.block.time", clock)
    (block,) = session.plan.blocks()
    assert run_block(session, block, 1) == "complete"
    states = store.run(session.run_id).block_states()
    found = [(state.attempt, state.status, len(state.invocations)) for state in states]
    is_long = pause_s > LONGEST_PAUSE_S
    assert found == ([(1, "interrupted", 2), (2, "complete", 3)] if is_long else [(1, "complete", 3)])
    assert any("it is run again whole" in getattr(event, "text", "") for event in heard) is is_long
