"""`perfctl explain`: counters per unit of work, what is said to have moved, and what is not."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from perfctl.cli import main_group
from perfctl.errors import UnknownName
from perfctl.model import Comparison, Direction, Metric, Target
from perfctl.render.explain import answer
from perfctl.report.explanation import explain, unit_of_work
from perfctl.report.host_counters import FAMILIES, HostCounters, grown
from perfctl.store import open_store
from tests.unit import store_cases as cases

READING = """\
==> /proc/stat <==
cpu  {user} 5 200 1000 10 3 {softirq} 1 0 0
cpu0 1 1 1 1 1 1 1 1 0 0
intr {interrupts} 1 2
ctxt {switches}
processes 10
softirq 50 1 2 3 {net_rx} 5 6 7 8 9 10
==> /proc/vmstat <==
nr_free_pages 77
pgfault {faults}
pgalloc_normal 7
==> /proc/net/snmp <==
Tcp: RtoAlgorithm InSegs OutSegs RetransSegs
Tcp: 1 {segments} 20 1
==> /proc/net/dev <==
  eth1: 1 {packets} 0 0 0 0 0 0 1 5 0 0 0 0 0 0
    lo: 1 900 0 0 0 0 0 0 1 5 0 0 0 0 0 0
==> /proc/diskstats <==
 8 0 sda 1 2 {sectors} 4 5 6 8 8 9 10 11
