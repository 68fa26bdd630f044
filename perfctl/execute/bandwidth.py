"""How fast a host's memory is natively: nothing that runs on it can be faster. Read from the database.

The bound of an invocation is the fastest that its host has shown natively

- in the same way (operation, scope, access, huge pages), by as many threads or more,
- with blocks that no cache holds and that are no larger than its own (the larger, the less stays in a cache),
- without limits, or within the limits that the invocation's environment has,
- in this run so far, and in earlier ones in which no static fact of the host was another.
"""

from __future__ import annotations

from perfctl.facts import Bound, beyond_caches_bytes, diff, memory_bandwidth
from perfctl.model import Benchmark, Environment, Fingerprint
from perfctl.store import NamedBenchmark, Store
from perfctl.workloads import WORKLOADS, Load, MemoryTraffic, workload

FEWEST_NEAR = 5
"""Native values as fast as the fastest, within the bound's tolerance: they show that it is a ceiling. On a
disturbed host the fastest of a few is only the least disturbed."""
_NO_LIMITS = (None, None, None, None)


class NativeBandwidth:
    """What the database says of the memory of a run's hosts."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._run_id = run_id
        self._loads: dict[str, Load] | None = None
        self._is_same: dict[tuple[str, str], bool] = {}

    def bound(
        self, host: str, facts: Fingerprint | None, benchmark: Benchmark, environment: Environment
    ) -> Bound | None:
        """Return what the memory of the host allows this benchmark at most.

        None where that is not known: too few native values as fast as the fastest, facts that were not read,
        blocks that a cache may hold. None also for native environments, which set the bound, and for other
        benchmarks.
        """
        load = workload(benchmark.workload).load(benchmark.parameters)
        if load.memory is None or environment.kind == "native" or facts is None:
            return None
        if load.memory.block_bytes < beyond_caches_bytes(facts):
            return None
        keys = self._of_the_same_way(load.memory, load.threads or 1, beyond_caches_bytes(facts))
        found = [
            item
            for item in self._store.native_values(self._run_id, host, keys)
            if item.metric == load.memory.rate
            and item.limits in (_NO_LIMITS, environment.limits)
            and self._was_the_same(item.run_id, host, facts)
        ]
        if not found:
            return None
        best = max(found, key=lambda item: item.value)
        source = f"the fastest of {len(found)} native measurements of this host's memory"
        bound = memory_bandwidth(best.value, best.unit, source)
        near = sum(item.value * (1 + bound.tolerance) >= best.value for item in found)
        return bound if near >= FEWEST_NEAR else None

    def _of_the_same_way(self, own: MemoryTraffic, threads: int, least_bytes: int) -> list[str]:
        """Return the keys of the benchmarks of all runs whose rates bound this one's."""
        if self._loads is None:
            self._loads = {key: load for key, load in map(_load, self._store.named_benchmarks()) if load}
        return [
            key
            for key, load in self._loads.items()
            if load.memory is not None
            and load.memory.way == own.way
            and least_bytes <= load.memory.block_bytes <= own.block_bytes
            and (load.threads or 0) >= threads
        ]

    def _was_the_same(self, run_id: str, host: str, facts: Fingerprint) -> bool:
        """Return whether nothing that is known of the host was another in that run."""
        if run_id == self._run_id:
            return True
        if (run_id, host) not in self._is_same:
            before = self._store.facts(run_id, host)
            changes = diff(before, facts)
            # A row that only one version of perfctl reads, or only one plan asks for, is no change.
            is_same = not any(item.before and item.after for item in changes)
            self._is_same[run_id, host] = bool(before.facts) and is_same
        return self._is_same[run_id, host]


def _load(named: NamedBenchmark) -> tuple[str, Load | None]:
    known = named.benchmark
    try:
        return known.key, WORKLOADS[known.workload].load(known.parameters)
    except (LookupError, ValueError, TypeError):
        # Of a version that had other workloads, or other parameters.
        return known.key, None
