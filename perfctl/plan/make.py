"""Make a plan from a suite, hosts and a seed: the ordered list of what runs where. Pure: no I/O, no clock.

A benchmark on hosts is one round: all hosts side by side, but hosts that share a declared resource one
after another in one track, block by block in turn. A benchmark on pairs is a round-robin tournament: every
two hosts meet once, and the pairs of a round have no host in common. The order inside a block depends only
on the seed, the target, the benchmark and the block's number: other hosts and benchmarks may come and go
without changing it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import random
from collections.abc import Iterator, Mapping, Sequence

from perfctl.errors import NoHostMatched, UsageError
from perfctl.model import (
    Benchmark,
    Block,
    Host,
    Plan,
    PlannedInvocation,
    Round,
    Suite,
    Target,
    Track,
)
from perfctl.stats.precision import PILOT_BLOCKS


def make_plan(
    suite: Suite,
    hosts: Sequence[Host],
    *,
    seed: str,
    max_parallel_pairs: int | None = None,
    host_view: bool = True,
) -> Plan:
    """Return the plan of `suite` on `hosts` (in their order).

    A benchmark without a number of blocks, its own or the suite's, gets its pilot; `grow` adds what that
    shows to be needed.

    At most `max_parallel_pairs` pairs measure at the same time (None: as many as are disjoint).
    Raises NoHostMatched without hosts, UsageError when a pair benchmark meets a single host or an IPv6
    address, or a count is below 1.
    """
    _check(suite, hosts, max_parallel_pairs)
    rounds: list[Round] = []
    for benchmark in suite.benchmarks:
        count = _blocks(suite, benchmark)
        for groups in _rounds_of_targets(benchmark, hosts, max_parallel_pairs):
            tracks = tuple(
                Track(
                    tuple(
                        make_block(suite, benchmark, target, index, seed=seed)
                        for index in range(count)
                        for target in group
                    )
                )
                for group in groups
            )
            rounds.append(Round(tracks))
    return Plan(
        suite.name, seed, suite.baseline, suite.environments, suite.benchmarks, tuple(rounds), host_view
    )


def make_block(suite: Suite | Plan, benchmark: Benchmark, target: Target, index: int, *, seed: str) -> Block:
    """Return one block: every environment once and the baseline twice, in the order that the seed gives.

    The two replicates of the baseline are placed like any other leg, so their labels carry no order.
    """
    legs = [(suite.baseline, 1), (suite.baseline, 2)]
    legs += [(item.name, 1) for item in suite.environments if item.name != suite.baseline]
    generator = random.Random(order_seed(seed, target, benchmark.name, index))
    # Of all of random's methods only random() promises the same sequence in every version of Python.
    legs.sort(key=lambda _: generator.random())
    invocations = tuple(
        PlannedInvocation(name, replicate, position) for position, (name, replicate) in enumerate(legs)
    )
    return Block(benchmark.name, target, index, invocations)


def order_seed(seed: str, target: Target, benchmark: str, block: int) -> int:
    """Return the number that seeds the order of one block: sha256 of 'seed/target/benchmark/block'."""
    text = f"{seed}/{target}/{benchmark}/{block}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")


def _blocks(suite: Suite, benchmark: Benchmark) -> int:
    chosen = suite.blocks if benchmark.blocks is None else benchmark.blocks
    return PILOT_BLOCKS if chosen is None else chosen


def _check(suite: Suite, hosts: Sequence[Host], max_parallel_pairs: int | None) -> None:
    if not hosts:
        raise NoHostMatched("there is no host to measure on", hint="see the inventory and --limit")
    fewest = min((_blocks(suite, benchmark) for benchmark in suite.benchmarks), default=1)
    if fewest < 1:
        raise UsageError(f"a run needs at least 1 block, not {fewest}", hint="--blocks 10 is a good start")
    if max_parallel_pairs is not None and max_parallel_pairs < 1:
        raise UsageError(f"--max-parallel-pairs must be at least 1, not {max_parallel_pairs}")
    paired = [benchmark.name for benchmark in suite.benchmarks if benchmark.scope == "pair"]
    if paired and len(hosts) < 2:
        raise UsageError(
            f"benchmark {paired[0]} measures between two hosts, but only {hosts[0].name} is there",
            where=f"suite {suite.name}",
            hint="widen --limit, give an inventory with two hosts (-i), or make two with: perfctl lab up",
        )
    if paired:
        for host in hosts:
            _refuse_ipv6(host, paired[0])


def _refuse_ipv6(host: Host, benchmark: str) -> None:
    """Raise UsageError for an address that no network workload and no bridge of ours can use."""
    variable = "perf_test_address" if host.test_address else "ansible_host"
    try:
        # A link-local address may have its interface behind a %.
        address = ipaddress.ip_address(host.network_address.strip("[]").partition("%")[0])
    except ValueError:
        return
    if address.version == 6:
        raise UsageError(
            f"{variable} is {host.network_address}, but benchmark {benchmark} measures over IPv4",
            where=host.name,
            hint="give the host an IPv4 address on the test network: perf_test_address: 10.241.0.11/16",
        )


def _rounds_of_targets(
    benchmark: Benchmark, hosts: Sequence[Host], max_parallel_pairs: int | None
) -> Iterator[list[list[Target]]]:
    """Yield, round by round, the targets of each track."""
    resources = {host.name: host.resource for host in hosts}
    if benchmark.scope == "host":
        yield _by_resource([Target(host.name) for host in hosts[: benchmark.targets]], resources)
        return
    left = len(hosts) ** 2 if benchmark.targets is None else benchmark.targets
    for pairs in tournament(hosts):
        tracks = _by_resource(pairs[:left], resources)
        left -= len(pairs[:left])
        width = max_parallel_pairs or max(1, len(tracks))
        for start in range(0, len(tracks), width):
            yield tracks[start : start + width]


def tournament(hosts: Sequence[Host]) -> list[list[Target]]:
    """Return the rounds in which every two hosts meet exactly once, no host twice in a round.

    The circle method: the first host stands still, the others move on by one place each round; with an odd
    number one host sits out. Of two hosts the earlier is the client when their distance is odd, else the
    later, so that every host is client and server about equally often.
    """
    places: list[int | None] = list(range(len(hosts)))
    if len(places) % 2:
        places.append(None)
    rounds = []
    for _ in range(len(places) - 1):
        pairs = []
        for left, right in zip(places[: len(places) // 2], reversed(places), strict=False):
            if left is None or right is None:
                continue
            first, second = sorted((left, right))
            client, server = (first, second) if (second - first) % 2 else (second, first)
            pairs.append(Target(hosts[client].name, hosts[server].name))
        rounds.append(pairs)
        places = [places[0], places[-1], *places[1:-1]]
    return rounds


def _by_resource(targets: Sequence[Target], resources: Mapping[str, str | None]) -> list[list[Target]]:
    """Group targets so that two which share a resource, directly or through others, are together."""
    groups: list[tuple[set[str], list[Target]]] = []
    alone: list[list[Target]] = []
    for target in targets:
        own = {resource for name in target.hosts if (resource := resources[name])}
        if not own:
            alone.append([target])
            continue
        together = [target]
        apart = []
        for group in groups:
            if own & group[0]:
                own |= group[0]
                together = group[1] + together
            else:
                apart.append(group)
        groups = [*apart, (own, together)]
    order = {target: place for place, target in enumerate(targets)}
    tracks = alone + [sorted(group, key=order.__getitem__) for _, group in groups]
    return sorted(tracks, key=lambda track: order[track[0]])
