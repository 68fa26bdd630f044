"""What the rules of validity allow, and what a run expects of an invocation: both fixed before it starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from perfctl.facts.finding import Rule, Thresholds
from perfctl.model import Resource
from perfctl.model.environment import Environment

_CPU, _TIME = "% of all CPU time", "% of the time"

# fmt: off
VALIDITY = Thresholds((
    Rule("steal", _CPU, 1, 10, "1 % is what is looked for; at 10 % the figure is the neighbour's"),
    Rule("others_cpu", _CPU, 5, None, "hits all environments alike, in random order: a wider interval pays"),
    Rule("pressure_cpu", _TIME, 5, None, "tasks waited for a CPU though the benchmark leaves some free"),
    Rule("pressure_memory", _TIME, 5, None, "the environment's own memory limit may be the cause"),
    Rule("pressure_io", _TIME, 5, None, "tasks waited for a disk though the benchmark uses none"),
    Rule("swap", "pages", 0, None, "read or written; the environment's own memory limit may be the cause"),
    Rule("cpus", "CPUs", None, 0, "came or went, or are not those expected: another machine was measured"),
    Rule("quota", _TIME, 0, 1, "a CPU limit that the environment does not set stopped the benchmark"),
    Rule("heat", "times", 0, None, "the processor slowed a CPU down, if only for a moment"),
    Rule("heat_time", _TIME, None, 1, "the CPU was slower than its facts say"),
    Rule("clock_step", _TIME, 0.1, 1, "the wall clock was set, by which the tool may have timed itself"),
    Rule("oom_kills", "programs", 0, None, "somewhere on the machine, perhaps for the environment's limit"),
    Rule("kernel_warnings", "warnings", 0, None, "the kernel warned of itself, which takes milliseconds"),
    Rule("kernel_oopses", "faults", None, 0, "the kernel itself went wrong"),
    Rule("hung_tasks", "tasks", None, 0, "stood still for minutes"),
    Rule("kernel_messages", "lines", 0, 0, "that matter; their kind (below) decides between the two"),
    Rule("boot_attempts", "boots", 1, None, "of a guest whose start is measured: one printed nothing"),
    Rule("retransmits", "% of segments", 0.1, None, "of TCP; the environment's own network may be the cause"),
    Rule("nic_drops", "% of packets", 0.01, None, "the environment's own load may be the cause"),
    Rule("nic_errors", "packets", 0, None, "damaged by a cable, a port, a driver; the figure may be right"),
    Rule("link_lost", "changes", None, 0, "the interface lost or got its link while it was measured"),
))
# fmt: on
"""The rules of validity and their default limits."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a run knows of an invocation before it starts.

    `cpus` are those online on the host; `parallelism` is how many of them the benchmark can keep busy at
    once (None: not known); `uses` what it loads on purpose; `interfaces` the host's that its traffic takes.
    """

    cpus: int | None = None
    parallelism: int | None = None
    uses: frozenset[Resource] = frozenset({"cpu"})
    interfaces: tuple[str, ...] = ()
    shares_host_network: bool = True
    """False where its packets are counted in a network namespace, or a kernel, of its own."""
    has_cpu_quota: bool = False
    is_own_cpu_read: bool = True
    """False where tasks of the benchmark run in a control group that is not among the counters."""

    @classmethod
    def of(
        cls,
        environment: Environment,
        *,
        cpus: int | None,
        threads: int | None,
        uses: Iterable[Resource],
        interfaces: Iterable[str] = (),
        is_group_read: bool = False,
    ) -> Self:
        """Return what a benchmark of `threads` threads in this environment leads to expect.

        `is_group_read` says that the control group of the container or guest was among the counters; the
        job's own always is. How busy a guest keeps its host is not known: the emulator's threads come on top.
        """
        chain = _chain(environment)
        is_guest = any(item.kind == "vm" for item in chain)
        return cls(
            cpus=cpus,
            parallelism=None if is_guest else threads,
            uses=frozenset(uses),
            interfaces=tuple(interfaces),
            shares_host_network=not is_guest
            and all(item.kind == "native" or item.network == "host" for item in chain),
            has_cpu_quota=any(item.cpu_quota is not None for item in chain),
            is_own_cpu_read=is_group_read or all(item.kind == "native" for item in chain),
        )


def _chain(environment: Environment) -> list[Environment]:
    return [environment, *(_chain(environment.within) if environment.within else [])]
