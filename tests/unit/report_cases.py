"""A whole fleet's run in a database, made by simulation: what is slower, disturbed, failed and different."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from perfctl.model import (
    Benchmark,
    Direction,
    Environment,
    Fact,
    FactState,
    Fingerprint,
    Host,
    Metric,
    Plan,
    PlannedInvocation,
    Reason,
    Round,
    Sample,
    Status,
    Target,
    Track,
)
from perfctl.model import Block as ModelBlock
from perfctl.store import Store
from perfctl.validity.assessment import Assessment
from perfctl.validity.context import Expected, JudgementContext
from perfctl.validity.finding import Finding, Severity
from perfctl.validity.rules import Validity
from tests.unit import store_cases as cases

RATE = Metric("transactions_per_second", "transactions/s", Direction.HIGHER, "answers", headline=True)
TAILS = {50: 1.0, 90: 1.6, 99: 4.0}
LATENCIES = tuple(Metric(f"latency_p{percent}", "us", Direction.LOWER) for percent in TAILS)
METRICS = (RATE, *LATENCIES)
COSTS = {"native": 1.0, "container": 1.05, "hostnet": 1.002, "gvisor": 2.6, "vm": 1.4}
"""Environment -> how many times as long it takes."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is simulated. `slower` are hosts with a factor of their own in every environment but native."""

    hosts: Sequence[str] = ("h1",)
    benchmarks: Sequence[str] = ("tcp-rr",)
    environments: Sequence[str] = ("native", "container")
    blocks: int = 10
    noise: float = 0.01
    drift: float = 0.0
    """Share by which everything becomes slower from the first block to the last."""
    costs: Mapping[str, float] = field(default_factory=lambda: COSTS)
    slower: Mapping[str, float] = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)
    """Host -> how many times as long everything takes there."""
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Host -> facts that it has beside `cpu.model` and `kernel.release`."""
    inside: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Host -> the same inside its environments."""
    invalid: Sequence[tuple[str, int]] = ()
    """(environment, block) that are invalid, on every host."""
    failed: Sequence[tuple[str, int]] = ()
    seed: int = 1
    suite: str = "fleet"
    has_latencies: bool = True
    start_s: float = 1_700_000_000.0


def add_fleet(store: Store, fleet: Fleet) -> str:
    """Store a complete run and return its id."""
    generator = random.Random(fleet.seed)
    environments = tuple(
        Environment(name, "native" if name == fleet.environments[0] else "container")
        for name in fleet.environments
    )
    benchmarks = tuple(
        Benchmark(name, "netperf", {"test": "TCP_RR", "number": number}, expected_s=2)
        for number, name in enumerate(fleet.benchmarks)
    )
    blocks = tuple(
        ModelBlock(benchmark, Target(host), index, _legs(fleet, generator))
        for benchmark in fleet.benchmarks
        for host in fleet.hosts
        for index in range(fleet.blocks)
    )
    plan = Plan(
        fleet.suite, "42", fleet.environments[0], environments, benchmarks, (Round((Track(blocks),)),)
    )
    hosts = [Host(name, f"192.0.2.{place % 250 + 1}") for place, name in enumerate(fleet.hosts)]
    run_id = cases.begin_run(store, plan, hosts=hosts)
    for host in fleet.hosts:
        store.writer.record_host_snapshot(run_id, host, "before", fingerprint(fleet.facts.get(host, {})))
        for name in fleet.environments:
            inside = fingerprint({"tool.netperf.version": "Netperf 2.7.0"} | dict(fleet.inside.get(host, {})))
            description = {} if name == fleet.environments[0] else {"image.id": "sha256:" + 64 * "a"}
            store.writer.record_environment_snapshot(run_id, host, name, inside, description)
    for place, block in enumerate(blocks):
        _measure(store, run_id, fleet, block, generator, fleet.start_s + 4.0 * place)
    store.writer.end_run(run_id, "complete")
    return run_id


def fingerprint(values: Mapping[str, str]) -> Fingerprint:
    """Return facts of a host; those that `values` names are replaced."""
    whole = {
        "cpu.model": "Example 9000: 0-7",
        "kernel.release": "6.1.0-1",
        "cpu.freq.governor": "performance: 0-7",
    }
    return Fingerprint(
        tuple(Fact(name, FactState.PRESENT, value) for name, value in sorted((whole | dict(values)).items()))
    )


def _legs(fleet: Fleet, generator: random.Random) -> tuple[PlannedInvocation, ...]:
    legs = [
        (fleet.environments[0], 1),
        (fleet.environments[0], 2),
        *((name, 1) for name in fleet.environments[1:]),
    ]
    generator.shuffle(legs)
    return tuple(PlannedInvocation(*leg, place) for place, leg in enumerate(legs))


def _measure(
    store: Store, run_id: str, fleet: Fleet, block: ModelBlock, generator: random.Random, start_s: float
) -> None:
    block_id = store.writer.begin_block(run_id, block, attempt=1)
    host = generator.lognormvariate(0, 0.005)
    for planned in block.invocations:
        name = planned.environment
        is_native = name == fleet.environments[0]
        took = fleet.costs.get(name, 1.0) * host * (1 + fleet.drift * block.index / fleet.blocks)
        took *= fleet.levels.get(block.target.host, 1.0)
        took *= 1.0 if is_native else fleet.slower.get(block.target.host, 1.0)
        took *= generator.lognormvariate(0, fleet.noise)
        done = cases.record(
            block_id,
            name,
            planned.replicate,
            position=planned.position,
            started_at=start_s + planned.position,
            stdout=b"",
            counters_before=b"",
            counters_after=b"",
        )
        samples = [Sample(RATE.name, 35_000 / took, RATE.unit)]
        if fleet.has_latencies:
            samples += [
                Sample(metric.name, 28 * took * tail, metric.unit)
                for metric, tail in zip(LATENCIES, TAILS.values(), strict=True)
            ]
        if (name, block.index) in fleet.failed:
            done = replace(
                done, status=Status.FAILED, reason=Reason.TIMEOUT, detail="it took 16 s", exit_code=None
            )
            samples = []
        elif (name, block.index) in fleet.invalid:
            done = replace(done, validity="invalid", validity_json=assessment("steal"))
        store.writer.record_invocation(done, METRICS if fleet.has_latencies else (RATE,), samples)
    store.writer.end_block(block_id, "complete")


def assessment(rule: str) -> str:
    """Return a judgement with one finding, as JSON."""
    finding = Finding(rule, Severity.INVALID, 7.0, "%", 2.0, f"{rule}: 7 % of the time was taken by others")
    return Assessment(Validity((finding,), ()), JudgementContext(Expected(cpus=2, parallelism=1))).to_json()
