"""The plan: its structure, its order, what may run side by side, and that it survives being written down."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import pytest

from perfctl.errors import DataError, NoHostMatched, UsageError
from perfctl.model import Benchmark, Decision, Environment, Host, Plan, Suite, Target, Track
from perfctl.plan import (
    estimate_s,
    make_plan,
    order_seed,
    plan_from_json,
    plan_to_json,
    tournament,
    with_decision,
)
from perfctl.render.plan import plan_view

NATIVE = Environment("native", "native")
CONTAINER = Environment(
    "container", "container", engine="docker", image="perf", network="bridge", security_opt=("seccomp=x",)
)
HOST_NET = Environment("container-host-net", "container", engine="docker", image="perf", network="host")
CPU = Benchmark(
    "cpu-1", "sysbench", {"test": "cpu", "time_s": 10, "rate": 0.5, "check": True}, expected_s=10.0
)
PRIMES = Benchmark("cpu-2", "sysbench", {"test": "cpu", "threads": 2}, expected_s=4.0)
STREAM = Benchmark("stream", "netperf", {"test": "TCP_STREAM"}, expected_s=3.0, scope="pair")


def suite(*benchmarks: Benchmark, blocks: int = 3) -> Suite:
    return Suite("s", "", "native", (NATIVE, CONTAINER, HOST_NET), benchmarks, blocks)


def hosts(count: int, **resources: str) -> list[Host]:
    names = [f"h{number}" for number in range(1, count + 1)]
    return [Host(name, f"192.0.2.{i}", resource=resources.get(name)) for i, name in enumerate(names)]


def targets(track: Track) -> list[str]:
    return [str(block.target) for block in track.blocks]


def test_every_block_has_each_environment_once_and_the_baseline_twice() -> None:
    plan = make_plan(suite(CPU, STREAM), hosts(3), seed="1")
    expected = [("container", 1), ("container-host-net", 1), ("native", 1), ("native", 2)]
    seen = 0
    for block in plan.blocks():
        seen += 1
        assert sorted((item.environment, item.replicate) for item in block.invocations) == expected
        assert [item.position for item in block.invocations] == [0, 1, 2, 3]
    assert seen == 3 * 3 + 3 * 3
    assert plan.invocation_count == seen * 4


def test_host_benchmarks_are_one_round_each_with_hosts_side_by_side() -> None:
    plan = make_plan(suite(CPU, PRIMES, blocks=2), hosts(2), seed="1")
    assert [[targets(track) for track in round_.tracks] for round_ in plan.rounds] == [
        [["h1", "h1"], ["h2", "h2"]],
        [["h1", "h1"], ["h2", "h2"]],
    ]
    assert [block.index for block in plan.rounds[0].tracks[0].blocks] == [0, 1]
    assert {block.benchmark for block in plan.rounds[1].tracks[0].blocks} == {"cpu-2"}


def test_hosts_that_share_a_resource_take_turns_block_by_block() -> None:
    plan = make_plan(suite(CPU, blocks=2), hosts(4, h1="rack", h3="rack"), seed="1")
    assert [targets(track) for track in plan.rounds[0].tracks] == [
        ["h1", "h3", "h1", "h3"],
        ["h2", "h2"],
        ["h4", "h4"],
    ]


def test_same_inputs_give_the_same_plan_and_another_seed_another() -> None:
    first = make_plan(suite(CPU, STREAM), hosts(4), seed="42")
    assert make_plan(suite(CPU, STREAM), hosts(4), seed="42") == first
    assert make_plan(suite(CPU, STREAM), hosts(4), seed="43") != first


def test_order_of_a_block_does_not_depend_on_other_hosts_benchmarks_or_blocks() -> None:
    def order(plan: Plan) -> list[tuple[str, int]]:
        (found,) = (
            block
            for block in plan.blocks()
            if (block.benchmark, str(block.target), block.index) == ("cpu-1", "h2", 4)
        )
        return [(item.environment, item.replicate) for item in found.invocations]

    alone = order(make_plan(suite(CPU, blocks=5), hosts(2)[1:], seed="s"))
    assert order(make_plan(suite(PRIMES, CPU, STREAM, blocks=9), hosts(6, h2="x", h5="x"), seed="s")) == alone


def test_order_comes_from_the_documented_text() -> None:
    number = int(hashlib.sha256(b"seed 7/h1->h2/stream/3").hexdigest(), 16)
    assert order_seed("seed 7", Target("h1", "h2"), "stream", 3) == number

    legs = [("native", 1), ("native", 2), ("container", 1), ("container-host-net", 1)]
    generator = random.Random(number)
    expected = [leg for _, leg in sorted((generator.random(), leg) for leg in legs)]
    plan = make_plan(suite(STREAM, blocks=4), hosts(2), seed="seed 7")
    block = list(plan.blocks())[3]
    assert [(item.environment, item.replicate) for item in block.invocations] == expected


def test_every_leg_takes_every_place_equally_often() -> None:
    """Chi-square of 4 legs x 4 places over 4,000 blocks; 9 degrees of freedom, 27.9 is p = 0.001."""
    plan = make_plan(suite(CPU, blocks=4000), hosts(1), seed="uniform")
    places = Counter(
        (item.environment, item.replicate, item.position)
        for block in plan.blocks()
        for item in block.invocations
    )
    assert len(places) == 16
    assert sum((count - 1000) ** 2 / 1000 for count in places.values()) < 27.9


def test_all_orders_of_a_block_appear_equally_often() -> None:
    """Chi-square over the 24 orders; 23 degrees of freedom, 49.7 is p = 0.001."""
    plan = make_plan(suite(CPU, blocks=4800), hosts(1), seed="orders")
    orders = Counter(
        tuple((item.environment, item.replicate) for item in block.invocations) for block in plan.blocks()
    )
    assert len(orders) == 24
    assert sum((count - 200) ** 2 / 200 for count in orders.values()) < 49.7


@pytest.mark.parametrize("count", range(2, 10))
def test_tournament_every_two_hosts_meet_once_and_no_host_is_twice_in_a_round(count: int) -> None:
    machines = hosts(count)
    rounds = tournament(machines)
    for pairs in rounds:
        names = [name for pair in pairs for name in (pair.host, pair.peer)]
        assert len(names) == len(set(names))
    met = Counter(frozenset((pair.host, pair.peer)) for pairs in rounds for pair in pairs)
    assert met == Counter(frozenset((a.name, b.name)) for a, b in combinations(machines, 2))
    assert len(rounds) == count - 1 + count % 2


@pytest.mark.parametrize("count", range(2, 10))
def test_tournament_shares_out_the_roles(count: int) -> None:
    clients = Counter(pair.host for pairs in tournament(hosts(count)) for pair in pairs)
    assert all(abs(2 * clients[f"h{n}"] - (count - 1)) <= 1 for n in range(1, count + 1))


def test_two_hosts_are_one_pair_from_the_first_to_the_second() -> None:
    plan = make_plan(suite(STREAM, blocks=2), hosts(2), seed="1")
    assert [[targets(track) for track in round_.tracks] for round_ in plan.rounds] == [[["h1->h2", "h1->h2"]]]


def test_a_benchmark_with_a_number_of_blocks_of_its_own() -> None:
    plan = make_plan(suite(CPU, replace(PRIMES, blocks=5), blocks=2), hosts(1), seed="1")
    assert Counter(block.benchmark for block in plan.blocks()) == {"cpu-1": 2, "cpu-2": 5}
    alone = make_plan(suite(PRIMES, blocks=5), hosts(1), seed="1")
    assert [block for block in plan.blocks() if block.benchmark == "cpu-2"] == list(alone.blocks())


@pytest.mark.parametrize("count", [1, 2, 3, 7, 99])
def test_a_benchmark_on_the_first_targets_alone(count: int) -> None:
    everywhere = make_plan(suite(CPU, STREAM, blocks=1), hosts(4), seed="1")
    chosen = make_plan(
        suite(*(replace(item, targets=count) for item in (CPU, STREAM)), blocks=1), hosts(4), seed="1"
    )
    for benchmark, most in (("cpu-1", 4), ("stream", 6)):
        own = [block for block in everywhere.blocks() if block.benchmark == benchmark]
        assert [block for block in chosen.blocks() if block.benchmark == benchmark] == own[:count]
        assert len(own) == most
    assert all(track.blocks for round_ in chosen.rounds for track in round_.tracks)


@pytest.mark.parametrize("count", range(2, 10))
def test_tracks_of_a_round_share_neither_host_nor_resource(count: int) -> None:
    resources = {"h1": "a", "h2": "b", "h4": "a", "h6": "b", "h7": "c", "h8": "c"}
    machines = hosts(count, **resources)
    plan = make_plan(suite(CPU, STREAM, blocks=2), machines, seed="1")
    for round_ in plan.rounds:
        used: set[str] = set()
        for track in round_.tracks:
            names = {name for b in track.blocks for name in (b.target.host, b.target.peer) if name}
            names |= {f"resource {resources[name]}" for name in names if name in resources}
            assert not used & names
            used |= names
    met = Counter(str(block.target) for block in plan.blocks() if block.benchmark == "stream")
    assert len(met) == count * (count - 1) // 2
    assert set(met.values()) == {2}


def test_pairs_that_share_a_resource_take_turns_in_one_track() -> None:
    plan = make_plan(suite(STREAM, blocks=2), hosts(4, h1="a", h2="a"), seed="1")
    assert [[targets(track) for track in round_.tracks] for round_ in plan.rounds] == [
        [["h1->h4", "h2->h3"] * 2],
        [["h3->h1", "h4->h2"] * 2],
        [["h1->h2"] * 2, ["h3->h4"] * 2],
    ]


def test_max_parallel_pairs_splits_rounds_and_loses_no_pair() -> None:
    free = make_plan(suite(STREAM, blocks=1), hosts(6), seed="1")
    limited = make_plan(suite(STREAM, blocks=1), hosts(6), seed="1", max_parallel_pairs=2)
    assert [len(round_.tracks) for round_ in free.rounds] == [3] * 5
    assert [len(round_.tracks) for round_ in limited.rounds] == [2, 1] * 5
    assert list(limited.blocks()) == list(free.blocks())


def test_max_parallel_pairs_leaves_host_benchmarks_alone() -> None:
    plan = make_plan(suite(CPU), hosts(4), seed="1", max_parallel_pairs=1)
    assert [len(round_.tracks) for round_ in plan.rounds] == [4]


def test_a_pair_benchmark_on_one_host_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="between two hosts, but only h1") as caught:
        make_plan(suite(CPU, STREAM), hosts(1), seed="1")
    assert "perfctl lab up" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"test_address": "2001:db8:1::11"}, "perf_test_address"),
        ({"address": "2001:db8::7"}, "ansible_host"),
        ({"address": "[2001:db8::7]"}, "ansible_host"),
        ({"address": "fe80::1%eth0"}, "ansible_host"),
    ],
)
def test_an_ipv6_address_for_a_network_benchmark_is_refused_with_host_and_variable(
    changes: dict[str, Any], variable: str
) -> None:
    first, second = hosts(2)
    six = [first, replace(second, **changes)]
    with pytest.raises(UsageError, match=f"{variable} is .*, but benchmark .* measures over IPv4") as caught:
        make_plan(suite(CPU, STREAM), six, seed="1")
    assert caught.value.where == second.name
    make_plan(suite(CPU), six, seed="1")


def test_an_ipv6_address_to_log_in_by_is_no_matter() -> None:
    six = [replace(host, address="2001:db8::7", test_address="10.0.0.7") for host in hosts(2)]
    make_plan(suite(STREAM), six, seed="1")


def test_no_host_at_all() -> None:
    with pytest.raises(NoHostMatched):
        make_plan(suite(CPU), [], seed="1")


@pytest.mark.parametrize(("blocks", "wrong"), [(0, {}), (-1, {}), (1, {"max_parallel_pairs": 0})])
def test_counts_below_one_are_refused(blocks: int, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        make_plan(suite(CPU, blocks=blocks), hosts(2), seed="1", **wrong)


def test_without_a_number_of_blocks_a_benchmark_has_its_pilot() -> None:
    asked = replace(suite(replace(CPU, precision=0.01), PRIMES), blocks=None)
    plan = make_plan(asked, hosts(1), seed="1")
    assert [block.index for block in plan.rounds[0].tracks[0].blocks] == list(range(10))
    assert [item.name for item in plan.undecided()] == ["cpu-1"]


@pytest.mark.parametrize("benchmark", [CPU, STREAM])
@pytest.mark.parametrize("width", [None, 1])
def test_a_grown_plan_has_the_blocks_of_one_that_was_so_long_from_the_start(
    benchmark: Benchmark, width: int | None
) -> None:
    machines = hosts(5, h1="a", h2="a")
    pilot, whole = (
        make_plan(suite(benchmark, PRIMES, blocks=blocks), machines, seed="söed", max_parallel_pairs=width)
        for blocks in (3, 8)
    )
    plan = with_decision(pilot, Decision(benchmark.name, 8, 8, "so"))
    own = [block for block in plan.blocks() if block.benchmark == benchmark.name]
    assert Counter(own) == Counter(b for b in whole.blocks() if b.benchmark == benchmark.name)
    assert plan.rounds[: len(pilot.rounds)] == pilot.rounds
    added = plan.rounds[len(pilot.rounds) :]
    before = [round_ for round_ in pilot.rounds if round_.tracks[0].blocks[0].benchmark == benchmark.name]
    assert [[set(targets(track)) for track in round_.tracks] for round_ in added] == [
        [set(targets(track)) for track in round_.tracks] for round_ in before
    ]
    assert [block for block in plan.blocks() if block.benchmark == "cpu-2"] == [
        block for block in pilot.blocks() if block.benchmark == "cpu-2"
    ]


def test_a_plan_grows_by_nothing_when_the_pilot_is_enough() -> None:
    pilot = make_plan(suite(replace(CPU, precision=0.01)), hosts(2), seed="1")
    decision = Decision("cpu-1", 3, 1, "the pilot is enough")
    plan = with_decision(pilot, decision)
    assert plan.rounds == pilot.rounds
    assert (plan.decisions, plan.undecided()) == ((decision,), ())


def test_a_grown_plan_survives_json_exactly() -> None:
    pilot = make_plan(suite(replace(CPU, precision=0.01), STREAM), hosts(3), seed="1")
    plan = with_decision(pilot, Decision("cpu-1", 5, None, "±1 %"))
    assert plan_from_json(plan_to_json(plan)) == plan


def test_a_plan_without_decisions_is_of_an_older_version_and_read() -> None:
    plan = make_plan(suite(CPU), hosts(1), seed="1")
    content = json.loads(plan_to_json(plan))
    del content["plan"]["decisions"]
    for item in content["plan"]["benchmarks"]:
        del item["precision"]
    assert plan_from_json(json.dumps(content)) == plan


def test_estimate_is_the_longest_track_of_each_round() -> None:
    machines = hosts(3, h1="a", h2="a")
    plan = make_plan(suite(CPU, STREAM, blocks=2), machines, seed="1")
    per_block = 2 * 0.5 + 2 * 1.5  # native twice, two containers
    cpu = 2 * 2 * (4 * 10.0 + per_block)  # h1 and h2 take turns, h3 is beside them
    stream = 3 * 2 * (4 * 3.0 + per_block)  # three rounds of one pair each
    assert estimate_s(plan, overhead_s={"native": 0.5, "container": 1.5}) == pytest.approx(cpu + stream)


def test_estimate_counts_what_is_within_and_opens_client_and_server_at_once() -> None:
    guest = Environment("vm", "vm")
    inside = Environment("container-in-vm", "container", within=guest)
    served = Environment("served", "native", server=guest)
    overhead_s = {"native": 0.0, "container": 1.0, "vm": 8.0}

    def around_s(benchmark: Benchmark, environment: Environment) -> float:
        asked = replace(suite(benchmark, blocks=1), environments=(NATIVE, environment))
        plan = make_plan(asked, hosts(2, h1="a", h2="a"), seed="1")
        legs = sum(len(block.invocations) for block in plan.blocks())
        whole_s = estimate_s(plan, overhead_s=overhead_s)
        return (whole_s - legs * benchmark.expected_s) / len(list(plan.blocks()))

    assert around_s(CPU, guest) == pytest.approx(8.0)
    assert around_s(CPU, inside) == pytest.approx(9.0)
    assert around_s(CPU, served) == pytest.approx(0.0)
    assert around_s(STREAM, served) == pytest.approx(8.0)


def test_estimate_refuses_to_take_a_missing_overhead_for_zero() -> None:
    plan = make_plan(suite(CPU), hosts(1), seed="1")
    with pytest.raises(KeyError, match="container"):
        estimate_s(plan, overhead_s={"native": 0.5})


def test_a_plan_of_before_has_the_host_looked_at() -> None:
    plan = make_plan(suite(CPU), hosts(1), seed="1", host_view=False)
    assert plan_from_json(plan_to_json(plan)).host_view is False
    content = json.loads(plan_to_json(plan))
    del content["plan"]["host_view"]
    assert plan_from_json(json.dumps(content)).host_view is True


def test_plan_survives_json_exactly() -> None:
    plan = make_plan(suite(CPU, STREAM), hosts(5, h1="a", h2="a"), seed="söed/→")
    text = plan_to_json(plan)
    again = plan_from_json(text)
    assert again == plan
    assert plan_to_json(again) == text
    assert again.environments[1].key == CONTAINER.key
    assert [benchmark.key for benchmark in again.benchmarks] == [CPU.key, STREAM.key]


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", '{"schema_version":1}', '{"schema_version":1,"plan":{"suite":"x"}}', "rubbish"],
)
def test_text_that_is_no_plan(text: str) -> None:
    with pytest.raises(DataError, match="no stored plan"):
        plan_from_json(text)


def test_plan_of_another_schema_version() -> None:
    text = plan_to_json(make_plan(suite(CPU), hosts(1), seed="1"))
    with pytest.raises(DataError, match="schema version 99"):
        plan_from_json(text.replace('"schema_version":1', '"schema_version":99'))


def test_a_dry_run_sums_up_each_benchmark_and_machines_have_every_block() -> None:
    plan = make_plan(suite(CPU, PRIMES), hosts(2), seed="1")
    estimate = SimpleNamespace(lines=list)
    planned = SimpleNamespace(plan=plan, hosts=hosts(2), estimate=lambda: estimate)
    view = plan_view(planned)  # type: ignore[arg-type]
    (section,) = view.tables
    first, second = section.rows
    assert isinstance(first, dict) and isinstance(second, dict)
    assert (first["benchmark"], second["benchmark"]) == ("cpu-1", "cpu-2")
    assert (first["targets"], first["blocks"], first["invocations"]) == ("h1, h2", 6, 24)
    assert first["each"] == "native twice, container, container-host-net"
    assert len(view.records) == len(list(plan.blocks()))
