"""Judge an invocation by what its run knows of it: its hosts, their facts, and the plan."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from perfctl.environments import traits_of
from perfctl.environments.kinds import has_own_network
from perfctl.environments.limits import needs_scope
from perfctl.facts.host import (
    is_bridge,
    is_on_local_disk,
    online_cpus,
    route_interface,
    storage_folders,
)
from perfctl.model import Benchmark, Environment, Fingerprint, GuestBoot, Host, Sample, Target
from perfctl.shell import Completed
from perfctl.validity.assessment import Assessment, MetricValues, assess
from perfctl.validity.bounds import ALL_DISKS, Bound, line_rate, slowest
from perfctl.validity.context import Expected, JudgementContext, RateClaim, ServerContext
from perfctl.validity.counters import CounterDelta, InvocationCounters
from perfctl.validity.thresholds import VALIDITY, RuleSet
from perfctl.workloads import Load, OpeningWorkload, workload_of

_US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class ServerCounters:
    """The counters of the server's host around the client's command; `problem` says why they are missing."""

    before: bytes = b""
    after: bytes = b""
    problem: str = ""


_NO_SERVER_COUNTERS = ServerCounters(problem="no counters were read there")


@dataclass(frozen=True, slots=True)
class MeasuredInvocation:
    """An invocation whose command ended, with what its run knows of it."""

    target: Target
    benchmark: Benchmark
    environment: Environment
    completed: Completed
    hosts: Sequence[Host]
    facts: Mapping[str, Fingerprint]
    """By host, read before the run; a host whose facts could not be read is left out."""
    memory_bandwidth: Bound | None = None
    """The upper bound that the host's memory sets, where one is known."""
    server: ServerCounters | None = None
    """The counters of the server's host."""
    boot: GuestBoot | None = None
    """How its guest came up, if there was one."""

    @property
    def load(self) -> Load:
        """The load that the benchmark puts on its host on purpose."""
        return workload_of(self.benchmark).load(self.benchmark.parameters)

    @property
    def client_facts(self) -> Fingerprint | None:
        """The facts of the host that it ran on."""
        return self.facts.get(self.target.host)

    def address(self, host: str | None) -> str:
        """Return the address of a host on the test network, '' for one that the run does not have."""
        return next((item.network_address for item in self.hosts if item.name == host), "")


def assess_invocation(
    invocation: MeasuredInvocation, samples: Sequence[Sample], rules: RuleSet = VALIDITY
) -> Assessment:
    """Judge an invocation that ended. Raises DataError for values and bounds that do not go together."""
    done, server = invocation.completed, invocation.server or ServerCounters()
    counters = InvocationCounters.parse(
        done.counters_before,
        done.counters_after,
        started_ns=done.started_ns,
        ended_ns=done.ended_ns,
        server_before=server.before,
        server_after=server.after,
    )
    return assess(counters, judgement_context(invocation, counters.delta), median_values(samples), rules)


def median_values(samples: Sequence[Sample]) -> MetricValues:
    """Return one value per metric: the median of its samples without warm-ups."""
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        if not sample.is_warmup:
            found.setdefault(sample.metric, []).append(sample)
    return {
        name: (statistics.median(sample.value for sample in same), same[0].unit)
        for name, same in found.items()
    }


def judgement_context(invocation: MeasuredInvocation, delta: CounterDelta) -> JudgementContext:
    """Return the context that an invocation is judged in; `delta` is the difference of its counters."""
    interface = _client_interface(invocation)
    expected = expect(invocation.environment, invocation.load, invocation.client_facts, interface)
    is_start_measured = isinstance(workload_of(invocation.benchmark), OpeningWorkload)
    return JudgementContext(
        expected=expected,
        own_cpu_us=own_cpu_us(invocation.completed.host_view, delta),
        claims=tuple(_rate_claims(invocation, interface, expected)),
        server=_server_context(invocation),
        boot_attempts=invocation.boot.attempts if invocation.boot and is_start_measured else None,
    )


def expect(
    environment: Environment, load: Load, facts: Fingerprint | None, interface: str | None
) -> Expected:
    """Return what is expected of a host with these facts under a load in this environment.

    How many CPUs an environment with its own kernel keeps busy is not known: its emulator has threads, too.
    """
    layers = environment.layers
    has_own_kernel = any(traits_of(layer).has_own_kernel for layer in layers)
    return Expected(
        cpus=online_cpus(facts) if facts else None,
        parallelism=None if has_own_kernel else load.threads,
        uses=load.uses,
        interfaces=(interface,) if interface else (),
        shares_host_network=not has_own_network(environment),
        has_cpu_quota=any(layer.cpu_quota is not None for layer in layers),
        # The commands of containers, guests and scopes are in control groups that are not among the counters.
        is_own_cpu_read=not any(traits_of(layer).is_made or needs_scope(layer) for layer in layers),
    )


