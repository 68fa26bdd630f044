"""Runs with known truth to put into a database: what the container costs, what the baseline does."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from perfctl.model import (
    Benchmark,
    Direction,
    Fact,
    FactState,
    Fingerprint,
    Metric,
    Plan,
    Round,
    Sample,
    Status,
    Target,
    Track,
    new_id,
)
from perfctl.store import Store
from perfctl.workloads import WORKLOADS, resolve_parameters
from tests.unit import store_cases as cases

H1, H2 = Target("h1"), Target("h2")

SLOW = Benchmark(
    "slow",
    "sysbench",
    resolve_parameters(WORKLOADS["sysbench"], {"test": "fileio", "file_test_mode": "rndwr"}),
    expected_s=10,
)
"""A benchmark whose headline the tool prints with two decimals, as `use_slow_disk` has it."""


def use_slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `add_run` store values of the headline of SLOW."""
    metric = Metric("write_bandwidth", "MiB/s", Direction.HIGHER, headline=True)
    monkeypatch.setattr(cases, "METRICS", (metric,))
    monkeypatch.setattr(cases, "samples", lambda value: [Sample(metric.name, round(value, 2), metric.unit)])


def facts(**values: str) -> Fingerprint:
    """Facts such as kernel_release='6.1'; those whose name begins with 'now_' are dynamic."""
    return Fingerprint(
        tuple(
            Fact(name.replace("_", "."), FactState.PRESENT, value, not name.startswith("now_"))
            for name, value in values.items()
        )
    )


def add_run(
    store: Store,
    *,
    ratio: float | Mapping[str, float] = 1.0,
    baseline: float = 1000.0,
    noise: float = 0.002,
    aa: float = 1.0,
    blocks: int = 8,
    targets: Sequence[Target] = (H1,),
    benchmarks: Sequence[Benchmark] = (cases.CPU,),
    fingerprint: Fingerprint | None = None,
    inside: Fingerprint | None = None,
    seed: int = 1,
    idle_hosts: Sequence[str] = (),
    fail: Mapping[int, Mapping[str, object]] | None = None,
) -> str:
    """Store a complete run of SPEED and return its id.

    `ratio` is container / native (by target's name where it is a mapping), `noise` the deviation of a value's
    logarithm, `aa` the second replicate over the first. `fail` gives changes to the container's record in a
    block; a status other than ok has no samples.
    """
    generator = random.Random(seed)
    all_blocks = [
        replace(cases.block(target, index), benchmark=benchmark.name)
        for benchmark in benchmarks
        for target in targets
        for index in range(blocks)
    ]
    plan = Plan(
        "demo",
        "42",
        "native",
        (cases.NATIVE, cases.CONTAINER),
        tuple(benchmarks),
        (Round((Track(tuple(all_blocks)),)),),
    )
    names = dict.fromkeys(name for target in targets for name in (target.host, target.peer) if name)
    run_id = new_id()
    store.writer.begin_run(
        run_id,
        plan,
        "{}",
        [replace(cases.HOSTS[0], name=name) for name in (*names, *idle_hosts)],
        command=("perfctl", "run"),
        perfctl_version="0.1.0",
        inventory=(),
    )
    for target in targets:
        if fingerprint is not None:
            store.writer.record_host_snapshot(run_id, target.host, "before", fingerprint)
        if inside is not None:
            store.writer.record_environment_snapshot(run_id, target.host, "container", inside, {})
    for block in all_blocks:
        cost = ratio if isinstance(ratio, float) else ratio[str(block.target)]
        level = {("native", 1): 1.0, ("native", 2): aa, ("container", 1): cost}
        block_id = store.writer.begin_block(run_id, block, attempt=1)
        for planned in block.invocations:
            leg = (planned.environment, planned.replicate)
            value = baseline * level[leg] * generator.lognormvariate(0, noise)
            changes = (fail or {}).get(block.index, {}) if planned.environment == "container" else {}
            done = cases.record(
                block_id,
                *leg,
                position=planned.position,
                stdout=f"events per second: {value:.6f}\n".encode(),
            )
            done = replace(done, **changes)  # type: ignore[arg-type]
            values = cases.samples(round(value, 6)) if done.status is Status.OK else []
            store.writer.record_invocation(done, cases.METRICS, values)
        store.writer.end_block(block_id, "failed" if fail and block.index in fail else "complete")
    store.writer.end_run(run_id, "complete")
    return run_id
