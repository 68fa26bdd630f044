"""Verdicts in the database: kept with what they rest on, counted, read back, and made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from perfctl.model import SERVER_COUNTERS, Fact, FactState, Fingerprint, Target, new_id
from perfctl.store import Reparsed, Store, ValidityCount, open_store, query
from perfctl.validity.assessment import Assessment, assess
from perfctl.validity.bounds import Bound
from perfctl.validity.context import Expected, JudgementContext, RateClaim, ServerContext
from perfctl.validity.counters import InvocationCounters
from perfctl.validity.finding import Severity
from perfctl.validity.rules import InvocationVerdict
from perfctl.validity.thresholds import VALIDITY, Thresholds
from perfctl.workloads import WORKLOADS, resolve_parameters
from tests.unit import store_cases as cases

OUTPUT = (Path(__file__).parents[1] / "data" / "sysbench" / "cpu" / "stdout").read_bytes()
PARAMETERS = resolve_parameters(WORKLOADS["sysbench"], {"test": "cpu"})
WIRE = Bound("line_rate", 960.0, "Mbit/s", "the wire of eth1", 0.01, "look at the route")
CLAIM = RateClaim("throughput", "elapsed_time", "sent", "eth1", WIRE)
CONTEXT = JudgementContext(
    Expected(cpus=1, parallelism=1, interfaces=("eth1",)), own_cpu_us=1_000_000, claims=(CLAIM,)
)


def counters(steal: int, *, sent_bytes: int = 0) -> bytes:
    """The counters of a host with one CPU, of which the hypervisor has kept so many ticks out of 1,000."""
    ticks = f"100 0 0 {900 - steal} 0 0 0 {steal} 0 0" if sent_bytes else "0 0 0 0 0 0 0 0 0 0"
    link = f"  eth1: 0 0 0 0 0 0 0 0 {sent_bytes} 10 0 0 0 0 0 0"
    return f"==> /proc/stat <==\ncpu {ticks}\ncpu0 {ticks}\n==> /proc/net/dev <==\n{link}\n".encode()


def parsed(before: bytes, after: bytes, at_server: tuple[bytes, bytes] = (b"", b"")) -> InvocationCounters:
    """Parse what was read around ten seconds."""
    server_before, server_after = at_server
    return InvocationCounters.parse(
        before,
        after,
        started_ns=0,
        ended_ns=10**10,
        server_before=server_before,
        server_after=server_after,
    )


def judged(steal: int, rate: float = 900.0) -> Assessment:
    """Judge an invocation that claims `rate` Mbit/s for ten seconds; the interface has sent 1.25 GB."""
    return assess(
        parsed(counters(0), counters(steal, sent_bytes=1_250_000_000)),
        CONTEXT,
        {"throughput": (rate, "Mbit/s"), "elapsed_time": (10.0, "s")},
    )


@pytest.mark.parametrize(
    ("steal", "rate", "verdict", "rules"),
    [
        (0, 900.0, InvocationVerdict.VALID, []),
        (50, 900.0, InvocationVerdict.FLAGGED, ["steal"]),
        (200, 900.0, InvocationVerdict.INVALID, ["steal"]),
        (0, 980.0, InvocationVerdict.FLAGGED, ["line_rate"]),
        (0, 1100.0, InvocationVerdict.FLAGGED, ["line_rate", "device_bytes"]),
        (200, 1100.0, InvocationVerdict.INVALID, ["steal", "line_rate", "device_bytes"]),
    ],
)
def test_counters_and_bounds_make_one_verdict(
    steal: int, rate: float, verdict: InvocationVerdict, rules: list[str]
) -> None:
    validity = judged(steal, rate).validity
    assert validity.verdict is verdict
    assert [finding.rule for finding in validity.findings] == rules
    for finding in validity.findings:
        is_bound = finding.rule != "steal"
        assert (finding.severity is Severity.ARTEFACT) == is_bound
        assert finding.metric == ("throughput" if is_bound else "")


def test_an_assessment_is_read_as_it_was_written() -> None:
    made = judged(200, 1100.0)
    again = Assessment.from_json(made.to_json())
    assert again == made
    later = made.to_json().replace('"own_cpu_us"', '"invented_later":1,"own_cpu_us"')
    assert Assessment.from_json(later) == made


def test_claims_of_the_first_databases_are_read() -> None:
    made = judged(200, 1100.0)
    first = made.to_json().replace('"device":', '"interface":').replace('"bound":', '"line_rate":')
    assert first != made.to_json()
    assert Assessment.from_json(first) == made


def test_a_value_without_its_time_is_held_against_the_wire_only() -> None:
    read = parsed(counters(0), counters(0, sent_bytes=1))
    assert assess(read, CONTEXT, {}).validity.findings == ()
    (finding,) = assess(read, CONTEXT, {"throughput": (1000.0, "Mbit/s")}).validity.findings
    assert finding.rule == "line_rate"


def test_the_limits_of_a_run_are_read_as_they_were_written() -> None:
    thresholds = Thresholds(VALIDITY.changed("steal", mild=3, severe=None))
    assert Thresholds.from_json(thresholds.to_json()) == thresholds
    assert Thresholds.from_json(None) == Thresholds()
    assert Thresholds.from_json('{"validity":{"of_a_newer_version":[1,2]}}') == Thresholds()


@pytest.fixture
def store(tmp_path: Path):
    with open_store(tmp_path / "results.db", create=True) as opened:
        yield opened


def fill(store: Store, *verdicts: Assessment) -> str:
    """Store a block of three: by default an invalid, a valid and a flagged invocation."""
    run_id = cases.begin_run(store)
    measure(store, run_id, *verdicts or (judged(200), judged(0), judged(50, 1100.0)))
    return run_id


def measure(store: Store, run_id: str, *verdicts: Assessment, attempt: int = 1) -> None:
    """Store a complete attempt at the first block, with one verdict per invocation."""
    block_id = store.writer.begin_block(run_id, cases.block(), attempt)
    for planned, made in zip(cases.ORDER, verdicts, strict=True):
        done = cases.record(
            block_id,
            planned.environment,
            planned.replicate,
            position=planned.position,
            validity=made.validity.verdict.value,
            validity_json=made.to_json(),
        )
        store.writer.record_invocation(done, cases.METRICS, cases.samples(1.0))
    store.writer.end_block(block_id, "complete")


def test_observations_and_views_say_what_counts(store: Store) -> None:
    run_id = fill(store)
    assert [item.validity for item in store.run(run_id).observations()] == ["invalid", "valid", "flagged"]
    for view in ("v_invocation", "v_value"):
        rows = query(store, f"SELECT environment, validity FROM {view} ORDER BY replicate, environment").rows
        assert rows == (("container", "invalid"), ("native", "valid"), ("native", "flagged"))


def test_what_was_crossed_is_counted_for_each_environment(store: Store) -> None:
    run_id = fill(store)
    assert store.run(run_id).validity_counts() == (
        ValidityCount("native", 1, 1, 0, 0, (("device_bytes", 1), ("line_rate", 1), ("steal", 1))),
        ValidityCount("container", 0, 0, 1, 0, (("steal", 1),)),
    )
    rows = query(store, "SELECT rule, metric, severity FROM v_finding ORDER BY rule, environment").rows
    assert rows == (
        ("device_bytes", "throughput", "likely artefact"),
        ("line_rate", "throughput", "likely artefact"),
        ("steal", None, "invalid"),
        ("steal", None, "flagged"),
    )


def test_artefacts_are_told_by_what_they_are_about(store: Store) -> None:
    run_id = fill(store)
    ((key, sentences),) = store.run(run_id).suspect_values().items()
    assert key == ("cpu-1", "throughput", Target("h1"), "native")
    assert [sentence.partition(" is more than ")[2][:12] for sentence in sentences] == [
        "the wire of ",
        "what eth1 co",
    ]


def test_of_several_artefacts_the_worst_is_told_and_what_is_invalid_is_not(store: Store) -> None:
    run_id = fill(store, judged(200, 2000.0), judged(0, 980.0), judged(0, 990.0))
    ((key, sentences),) = store.run(run_id).suspect_values().items()
    assert key[-1] == "native"
    assert sentences == (
        "990 Mbit/s is more than the wire of eth1 allows, 960 Mbit/s (2 invocations lie above it)",
    )


def test_a_suspect_value_of_an_attempt_that_does_not_count_marks_nothing(store: Store) -> None:
    run_id = fill(store)
    measure(store, run_id, judged(0), judged(0), judged(0), attempt=2)
    assert store.run(run_id).suspect_values() == {}


def test_an_invocation_that_nobody_judged_says_so(store: Store) -> None:
    run_id = cases.begin_run(store)
    block_id = store.writer.begin_block(run_id, cases.block(), 1)
    record = cases.record(block_id)
    store.writer.record_invocation(record, cases.METRICS, cases.samples(1.0))
    assert store.run("latest").assessment(record.id) is None
    assert store.run(run_id).thresholds_json() is None
    assert [count.not_judged for count in store.run(run_id).validity_counts()] == [1]


def test_a_verdict_without_its_grounds_is_refused(store: Store) -> None:
    block_id = store.writer.begin_block(cases.begin_run(store), cases.block(), 1)
    with pytest.raises(Exception, match="validity_json"):
        store.writer.record_invocation(cases.record(block_id, validity="valid"), cases.METRICS, ())


def test_reparsing_judges_again_by_the_limits_of_the_run(store: Store) -> None:
    run_id = new_id()
    plan = replace(cases.PLAN, benchmarks=(replace(cases.CPU, parameters=PARAMETERS), cases.STREAM))
    store.writer.begin_run(
        run_id,
        plan,
        "{}",
        cases.HOSTS,
        command=(),
        perfctl_version="0",
        inventory=(),
        thresholds_json=Thresholds(VALIDITY.changed("steal", mild=None, severe=15)).to_json(),
    )
    block_id = store.writer.begin_block(run_id, cases.block(), 1)
    wrong = judged(0)
    record = cases.record(
        block_id,
        stdout=OUTPUT,
        counters_before=counters(0),
        counters_after=counters(200, sent_bytes=1),
        validity="valid",
        validity_json=wrong.to_json(),
    )
    samples = WORKLOADS["sysbench"].parse(OUTPUT.decode(), PARAMETERS)
    store.writer.record_invocation(record, WORKLOADS["sysbench"].metrics(PARAMETERS), samples)
    assert store.writer.reparse() == Reparsed(read=1, changed=1, unknown=0)
    again = store.run("latest").assessment(record.id)
    assert again is not None and again.context == CONTEXT
    assert again.validity.verdict is InvocationVerdict.INVALID
    assert [(finding.rule, finding.limit) for finding in again.validity.findings] == [("steal", 15)]
    assert store.writer.reparse() == Reparsed(read=1, changed=0, unknown=0)


def test_the_servers_host_is_judged_again_by_what_was_read_there(store: Store) -> None:
    context = replace(CONTEXT, server=ServerContext("h2", Expected(cpus=1, is_own_cpu_read=False)))
    quiet, disturbed = counters(0, sent_bytes=1), counters(50, sent_bytes=1)
    made = assess(parsed(counters(0), quiet, (counters(0), disturbed)), context, {})
    (finding,) = made.validity.findings
    assert finding.sentence == "at h2: the hypervisor gave 5 % of all CPU time to others"
    run_id = cases.begin_run(store)
    block_id = store.writer.begin_block(run_id, cases.block(), 1)
    record = cases.record(
        block_id,
        stdout=OUTPUT,
        counters_before=counters(0),
        counters_after=quiet,
        host_started_ns=0,
        host_ended_ns=10**10,
        artifacts=dict(zip(SERVER_COUNTERS, (counters(0), disturbed), strict=True)),
        validity="valid",
        validity_json=assess(parsed(counters(0), quiet, (counters(0), quiet)), context, {}).to_json(),
    )
    samples = WORKLOADS["sysbench"].parse(OUTPUT.decode(), PARAMETERS)
    store.writer.record_invocation(record, WORKLOADS["sysbench"].metrics(PARAMETERS), samples)
    store.writer.reparse()
    assert store.run("latest").assessment(record.id) == made
    (row,) = query(store, "SELECT sentence, validity FROM v_finding").rows
    assert tuple(row) == (finding.sentence, "flagged")


def _facts(value: str) -> Fingerprint:
    return Fingerprint(
        (
            Fact("cpu.freq.governor", FactState.PRESENT, value),
            Fact("load.average", FactState.PRESENT, value, is_static=False),
        )
    )


def test_a_host_is_remembered_as_another_run_left_it(store: Store) -> None:
    first, second = cases.begin_run(store), cases.begin_run(store)
    assert store.run(first).previous_facts("h1") is None
    store.writer.record_host_snapshot(first, "h1", "before", _facts("a"))
    assert store.run(first).previous_facts("h1") is None
    store.writer.record_host_snapshot(second, "h1", "before", _facts("b"))
    assert store.run(second).previous_facts("h1") is None, "a run that did not end says nothing to others"
    store.writer.record_host_snapshot(first, "h1", "before", _facts("c"))
    assert store.run(first).previous_facts("h1") == _facts("a"), "one that is resumed goes on from itself"
    store.writer.record_host_snapshot(first, "h1", "after", _facts("d"))
    store.writer.record_host_snapshot(second, "h1", "before", _facts("e"))
    assert store.run(second).previous_facts("h1") == _facts("d")
    assert store.run(second).previous_facts("h2") is None