def _server_context(invocation: MeasuredInvocation) -> ServerContext | None:
    """Return the context of the server's host; None where there is no server."""
    name = invocation.target.peer
    if name is None:
        return None
    facts = invocation.facts.get(name)
    interface = route_interface(facts, invocation.address(invocation.target.host)) if facts else None
    # A server answers each thread of the client by one of its own.
    expected = expect(invocation.environment.of_server, invocation.load, facts, interface)
    # The group of the job that reads the counters is not, or not everywhere, that of the server.
    expected = replace(expected, is_own_cpu_read=False)
    return ServerContext(name, expected, (invocation.server or _NO_SERVER_COUNTERS).problem)


# ---- the benchmark's own CPU time ------------------------------------------------------------------------


def own_cpu_us(host_view: bytes, delta: CounterDelta) -> int | None:
    """Return the CPU time of a benchmark, in us, where it is not all in the job's own control group.

    A container's or a guest's processes are in other control groups; the host's view has their time, and the
    job's own group that of the client that waits for them. None where the group has it all, or it is unknown.
    """
    view = host_view.decode("utf-8", "replace")
    if not view:
        return None
    used = {words[0]: _seconds(words[1:]) for words in map(str.split, view.splitlines()) if len(words) == 3}
    command_us, inside_us = (_in_us(used.get(name)) for name in ("command", "environment"))
    group_us = delta.own_cpu_us
    if "# own: of the environment, which is session " in view:
        return None if group_us is not None else command_us
    if inside_us is None:
        return None
    inside_us += _vhost_us(view)
    return inside_us + group_us if group_us is not None else max(inside_us, command_us or 0)


def _seconds(words: Sequence[str]) -> float | None:
    try:
        seconds = sum(map(float, words))
    except ValueError:
        return None
    return seconds if math.isfinite(seconds * _US_PER_S) else None


def _in_us(seconds: float | None) -> int | None:
    return None if seconds is None else round(max(0.0, seconds) * _US_PER_S)


def _vhost_us(view: str) -> int:
    """Return the CPU time of the kernel threads that move a guest's packets; some are not of its process."""
    _, _, end = view.partition("==> after its end <==\n")
    total_s = 0.0
    for line in end.splitlines():
        words = line.split("\t")
        if len(words) == 8 and words[1] == "-" and words[5] == "yes" and words[6].startswith("vhost-"):
            total_s += _seconds(words[3:5]) or 0.0
    return round(total_s * _US_PER_S)


# ---- what crosses the network, goes to disks, or through memory -----------------------------------------


def _client_interface(invocation: MeasuredInvocation) -> str | None:
    """Return the client's interface on the way to its server; None where there is none or it is not known."""
    if invocation.client_facts is None or invocation.target.peer is None:
        return None
    return route_interface(invocation.client_facts, invocation.address(invocation.target.peer))


def _rate_claims(
    invocation: MeasuredInvocation, interface: str | None, expected: Expected
) -> Iterator[RateClaim]:
    facts, load = invocation.client_facts, invocation.load
    if load.memory is not None and invocation.memory_bandwidth is not None:
        moved = load.memory
        yield RateClaim(moved.rate, moved.time, moved.direction, None, invocation.memory_bandwidth)
    for crossing in load.crossings:
        of = (crossing.rate, crossing.time, crossing.direction)
        if crossing.directory:
            if _is_on_disks(invocation, crossing.directory):
                yield RateClaim(*of, ALL_DISKS, None)
        elif interface is not None and facts is not None:
            # What goes between a bridge's ports is in none of the bridge's own counters.
            is_counted = expected.shares_host_network or not is_bridge(facts, interface)
            yield RateClaim(*of, interface if is_counted else None, _line_rate(invocation, interface))


def _is_on_disks(invocation: MeasuredInvocation, directory: str) -> bool:
    facts = invocation.client_facts
    if facts is None:
        return False
    if not traits_of(invocation.environment).is_made:
        return is_on_local_disk(facts, directory)
    # These folders are in memory everywhere.
    if re.match(r"/+(dev|run|proc|sys|var/run)(/|$)", directory):
        return False
    # Layers of containers and images of guests are files of the host.
    folders = storage_folders(facts, traits_of(invocation.environment.outermost).storage_folders)
    return bool(folders) and all(is_on_local_disk(facts, folder) for folder in folders)


def _line_rate(invocation: MeasuredInvocation, interface: str) -> Bound | None:
    """Return what the slower of both ends' wires carries."""
    here, there = invocation.client_facts, invocation.facts.get(invocation.target.peer or "")
    bounds = [line_rate(here, interface) if here else None]
    if there is not None:
        other = route_interface(there, invocation.address(invocation.target.host))
        bounds.append(line_rate(there, other) if other else None)
    return slowest(bounds)
