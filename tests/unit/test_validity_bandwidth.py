"""Memory that is faster than the host's own: what is held against what, on a real database."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from perfctl.errors import HostUnreachable
from perfctl.execute.bandwidth import NativeBandwidth
from perfctl.execute.block import invocation_id, record
from perfctl.execute.fleet import Fleet
from perfctl.execute.invocation import read_outcome
from perfctl.execute.session import RunSession
from perfctl.model import (
    Benchmark,
    Block,
    Environment,
    Fact,
    FactState,
    Fingerprint,
    Parameter,
    Plan,
    PlannedInvocation,
    Round,
    Status,
    Target,
    Track,
)
from perfctl.plan.request import PlannedRun
from perfctl.shell import Completed
from perfctl.store import NativeValue, Store, open_store
from perfctl.store.history import History
from perfctl.validity.bandwidth import BEYOND_ANY_CACHE_BYTES, FEWEST_NEAR
from perfctl.validity.bounds import Bound
from perfctl.workloads import WORKLOADS, resolve_parameters
from tests.unit import store_cases as cases

OUTPUT = (Path(__file__).parents[1] / "data" / "sysbench" / "memory-write-seq" / "stdout").read_text()
LARGE = 256 << 20
NATIVE = Environment("native", "native")
PINNED = Environment("native-1cpu", "native", cpuset_cpus="1")
CONTAINER = Environment("container", "container", engine="docker", network="bridge")
GUEST = Environment("vm", "vm")
PINNED_GUEST = Environment("vm-1cpu", "vm", cpuset_cpus="1")
ENVIRONMENTS = (NATIVE, PINNED, CONTAINER, GUEST, PINNED_GUEST)


def memory(name: str = "large", **parameters: Parameter) -> Benchmark:
    given = {"test": "memory", "memory_block_bytes": LARGE, "memory_operation": "write"} | parameters
    return Benchmark(name, "sysbench", resolve_parameters(WORKLOADS["sysbench"], given), expected_s=10)


def report(benchmark: Benchmark, rate: float) -> str:
    """Return the captured report with the numbers of this benchmark's blocks, moved at so many MiB/s."""
    given = benchmark.parameters
    threads, block_mib = int(given["threads"]), int(given["memory_block_bytes"]) / (1 << 20)
    count = round(rate * int(given["time_s"]) / block_mib)
    seconds = count * block_mib / rate
    busy_ms = threads * seconds * 1e3
    values = {
        "Total operations: ": f"{count} ({count / seconds:.2f} per second)",
        "(?=.* MiB transferred)": f"{count * block_mib:.2f} MiB transferred ({rate:.2f} MiB/sec)",
        "total time: ": f"{seconds:.4f}s",
        "total number of events: ": f"{count}",
        "(?:min|avg|max|95th percentile): ": f"{busy_ms / count:.2f}",
        "sum: ": f"{busy_ms:.2f}",
        r"events \(avg/stddev\): ": f"{count / threads:.4f}/0.00",
        r"execution time \(avg/stddev\): ": f"{seconds:.4f}/0.00",
    }
    text = OUTPUT
    for label, value in values.items():
        text = re.sub(rf"^( *{label} *).*$", rf"\g<1>{value}", text, flags=re.MULTILINE)
    return text


def facts(cache: str | None = "index0=32K: 0-1\nindex3=32768K: 0-1", **more: str) -> Fingerprint:
    rows = [Fact(name, FactState.PRESENT, value) for name, value in {"cpu.online": "0-1", **more}.items()]
    state = FactState.MISSING if cache is None else FactState.PRESENT
    return Fingerprint((*rows, Fact("cpu.cache", state, cache or "")))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "results.db", create=True) as opened:
        yield opened


