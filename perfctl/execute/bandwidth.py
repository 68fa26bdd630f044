"""Look up in the database how fast a host's memory is natively, by the rules of `validity.bandwidth`."""

from __future__ import annotations

from collections.abc import Sequence

from perfctl.environments import traits_of
from perfctl.errors import PerfctlError
from perfctl.model import Benchmark, Environment, Fingerprint, Sample
from perfctl.store import NamedBenchmark, NativeValue, Store
from perfctl.validity import bandwidth
from perfctl.validity.bounds import Bound
from perfctl.validity.invocation import median_values
from perfctl.workloads import Load, workload_of


class NativeBandwidth:
    """The memory bandwidth of a run's hosts: from the database once, and from what the run measures then."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._run_id = run_id
        self._loads: dict[str, Load] | None = None
        self._is_same: dict[tuple[str, str], bool] = {}
        self._values: dict[str, list[NativeValue]] = {}
        """By host, of those that a bound was wanted on."""

    def bound(
        self, host: str, facts: Fingerprint | None, benchmark: Benchmark, environment: Environment
    ) -> Bound | None:
        """Return the upper bound that the host's memory sets to this benchmark, None where none is known."""
        load = workload_of(benchmark).load(benchmark.parameters)
        if facts is None or load.memory is None or not bandwidth.is_bounded(load, environment, facts):
            return None
        keys = {
            key
            for key, other in self._known_loads().items()
            if bandwidth.bounds(other, load.memory, load.threads, facts)
        }
        found = [
            item
            for item in self._values_on(host)
            if item.benchmark_key in keys
            and item.metric == load.memory.rate
            and bandwidth.has_comparable_limits(item.limits, environment)
            and self._was_same_host(item.run_id, host, facts)
        ]
        return bandwidth.memory_bandwidth([item.value for item in found], found[0].unit) if found else None

    def add(
        self, host: str, benchmark: Benchmark, environment: Environment, samples: Sequence[Sample]
    ) -> None:
        """Add what the run has measured and stored: ok, on one host, and not invalid."""
        memory = workload_of(benchmark).load(benchmark.parameters).memory
        # What is not known yet is read with all the rest.
        if memory is None or host not in self._values or traits_of(environment).is_overhead:
            return
        values = median_values(samples)
        if memory.rate in values:
            value, unit = values[memory.rate]
            self._values[host].append(
                NativeValue(self._run_id, benchmark.key, environment.limits, memory.rate, unit, value)
            )

    def _values_on(self, host: str) -> Sequence[NativeValue]:
        if host not in self._values:
            keys = [key for key, load in self._known_loads().items() if load.memory is not None]
            self._values[host] = self._store.history.native_values(self._run_id, host, keys)
        return self._values[host]

    def _known_loads(self) -> dict[str, Load]:
        if self._loads is None:
            self._loads = {
                key: load for key, load in map(_load, self._store.history.named_benchmarks()) if load
            }
        return self._loads

    def _was_same_host(self, run_id: str, host: str, facts: Fingerprint) -> bool:
        if run_id == self._run_id:
            return True
        if (run_id, host) not in self._is_same:
            self._is_same[run_id, host] = bandwidth.is_same_host(self._store.run(run_id).facts(host), facts)
        return self._is_same[run_id, host]


def _load(named: NamedBenchmark) -> tuple[str, Load | None]:
    known = named.benchmark
    try:
        return known.key, workload_of(known).load(known.parameters)
    except (PerfctlError, LookupError, ValueError, TypeError):
        # From a version of perfctl with other workloads or parameters.
        return known.key, None
