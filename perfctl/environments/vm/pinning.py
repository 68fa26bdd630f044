"""Plan on which CPUs of its host a guest runs, from the host's topology. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from perfctl.environments.catalogue import default_vcpus
from perfctl.environments.limits import parse_cpulist
from perfctl.errors import EnvironmentNotMade, EnvironmentUnavailable
from perfctl.model import Environment
from perfctl.model.environment import Accelerator


@dataclass(frozen=True, slots=True)
class Cpu:
    """One CPU (hardware thread) of a host."""

    number: int
    core: int
    socket: int
    node: int

    @property
    def place(self) -> tuple[int, int, int]:
        """Return the node, socket and core, which only its siblings have, too."""
        return (self.node, self.socket, self.core)


@dataclass(frozen=True, slots=True)
class Topology:
    """The CPUs of a host that are online and usable, by number."""

    cpus: tuple[Cpu, ...]

    @classmethod
    def parse(cls, lscpu: str, allowed: str) -> Topology:
        """Return what `lscpu -p=CPU,CORE,SOCKET,NODE` printed, cut down to a list such as '0-3,8' ('': all).

        A host that knows no cores, sockets or NUMA nodes has one thread per core, and one of the others.
        """
        usable = set(parse_cpulist(allowed)) if allowed else None
        cpus = []
        for line in lscpu.splitlines():
            if not line or line.startswith("#"):
                continue
            number, core, socket, node = (part.strip() for part in line.split(","))
            if usable is None or int(number) in usable:
                cpus.append(Cpu(int(number), int(core or number), int(socket or 0), int(node or 0)))
        return cls(tuple(sorted(cpus, key=lambda cpu: cpu.number)))

    def nodes(self) -> list[int]:
        """Return the NUMA nodes that have CPUs."""
        return sorted({cpu.node for cpu in self.cpus})


@dataclass(frozen=True, slots=True)
class Pinning:
    """The CPUs and NUMA nodes of a guest on its host."""

    vcpus: tuple[int, ...]
    """The host CPU of each vCPU."""
    emulator: tuple[int, ...]
    """The host CPUs of qemu's other threads."""
    nodes: tuple[int, ...]
    """The NUMA nodes of its memory."""

    @property
    def is_emulator_shared(self) -> bool:
        """Return whether qemu's own threads take time from the vCPUs."""
        return not set(self.emulator).isdisjoint(self.vcpus)

    def described(self) -> dict[str, str]:
        """Return it as facts of an environment."""
        return {
            "pinning.vcpus": " ".join(f"{vcpu}:{cpu}" for vcpu, cpu in enumerate(self.vcpus)),
            "pinning.emulator": cpulist(self.emulator),
            "pinning.emulator_shared": "yes" if self.is_emulator_shared else "no",
            "pinning.nodes": cpulist(self.nodes),
        }


def cpulist(numbers: Iterable[int]) -> str:
    """Return numbers as a list such as '0-3,8'."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def plan(
    topology: Topology, environment: Environment, accelerator: Accelerator, *, host: str = ""
) -> Pinning:
    """Return the pinning of a guest: one NUMA node, each vCPU on a core of its own, qemu's threads elsewhere.

    What the environment sets itself (cpuset_cpus, cpuset_mems, emulator_cpus) is used as it is. Emulated
    guests of hosts that are named one after another begin with one CPU after another: hosts of a lab share
    one machine, on whose first CPU all their guests would be. Raises EnvironmentUnavailable when the host
    does not have the CPUs, EnvironmentNotMade when the environment names too few.
    """
    mems = parse_cpulist(environment.cpuset_mems) if environment.cpuset_mems else None
    if environment.cpuset_cpus:
        vcpus = _listed(topology, environment.cpuset_cpus, environment.vcpus, "cpuset_cpus")
    else:
        turn = sum(host.encode()) if accelerator == "tcg" else 0
        vcpus = _on_one_node(topology, environment.vcpus or default_vcpus(accelerator), mems, turn)
    if environment.emulator_cpus:
        emulator = _listed(topology, environment.emulator_cpus, None, "emulator_cpus")
    else:
        emulator = _away_from(topology, vcpus)
    nodes = mems or tuple(sorted({cpu.node for cpu in topology.cpus if cpu.number in vcpus}))
    return Pinning(vcpus, emulator, nodes)


def _listed(topology: Topology, listed: str, count: int | None, key: str) -> tuple[int, ...]:
    wanted = parse_cpulist(listed)
    usable = {cpu.number for cpu in topology.cpus}
    absent = [number for number in wanted if number not in usable]
    if absent:
        raise EnvironmentUnavailable(
            f"{key} {listed} names CPU {cpulist(absent)}, which is not online or not usable on this host",
            hint=f"this host has {cpulist(usable)}",
        )
    if count is not None and count > len(wanted):
        raise EnvironmentNotMade(
            f"{key} {listed} has {len(wanted)} CPUs for {count} vCPUs, and each is pinned to one of its own",
            hint=f"name {count} CPUs, or set vcpus = {len(wanted)}",
        )
    return wanted[:count]


def _on_one_node(topology: Topology, count: int, nodes: Sequence[int] | None, turn: int) -> tuple[int, ...]:
    by_node = {
        node: _cores_first([cpu for cpu in topology.cpus if cpu.node == node])
        for node in topology.nodes()
        if nodes is None or node in nodes
    }
    fitting = {node: cpus for node, cpus in by_node.items() if len(cpus) >= count}
    if not fitting:
        most = max((len(cpus) for cpus in by_node.values()), default=0)
        raise EnvironmentUnavailable(
            f"{count} vCPUs do not fit on one NUMA node: the largest has {most} usable CPUs",
            hint=f"set vcpus = {most}, or name the CPUs yourself: cpuset_cpus",
        )
    # The node where the fewest vCPUs share a core, then the one that leaves most CPUs to others.
    best = min(fitting, key=lambda node: (-min(count, _cores(fitting[node])), -len(fitting[node]), node))
    first = turn % len(fitting[best])
    in_turn = [*fitting[best][first:], *fitting[best][:first]]
    return tuple(cpu.number for cpu in in_turn[:count])


def _cores_first(cpus: Sequence[Cpu]) -> list[Cpu]:
    """Return one CPU of each core, then a second one of each, and so on."""
    seen: dict[tuple[int, int, int], int] = {}
    turns = []
    for cpu in cpus:
        turns.append((seen.setdefault(cpu.place, 0), cpu.number, cpu))
        seen[cpu.place] += 1
    return [cpu for _, _, cpu in sorted(turns, key=lambda turn: turn[:2])]


def _cores(cpus: Iterable[Cpu]) -> int:
    return len({cpu.place for cpu in cpus})


def _away_from(topology: Topology, vcpus: Sequence[int]) -> tuple[int, ...]:
    """Return CPUs for qemu's own threads: another core of the node, else a sibling, else another node."""
    taken = [cpu for cpu in topology.cpus if cpu.number in vcpus]
    cores = {cpu.place for cpu in taken}
    nodes = {cpu.node for cpu in taken}
    others = [cpu for cpu in topology.cpus if cpu.number not in vcpus]
    choices = (
        [cpu for cpu in others if cpu.node in nodes and cpu.place not in cores],
        [cpu for cpu in others if cpu.node in nodes],
        others,
        taken,
    )
    best = next((choice for choice in choices if choice), [])
    return tuple(cpu.number for cpu in best)
