"""The estimate before a run: its time, and what it will detect, by earlier runs in the database."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfctl.model import Benchmark, Decision, Host, Plan, Suite, Target
from perfctl.plan import PriorVariance, estimate_run, make_plan, prior_variances, with_decision
from perfctl.plan.estimate import pooled_stdev
from perfctl.stats.precision import minimum_detectable_effect, second_stage
from perfctl.store import Store, open_store
from tests.unit import store_cases as cases
from tests.unit.history_cases import H1, H2, add_run

PRECISE = dataclasses.replace(cases.CPU, precision=0.01)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "results.db", create=True) as opened:
        yield opened


def plan_of(*benchmarks: Benchmark, blocks: int | None = None, hosts: int = 1) -> Plan:
    suite = Suite("s", "", "native", (cases.NATIVE, cases.CONTAINER), benchmarks, blocks)
    machines = [Host(f"h{number}", f"192.0.2.{number}") for number in range(1, hosts + 1)]
    return make_plan(suite, machines, seed="1")


def test_the_variance_is_the_one_of_the_newest_runs_pooled_within_each(store: Store) -> None:
    for seed in range(8):
        # Each run at a level of its own: that is no variance within it.
        add_run(store, noise=0.2 if seed < 3 else 0.01, ratio=1 + seed / 10, seed=seed, blocks=30)
    found = prior_variances(store, plan_of(PRECISE))
    assert found["cpu-1"].runs == 5
    assert found["cpu-1"].s_d == pytest.approx(0.01 * math.sqrt(2), rel=0.15)


def test_the_target_with_the_largest_variance_counts(store: Store) -> None:
    add_run(store, noise=0.01, targets=(H1,), blocks=30)
    add_run(store, noise=0.05, targets=(H2,), blocks=30)
    only_h1 = prior_variances(store, plan_of(PRECISE))["cpu-1"].s_d
    both = prior_variances(store, plan_of(PRECISE, hosts=2))["cpu-1"].s_d
    assert only_h1 < 0.02 < 0.05 < both


def test_other_parameters_hosts_environments_and_the_run_itself_say_nothing(store: Store) -> None:
    run_id = add_run(store, noise=0.01)
    assert prior_variances(store, plan_of(PRECISE), without_run=run_id) == {}
    other = dataclasses.replace(PRECISE, parameters={"test": "cpu", "threads": 2})
    assert prior_variances(store, plan_of(other)) == {}
    plan = plan_of(PRECISE)
    image = dataclasses.replace(cases.CONTAINER, image="another")
    assert prior_variances(store, dataclasses.replace(plan, environments=(cases.NATIVE, image))) == {}
    rounds = plan_of(PRECISE, hosts=3).rounds
    moved = [
        dataclasses.replace(block, target=Target("h9"))
        for round_ in rounds
        for track in round_.tracks
        for block in track.blocks
    ]
    track = dataclasses.replace(rounds[0].tracks[0], blocks=tuple(moved))
    elsewhere = dataclasses.replace(rounds[0], tracks=(track,))
    assert prior_variances(store, dataclasses.replace(plan, rounds=(elsewhere,))) == {}


def test_too_few_blocks_and_an_empty_database_say_nothing(store: Store) -> None:
    assert prior_variances(store, plan_of(PRECISE)) == {}
    add_run(store, blocks=5)
    assert prior_variances(store, plan_of(PRECISE)) == {}
    add_run(store, blocks=2, seed=2)
    assert prior_variances(store, plan_of(PRECISE))["cpu-1"].runs == 2


def test_pooling_is_about_each_runs_own_mean() -> None:
    generator = random.Random(3)
    rows = [[level + generator.gauss(0, 1) for _ in range(500)] for level in (0.0, 100.0)]
    assert pooled_stdev(rows) == pytest.approx(1.0, rel=0.1)
    assert pooled_stdev([[1.0] * 10]) == 0.0
    assert pooled_stdev([[1.0, 2.0]] * 4) is None


def test_without_history_the_pilots_time_and_the_cap_are_said() -> None:
    plan = plan_of(PRECISE)
    ahead = estimate_run(plan, {})
    assert ahead.later_s == 0
    assert ahead.most_later_s == pytest.approx(2 * ahead.planned_s)
    assert dict(ahead.lines()) == {
        "": "about 5 min 17 s for the pilots, at most 15 min 51 s in all;"
        " no earlier run of it here, so the detectable effect is not known yet",
        "cpu-1": "a pilot of 10 blocks, then up to 30 for ±1 %",
    }


def test_with_history_the_expected_blocks_time_and_effect_are_said() -> None:
    prior = {"cpu-1": PriorVariance(0.02, 3)}
    stage = second_stage(0.02, tau=0.01)
    ahead = estimate_run(plan_of(PRECISE), prior)
    (expected,) = ahead.benchmarks
    assert expected.blocks == stage.blocks
    assert expected.effect == minimum_detectable_effect(stage.blocks, 0.02)
    per_block = ahead.planned_s / 10
    assert ahead.later_s == pytest.approx((stage.blocks - 10) * per_block)
    assert ahead.text == "about 11 min 06 s, at most 15 min 51 s, will detect 1.3 %"
    assert expected.text == f"{stage.words()}; will detect 1.3 % (standard deviation 2 % in 3 earlier runs)"


def test_the_cap_is_said_before_the_run() -> None:
    ahead = estimate_run(plan_of(PRECISE), {"cpu-1": PriorVariance(0.038, 1)})
    assert "needs 74 blocks for ±1 %; capped at 30, expect ±1.6 %" in ahead.benchmarks[0].text
    assert "in 1 earlier run)" in ahead.benchmarks[0].text
    assert ahead.later_s == pytest.approx(ahead.most_later_s)


def test_a_fixed_number_of_blocks_detects_what_it_detects() -> None:
    ahead = estimate_run(plan_of(cases.CPU, blocks=8), {"cpu-1": PriorVariance(0.01, 2)})
    (expected,) = ahead.benchmarks
    assert expected.effect == minimum_detectable_effect(8, 0.01)
    assert expected.text.startswith("8 blocks; will detect ")
    assert (ahead.later_s, ahead.most_later_s) == (0, 0)
    few = estimate_run(plan_of(cases.CPU, blocks=1), {"cpu-1": PriorVariance(0.01, 2)})
    assert few.benchmarks[0].text.startswith("1 block; cannot be significant")
    assert "no earlier run" in estimate_run(plan_of(cases.CPU, blocks=8), {}).text


def test_several_benchmarks_span_what_is_detected_and_the_unknown_are_counted() -> None:
    quiet = dataclasses.replace(PRECISE, name="quiet")
    new = dataclasses.replace(PRECISE, name="new")
    prior = {"cpu-1": PriorVariance(0.02, 3), "quiet": PriorVariance(0.001, 3)}
    ahead = estimate_run(plan_of(PRECISE, quiet, new), prior)
    assert ahead.text.endswith("will detect 0.1 to 1.3 % (of 3 benchmarks, 1 unknown)")


def test_what_is_decided_is_not_expected_once_more() -> None:
    plan = with_decision(plan_of(PRECISE), Decision("cpu-1", 12, 12, "so"))
    ahead = estimate_run(plan, {"cpu-1": PriorVariance(0.02, 3)})
    assert (ahead.later_s, ahead.most_later_s) == (0, 0)
    assert ahead.benchmarks[0].blocks == 12
