"""Does an invocation count? What a run knows of it, put together for the rules of `perfctl.facts`."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from perfctl import facts
from perfctl.environments.limits import needs_scope
from perfctl.execute.server import ServerWatch
from perfctl.facts import (
    Assessment,
    Bound,
    Case,
    Claim,
    Expected,
    Limits,
    Reading,
    Server,
    Severity,
    Values,
)
from perfctl.model import Benchmark, Environment, Fingerprint, GuestBoot, Host, Sample, Target
from perfctl.shell import Completed
from perfctl.workloads import Load, OpeningWorkload, workload

_US_PER_S = 1_000_000
_WORST_FIRST = (Severity.INVALID, Severity.ARTEFACT, Severity.FLAGGED)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Where an invocation ran: its hosts, what they were like before the run, and what was planned."""

    target: Target
    benchmark: Benchmark
    environment: Environment
    hosts: Sequence[Host]
    facts: Mapping[str, Fingerprint]
    """By host; one whose facts could not be read is not there."""
    memory_bandwidth: Bound | None = None
    """What the host's memory allows the benchmark, where that is known."""
    server: ServerWatch | None = None
    """What was read at the server's host."""
    boot: GuestBoot | None = None
    """How its guest came up, if there was one."""


def judge(
    where: Circumstances, completed: Completed, samples: Sequence[Sample], limits: Limits
) -> Assessment:
    """Judge an invocation that ended. Raises DataError for values and bounds that do not go together."""
    reading = Reading(
        completed.counters_before, completed.counters_after, completed.started_ns, completed.ended_ns
    )
    if where.server is not None:
        reading = replace(reading, server_before=where.server.before, server_after=where.server.after)
    return facts.assess(reading, case_of(where, completed), values_of(samples), limits.validity)


def remark(assessment: Assessment) -> str:
    """Return what progress says of it in a few words, '' where all is well."""
    findings = sorted(assessment.validity.findings, key=lambda item: _WORST_FIRST.index(item.severity))
    if not findings:
        return ""
    sentence = findings[0].sentence
    if sentence.endswith(")"):
        sentence = sentence.rpartition(" (")[0]
    others = f" (and {len(findings) - 1} more)" if findings[1:] else ""
    return f"{assessment.validity.verdict}: {sentence}{others}"


def values_of(samples: Sequence[Sample]) -> Values:
    """Return the one value of each metric: the median of its samples that are no warm-up."""
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        if not sample.is_warmup:
            found.setdefault(sample.metric, []).append(sample)
    return {
        name: (statistics.median(sample.value for sample in same), same[0].unit)
        for name, same in found.items()
    }


def case_of(where: Circumstances, completed: Completed) -> Case:
    """Return what the invocation is judged by beside its counters."""
    here = where.facts.get(where.target.host)
    load = workload(where.benchmark.workload).load(where.benchmark.parameters)
    interface = _interface(where)
    expected = Expected.of(
        where.environment,
        cpus=facts.online_cpus(here) if here else None,
        threads=load.threads,
        uses=load.uses,
        interfaces=[interface] if interface else [],
    )
    if any(needs_scope(item) for item in _chain(where.environment)):
        # Its commands are in a control group of their own, which is not among the counters.
        expected = replace(expected, is_own_cpu_read=False)
    claims = tuple(_claims(where, interface, expected))
    is_start_measured = isinstance(workload(where.benchmark.workload), OpeningWorkload)
    attempts = where.boot.attempts if where.boot and is_start_measured else None
    return Case(expected, own_cpu_us(completed), claims, _server_of(where, load), attempts)


def _server_of(where: Circumstances, load: Load) -> Server | None:
    """Return what is expected of the server's host; None where there is none."""
    name = where.target.peer
    if name is None:
        return None
    there = where.facts.get(name)
    interface = facts.route_interface(there, _address(where, where.target.host)) if there else None
    expected = Expected.of(
        where.environment.of_server,
        cpus=facts.online_cpus(there) if there else None,
        # It answers each thread of the client by one of its own.
        threads=load.threads,
        uses=load.uses,
        interfaces=[interface] if interface else [],
    )
    # The group of the job that looks is not, or not everywhere, that of the server.
    expected = replace(expected, is_own_cpu_read=False)
    unread = where.server.problem if where.server else "nothing was read there"
    return Server(name, expected, unread)