class Run:
    """A run of these benchmarks on h1, measured by whoever calls `measure`."""

    def __init__(self, store: Store, *benchmarks: Benchmark, known: Fingerprint | None = None) -> None:
        self.benchmarks = benchmarks or (memory(),)
        blocks = [Block(item.name, Target("h1"), 0, ()) for item in self.benchmarks]
        plan = Plan("m", "1", "native", ENVIRONMENTS, self.benchmarks, (Round((Track(tuple(blocks)),)),))
        self.id = cases.begin_run(store, plan)
        self.store = store
        self.known = known or facts()
        fleet = Fleet(cases.HOSTS, self.id, lifetime_s=1)
        # Nobody asks the host for anything: what it said is here.
        fleet.mark_lost("h1", HostUnreachable("not there"))
        planned = PlannedRun(self.id, plan, cases.HOSTS)
        self.session = RunSession(planned, store, fleet, lambda event: None)
        self.session.facts["h1"] = self.known
        store.writer.record_host_snapshot(self.id, "h1", "before", self.known)
        self._index = 0

    def measure(self, environment: Environment, *rates: float, of: int = 0, cpus: int = 2) -> list[str]:
        """Store invocations that say so many MiB/s, and return their ids."""
        benchmark = self.benchmarks[of]
        ids = []
        for rate in rates:
            block = Block(
                benchmark.name, Target("h1"), self._index, (PlannedInvocation(environment.name, 1, 0),)
            )
            self._index += 1
            block_id = self.store.writer.begin_block(self.id, block, 1)
            text = report(benchmark, rate)
            ticks = "".join(f"cpu{n} 0\n" for n in range(cpus))
            counters = [f"==> /proc/stat <==\ncpu {busy} 0 0 1000 0 0 0 0 0 0\n{ticks}" for busy in (0, 900)]
            before, after = (text_of.encode() for text_of in counters)
            done = Completed(
                ("sysbench",), 0, text.encode(), b"", 0, 10**10, counters_before=before, counters_after=after
            )
            outcome = read_outcome(WORKLOADS["sysbench"], benchmark, done)
            assert outcome.status is Status.OK, outcome.detail
            planned = block.invocations[0]
            record(self.session, block, block_id, planned, outcome, time.time())
            self.store.writer.end_block(block_id, "complete")
            ids.append(invocation_id(block_id, planned))
        return ids

    def bound(self, environment: Environment = CONTAINER, of: int = 0) -> Bound | None:
        bandwidth = NativeBandwidth(self.store, self.id)
        return bandwidth.bound("h1", self.known, self.benchmarks[of], environment)


NATIVE_RATES = (9_600.0, 9_550.0, 10_000.0, 9_800.0, 9_900.0)


def test_what_is_faster_than_the_hosts_own_memory_is_likely_an_artefact(store: Store) -> None:
    run = Run(store)
    run.measure(NATIVE, *NATIVE_RATES)
    honest, false = run.measure(CONTAINER, 10_400.0, 10_600.0)
    judged = store.run("latest").assessment(false)
    assert judged is not None and judged.validity.verdict == "flagged"
    (finding,) = [item for item in judged.validity.findings if item.rule == "memory_bandwidth"]
    assert (finding.severity, finding.metric, finding.limit) == ("likely artefact", "bandwidth", 10_000.0)
    assert finding.sentence == (
        "10,600 MiB/s is more than the fastest of 5 native measurements of this host's memory allows,"
        " 10,000 MiB/s"
    )
    other = store.run("latest").assessment(honest)
    assert other is not None and "memory_bandwidth" not in {item.rule for item in other.validity.findings}
    assert list(store.run(run.id).suspect_values()) == [("large", "bandwidth", Target("h1"), "container")]


def test_reading_again_comes_to_the_same_verdict_by_the_bound_of_then(store: Store) -> None:
    run = Run(store)
    run.measure(NATIVE, *NATIVE_RATES)
    (false,) = run.measure(CONTAINER, 10_600.0)
    run.measure(NATIVE, 12_000.0)
    before = store.run("latest").assessment(false)
    assert store.writer.reparse(run.id).changed == 0
    assert store.run("latest").assessment(false) == before
    assert before is not None and before.context.claims[0].bound is not None


def test_native_sets_the_bound_and_is_never_held_against_it(store: Store) -> None:
    run = Run(store)
    run.measure(NATIVE, *NATIVE_RATES)
    assert run.bound(NATIVE) is None and run.bound(PINNED) is None
    for environment in (CONTAINER, GUEST, PINNED_GUEST):
        bound = run.bound(environment)
        assert bound is not None and bound.value == 10_000.0


def test_without_enough_native_values_nothing_is_judged(store: Store) -> None:
    run = Run(store)
    assert run.bound() is None
    run.measure(NATIVE, *NATIVE_RATES[: FEWEST_NEAR - 1])
    assert run.bound() is None
    (fast,) = run.measure(CONTAINER, 99_000.0)
    judged = store.run("latest").assessment(fast)
    assert judged is not None and judged.context.claims == ()
    run.measure(NATIVE, NATIVE_RATES[-1])
    assert run.bound() is not None


def test_the_fastest_of_values_far_apart_is_no_ceiling(store: Store) -> None:
    run = Run(store)
    run.measure(NATIVE, 8_120.0, 7_520.0, 4_340.0, 4_790.0, 8_150.0, 5_580.0)
    assert run.bound() is None
    run.measure(NATIVE, *NATIVE_RATES, 2_000.0)
    bound = run.bound()
    assert bound is not None and bound.value == 10_000.0
    assert bound.source == "the fastest of 12 native measurements of this host's memory"


def test_invalid_native_values_bound_nothing(store: Store) -> None:
    run = Run(store)
    run.measure(NATIVE, *NATIVE_RATES)
    run.measure(NATIVE, 90_000.0, cpus=1)
    bound = run.bound()
    assert bound is not None and bound.value == 10_000.0