"""
ZERO = dict.fromkeys(
    ("user", "softirq", "interrupts", "switches", "net_rx", "faults", "segments", "packets", "sectors"), 100
)


def reading(**values: int) -> bytes:
    return READING.format(**ZERO | values).encode()


def test_what_a_host_counted_between_two_readings() -> None:
    later = reading(
        user=350,
        softirq=150,
        interrupts=180,
        switches=104,
        net_rx=130,
        faults=300,
        segments=160,
        packets=117,
        sectors=110,
    )
    found = grown(reading(), later)
    assert {name: value for name, value in found.families.items() if value} == {
        "cpu_user": 2.5,
        "cpu_softirq": 0.5,
        "interrupts": 80,
        "context_switches": 4,
        "page_faults": 200,
        "segments": 60,
        "packets": 17,
        "disk_bytes": 10 * 512,
    }
    assert found.others["softirq NET_RX"] == 30
    assert "vmstat nr_free_pages" not in found.others and "vmstat pgalloc_normal" in found.others


def test_what_went_backwards_or_was_not_read_is_not_there() -> None:
    found = grown(reading(switches=200), reading(switches=100))
    assert "context_switches" not in found.families and "interrupts" in found.families
    assert grown(b"", reading()) == HostCounters({}, {})
    assert "throttled_time" not in grown(reading(), reading()).families


@pytest.mark.parametrize(
    ("unit", "what"),
    [
        ("transactions/s", "transaction"),
        ("events/s", "event"),
        ("MiB/s", "MiB"),
        ("s", "invocation"),
        ("us", "invocation"),
    ],
)
def test_the_unit_of_work_is_what_a_rate_counts(unit: str, what: str) -> None:
    assert unit_of_work(Metric("x", unit, Direction.HIGHER)) == what


RATE = Metric("rate", "transactions/s", Direction.HIGHER, headline=True)


COMPARISON = Comparison(
    "tcp-rr", RATE, Target("h1"), "container", "native", 100.0, 80.0, 0.8, 0.79, 0.81, 0.95, 0.001, 12, 0
)


def counters(generator: random.Random, blocks: int, **factors: float) -> dict[int, HostCounters]:
    """Return a leg: every family about 10 for each unit of work, times its factor."""
    return {
        block: HostCounters(
            {name: 10 * factors.get(name, 1.0) * generator.lognormvariate(0, 0.02) for name in FAMILIES},
            {"softirq NET_RX": 5 * factors.get("net_rx", 1.0) * generator.lognormvariate(0, 0.02)},
        )
        for block in range(blocks)
    }


def test_what_moved_is_said_with_its_interval_and_the_a_a_beside() -> None:
    generator = random.Random(1)
    native, again = (counters(generator, 12) for _ in range(2))
    container = counters(generator, 12, context_switches=1.41, cpu_softirq=3.0, net_rx=2.0)
    found = explain(COMPARISON, native, container, again, unit="transaction")
    moved = {change.name: change for change in found.tested if change.has_moved}
    assert moved.keys() == {"context_switches", "cpu_softirq"}
    switches = moved["context_switches"]
    assert switches.low is not None and switches.high is not None
    assert switches.low < 1.41 < switches.high
    assert switches.aa_ratio == pytest.approx(1, abs=0.03)
    assert [change.name for change in found.others] == ["softirq NET_RX"] and found.others[0].q is None
    text = answer(found)
    assert (
        "Per transaction, with it: " in text and "context switches +4" in text and "softirqs 3.0x [" in text
    )


def test_few_blocks_call_nothing_moved_and_say_how_many_it_takes() -> None:
    generator = random.Random(2)
    native, again = (counters(generator, 4) for _ in range(2))
    found = explain(COMPARISON, native, counters(generator, 4, interrupts=5.0), again, unit="event")
    assert not any(change.has_moved for change in found.tested) and len(found.tested) == len(FAMILIES)
    assert found.needed_blocks == 9
    assert "4 blocks cannot call a counter moved: one alone needs 9." in answer(found)


def test_a_counter_that_is_often_zero_is_not_tested_and_named() -> None:
    generator = random.Random(3)
    native, again = (counters(generator, 10) for _ in range(2))
    container = {
        block: replace(item, families=dict(item.families) | {"retransmits": 0.0 if block else 1.0})
        for block, item in counters(generator, 10).items()
    }
    found = explain(COMPARISON, native, container, again, unit="event")
    assert found.without_values == ("retransmits",)
    assert "retransmits" not in {change.name for change in found.tested}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a database with a run whose container takes three times as many context switches."""
    generator = random.Random(5)
    database = tmp_path / "results.db"
    with open_store(database, create=True) as store:
        run_id = cases.begin_run(store, replace(cases.PLAN, benchmarks=(cases.CPU,)))
        for index in range(10):
            block = cases.block(index=index)
            block_id = store.writer.begin_block(run_id, block, attempt=1)
            for planned in block.invocations:
                own = 300 if planned.environment == "container" else 100
                later = reading(
                    switches=100 + int(own * generator.lognormvariate(0, 0.03)), user=200 + index % 3
                )
                done = cases.record(
                    block_id,
                    planned.environment,
                    planned.replicate,
                    position=planned.position,
                    counters_before=reading(),
                    counters_after=later,
                )
                store.writer.record_invocation(done, cases.METRICS, cases.samples(1000 + generator.random()))
            store.writer.end_block(block_id, "complete")
        store.writer.end_run(run_id, "complete")
    return database


def perfctl(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main_group, ["--db", str(path), "explain", "latest", *arguments])


def test_the_command_tells_it_from_stored_counters(path: Path) -> None:
    done = perfctl(path, "cpu-1")
    assert done.exit_code == 0, done.output
    assert "context switches" in done.stdout and "3.0x [" in done.stdout
    assert "This is association" in done.stdout and "0, or not read, in too many blocks: " in done.stdout
    rows = json.loads(perfctl(path, "cpu-1", "--format", "json").stdout)["rows"]
    (switches,) = (row for row in rows if row["counter"] == "context_switches")
    assert switches["has_moved"] and switches["is_tested"] and switches["blocks"] == 10
    assert (
        perfctl(path, "cpu-1", "--format", "json").stdout == perfctl(path, "cpu-1", "--format", "json").stdout
    )


def test_names_that_are_not_there_are_refused(path: Path) -> None:
    for arguments, hint in (
        (("cpu-2",), "cpu-1"),
        (("cpu-1", "--env", "vm"), "there are: container"),
        (("cpu-1", "--on", "h9"), "there are: h1"),
    ):
        error = perfctl(path, *arguments).exception
        assert isinstance(error, UnknownName) and hint in (error.hint or ""), arguments