def own_cpu_us(completed: Completed) -> int | None:
    """Return the CPU time of a benchmark that is not only what the job's own control group counts.

    A container's or a guest's processes belong to others' groups; the host's view has their time, and the
    job's own group that of the client which waits for them. None where the counters know it all, or nobody.
    """
    view = completed.host_view.decode("utf-8", "replace")
    if not view:
        return None
    used = {words[0]: _seconds(words[1:]) for words in map(str.split, view.splitlines()) if len(words) == 3}
    command_us, inside_us = (_in_us(used.get(name)) for name in ("command", "environment"))
    group_us = facts.parse_counters(completed.counters_before, completed.counters_after).own_cpu_us
    if "# own: of the environment, which is session " in view:
        return None if group_us is not None else command_us
    if inside_us is None:
        return None
    inside_us += _vhost_us(view)
    return inside_us + group_us if group_us is not None else max(inside_us, command_us or 0)


def _seconds(words: Sequence[str]) -> float | None:
    try:
        return sum(map(float, words))
    except ValueError:
        return None


def _in_us(seconds: float | None) -> int | None:
    return None if seconds is None else round(max(0.0, seconds) * _US_PER_S)


def _vhost_us(view: str) -> int:
    """Return the time of the kernel's threads that move a guest's packets; not all are its process's own."""
    _, _, end = view.partition("==> after its end <==\n")
    total_s = 0.0
    for line in end.splitlines():
        words = line.split("\t")
        if len(words) == 8 and words[1] == "-" and words[5] == "yes" and words[6].startswith("vhost-"):
            total_s += _seconds(words[3:5]) or 0.0
    return round(total_s * _US_PER_S)


def _chain(environment: Environment) -> Iterator[Environment]:
    yield environment
    if environment.within:
        yield from _chain(environment.within)


# ---- what crosses the network, goes to disks, or through memory -----------------------------------------


def _address(where: Circumstances, name: str) -> str:
    return next((host.network_address for host in where.hosts if host.name == name), "")


def _interface(where: Circumstances) -> str | None:
    """Return the client's interface on the way to its server; None where there is none or it is not known."""
    here = where.facts.get(where.target.host)
    if here is None or where.target.peer is None:
        return None
    return facts.route_interface(here, _address(where, where.target.peer))


def _claims(where: Circumstances, interface: str | None, expected: Expected) -> Iterator[Claim]:
    here = where.facts.get(where.target.host)
    load = workload(where.benchmark.workload).load(where.benchmark.parameters)
    if load.memory is not None and where.memory_bandwidth is not None:
        moved = load.memory
        yield Claim(moved.rate, moved.time, moved.direction, None, where.memory_bandwidth)
    for crossing in load.crossings:
        of = (crossing.rate, crossing.time, crossing.direction)
        if crossing.directory:
            if _is_on_disks(where, crossing.directory):
                yield Claim(*of, facts.ALL_DISKS, None)
        elif interface is not None and here is not None:
            # What goes between a bridge's ports is in none of the bridge's own counters.
            is_counted = expected.shares_host_network or not facts.is_bridge(here, interface)
            yield Claim(*of, interface if is_counted else None, _line_rate(where, interface))


def _is_on_disks(where: Circumstances, directory: str) -> bool:
    here = where.facts.get(where.target.host)
    # Layers of containers and images of guests are files on the host's own disks.
    return here is not None and (where.environment.kind != "native" or facts.is_on_disks(here, directory))


def _line_rate(where: Circumstances, interface: str) -> Bound | None:
    """Return what the slower of both ends' wires carries."""
    here, there = where.facts.get(where.target.host), where.facts.get(where.target.peer or "")
    bounds = [facts.line_rate(here, interface) if here else None]
    if there is not None:
        other = facts.route_interface(there, _address(where, where.target.host))
        bounds.append(facts.line_rate(there, other) if other else None)
    return facts.slowest(bounds)
