"""Bound memory benchmarks by the native memory bandwidth of their host, which nothing on it exceeds. Pure.

The bound of an invocation is the fastest that its host has shown natively

- in the same way (operation, scope, access, huge pages), by as many threads or more,
- with blocks that no cache holds and that are no larger than its own (the larger, the less stays in a cache),
- without limits, or within the limits that the invocation's environment has,
- in this run so far, and in earlier ones in which no static fact of the host was another.
"""

from __future__ import annotations

from collections.abc import Collection

from perfctl.environments import traits_of
from perfctl.facts import diff
from perfctl.facts.host import largest_cache_bytes
from perfctl.model import Environment, Fingerprint
from perfctl.model.environment import Limits
from perfctl.validity.bounds import Bound
from perfctl.workloads import Load, MemoryTraffic

FEWEST_NEAR = 5
"""Native values as fast as the fastest, within the bound's tolerance: they show that it is a ceiling. On a
disturbed host the fastest of a few is only the least disturbed."""
BEYOND_ANY_CACHE_BYTES = 1 << 30
"""No processor has a last-level cache so large: 1 GiB."""
_SAMPLE_TOLERANCE = 0.05
"""A bandwidth that was measured is a sample, not a law."""
_NO_LIMITS: Limits = (None, None, None, None)


def beyond_caches_bytes(facts: Fingerprint) -> int:
    """Return how large a block must at least be so that no cache which one CPU reaches holds it.

    One byte more than the largest cache that the facts name (the caches of other sockets and dies are of no
    use to a CPU), `BEYOND_ANY_CACHE_BYTES` where they name none.
    """
    largest = largest_cache_bytes(facts)
    return BEYOND_ANY_CACHE_BYTES if largest is None else largest + 1


def is_bounded(load: Load, environment: Environment, facts: Fingerprint) -> bool:
    """Return whether native measurements of the host's memory bound a benchmark in this environment.

    False where blocks may stay in a cache, and for native benchmarks, which set the bound.
    """
    if load.memory is None or not traits_of(environment).is_overhead:
        return False
    return load.memory.block_bytes >= beyond_caches_bytes(facts)


def bounds(other: Load, own: MemoryTraffic, threads: int | None, facts: Fingerprint) -> bool:
    """Return whether a native benchmark's rates bound one of `threads` threads that moves `own`."""
    return (
        other.memory is not None
        and other.memory.way == own.way
        and beyond_caches_bytes(facts) <= other.memory.block_bytes <= own.block_bytes
        and (other.threads or 0) >= (threads or 1)
    )


def has_comparable_limits(native: Limits, environment: Environment) -> bool:
    """Return whether a native value was measured without limits, or within those of the environment."""
    return native in (_NO_LIMITS, environment.limits)


def is_same_host(before: Fingerprint, now: Fingerprint) -> bool:
    """Return whether no static fact of a host was another when an earlier run measured it."""
    # A row that only one version of perfctl reads, or that only one plan needs, is no change.
    return bool(before.facts) and not any(item.before and item.after for item in diff(before, now))


def memory_bandwidth(rates: Collection[float], unit: str) -> Bound | None:
    """Return the bound that native rates set; None where too few come up to the fastest.

    It bounds what must go through memory. A benchmark whose blocks stay in a cache is faster, and right.
    """
    if not rates:
        return None
    fastest = max(rates)
    if sum(rate * (1 + _SAMPLE_TOLERANCE) >= fastest for rate in rates) < FEWEST_NEAR:
        return None
    source = f"the fastest of {len(rates)} native measurements of this host's memory"
    hint = "check that it does the same work: the program's build, huge pages"
    return Bound("memory_bandwidth", fastest, unit, source, _SAMPLE_TOLERANCE, hint)