@pytest.mark.parametrize(
    ("cache", "block", "is_bounded"),
    [
        ("index3=32768K: 0-1", 32 << 20, False),
        ("index3=32768K: 0-1", 64 << 20, True),
        ("index2=1024K: 0-1\nindex3=16384K: 0-3\nindex3=98304K: 4-7", 64 << 20, False),
        (None, BEYOND_ANY_CACHE_BYTES >> 1, False),
        (None, BEYOND_ANY_CACHE_BYTES, True),
        ("nonsense", LARGE, False),
        ("index3=0K: 0-1", LARGE, False),
    ],
)
def test_blocks_that_a_cache_may_hold_are_not_judged(
    store: Store, cache: str | None, block: int, is_bounded: bool
) -> None:
    run = Run(store, memory(memory_block_bytes=block), known=facts(cache))
    run.measure(NATIVE, *NATIVE_RATES)
    assert (run.bound() is not None) == is_bounded


def test_facts_that_were_not_read_bound_nothing(store: Store) -> None:
    run = Run(store)
    run.measure(NATIVE, *NATIVE_RATES)
    assert NativeBandwidth(store, run.id).bound("h1", None, run.benchmarks[0], CONTAINER) is None


@pytest.mark.parametrize(
    ("other", "is_bounded"),
    [
        ({"memory_operation": "read"}, False),
        ({"memory_access_mode": "rnd"}, False),
        ({"memory_scope": "local"}, False),
        ({"memory_hugetlb": True}, False),
        ({"memory_block_bytes": 2 * LARGE}, False),
        ({"memory_block_bytes": LARGE >> 1}, True),
        ({"memory_block_bytes": 1 << 20}, False),
        ({"threads": 2}, True),
        ({"time_s": 5, "rand_seed": 7}, True),
    ],
)
def test_only_the_same_work_or_easier_bounds(
    store: Store, other: dict[str, Parameter], is_bounded: bool
) -> None:
    run = Run(store, memory(), memory("other", **other))
    run.measure(NATIVE, *NATIVE_RATES, of=1)
    assert (run.bound() is not None) == is_bounded
    cpu = Benchmark(
        "cpu", "sysbench", resolve_parameters(WORKLOADS["sysbench"], {"test": "cpu"}), expected_s=1
    )
    assert NativeBandwidth(store, run.id).bound("h1", run.known, cpu, CONTAINER) is None


def test_one_thread_does_not_bound_two(store: Store) -> None:
    run = Run(store, memory(threads=2), memory("one"))
    run.measure(NATIVE, *NATIVE_RATES, of=1)
    assert run.bound() is None


def test_native_within_limits_bounds_what_has_the_same(store: Store) -> None:
    run = Run(store)
    run.measure(PINNED, *NATIVE_RATES)
    assert run.bound(PINNED_GUEST) is not None
    assert run.bound(GUEST) is None


def test_earlier_runs_bound_as_long_as_the_host_is_what_it_was(store: Store) -> None:
    Run(store).measure(NATIVE, *NATIVE_RATES)
    assert Run(store).bound() is not None
    # Rows that only one of the runs has (of other programs, or another version) change nothing.
    assert Run(store, known=facts(**{"tool.fio.version": "3"})).bound() is not None
    changed = Run(store, known=facts(**{"cpu.online": "0-3"}))
    assert changed.bound() is None
    changed.measure(NATIVE, *(rate / 2 for rate in NATIVE_RATES), cpus=4)
    bound = changed.bound()
    assert bound is not None and bound.value == 5_000.0


def test_one_hosts_memory_is_not_anothers(store: Store) -> None:
    run = Run(store)
    run.measure(NATIVE, *NATIVE_RATES)
    bandwidth = NativeBandwidth(store, run.id)
    assert bandwidth.bound("h2", run.known, run.benchmarks[0], CONTAINER) is None


def test_the_database_is_asked_once_for_each_host_whatever_the_run_measures(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    Run(store).measure(NATIVE, *NATIVE_RATES)
    asked = []
    native_values = History.native_values

    def noted(self: History, run_id: str, host: str, keys: Sequence[str]) -> list[NativeValue]:
        asked.append(host)
        return native_values(self, run_id, host, keys)

    monkeypatch.setattr(History, "native_values", noted)
    run = Run(store)
    own = run.session.bandwidth
    for rate in (9_000.0, 11_000.0, 11_100.0, 11_200.0, 11_300.0, 11_150.0):
        run.measure(NATIVE, rate)
        run.measure(CONTAINER, 9_000.0)
        run.measure(PINNED, 20_000.0)
    found = own.bound("h1", run.known, run.benchmarks[0], CONTAINER)
    assert asked == ["h1"]
    # As if it were read anew.
    assert found is not None and found == run.bound()
    assert found.value == 11_300.0
