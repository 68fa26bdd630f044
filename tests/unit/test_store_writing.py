"""What goes into the database comes out of it: runs, blocks, invocations, samples, facts."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from perfctl.errors import DatabaseUnavailable, DataError, UnknownName, UsageError
from perfctl.model import (
    Environment,
    Fact,
    FactState,
    Fingerprint,
    Reason,
    Round,
    Sample,
    Status,
    Target,
    Track,
    content_hash,
)
from perfctl.store import Count, InvocationState, Store, open_store
from tests.unit import store_cases as cases


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


@pytest.fixture
def store(path):
    with open_store(path, create=True) as opened:
        yield opened


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_a_grown_plan_takes_the_place_of_the_first(store):
    run_id = cases.begin_run(store)
    more = (*cases.BLOCKS, cases.block(index=2))
    store.writer.grow_plan(run_id, replace(cases.PLAN, rounds=(Round((Track(more),)),)), '{"plan": "longer"}')
    assert store.run(run_id).plan_json() == '{"plan": "longer"}'
    assert store.run(run_id).detail().summary.planned == 15
    with pytest.raises(UnknownName):
        store.writer.grow_plan("0193-none", cases.PLAN, "{}")


def test_a_run_is_kept_with_its_plan_hosts_environments_and_benchmarks(store):
    run_id = cases.begin_run(store)
    detail = store.run(run_id).detail()
    assert detail.summary.status == "running"
    assert detail.summary.hosts == ("h1", "h2")
    assert detail.summary.planned == 12
    assert detail.command == ("perfctl", "run", "--suite", "demo")
    assert detail.inventory == ("inventory/lab.yml",)
    assert [environment.name for environment in detail.environments] == ["native", "container"]
    assert detail.environments[1].key == cases.CONTAINER.key
    assert [(item.name, item.workload, item.parameters) for item in detail.benchmarks] == [
        ("cpu-1", "sysbench", {"test": "cpu", "threads": 1}),
        ("stream", "netperf", {"test": "TCP_STREAM"}),
    ]
    assert store.run("latest").plan_json() == '{"plan": "as text"}'
    store.writer.end_run(run_id, "partial")
    assert store.run(run_id).detail().summary.status == "partial"
    assert store.run(run_id).detail().summary.ended_at is not None
    store.writer.reopen_run(run_id)
    assert store.run(run_id).detail().summary.ended_at is None


def test_equal_hosts_environments_and_benchmarks_of_two_runs_are_one_row(store, path):
    cases.begin_run(store)
    cases.begin_run(store)
    tables = ("run", "host", "environment", "benchmark")
    assert [rows(path, f"SELECT count(*) FROM {name}")[0][0] for name in tables] == [2, 2, 2, 2]


def test_an_invocation_is_committed_when_the_call_returns(store, path):
    block_id = store.writer.begin_block(cases.begin_run(store), cases.block(), 1)
    store.writer.record_invocation(cases.record(block_id), cases.METRICS, cases.samples(1.0, 2.0))
    # Another connection sees only what is committed.
    assert rows(path, "SELECT status, exit_code FROM invocation") == [("ok", 0)]
    assert rows(path, "SELECT sample_index, value FROM sample") == [(0, 1.0), (1, 2.0)]


def test_raw_output_comes_back_and_equal_output_is_kept_once(store, path):
    block_id = store.writer.begin_block(cases.begin_run(store), cases.block(), 1)
    noise = bytes(range(256)) * 100
    for replicate in (1, 2):
        done = cases.record(block_id, "native", replicate, stdout=noise, stderr=b"warning: \xff\n")
        store.writer.record_invocation(done, cases.METRICS, cases.samples(1.0))
    digests = rows(path, "SELECT stdout_sha256, stderr_sha256 FROM invocation")
    assert digests[0] == digests[1]
    assert store.run("latest").artifact(digests[0][0]) == noise
    assert store.run("latest").artifact(digests[0][1]) == b"warning: \xff\n"
    assert rows(path, "SELECT count(*) FROM artifact") == [(4,)]
    assert rows(path, "SELECT count(*) FROM artifact WHERE length(content) > size_bytes + 32") == [(0,)]


CONSOLE = b"[    0.0] Linux\r\nperfctl: ssh\n\x1b[0m\xff\n" * 50


def test_a_guests_accelerator_and_what_was_kept_of_it_come_back(store, path):
    run_id = cases.begin_run(store)
    block_id = store.writer.begin_block(run_id, cases.block(), 1)
    kept = {"console": CONSOLE, "domain_xml": b"<domain/>", "host_view": b""}
    done = cases.record(
        block_id,
        "container",
        status=Status.FAILED,
        reason=Reason.GUEST_PANICKED,
        stdout=b"",
        accelerator="tcg",
        artifacts=kept,
    )
    store.writer.record_invocation(done, cases.METRICS, [])
    detail = store.run("latest").invocation(done.id)
    assert (detail.invocation_id, detail.run_id, detail.accelerator) == (done.id, run_id, "tcg")
    assert (detail.status, detail.reason, detail.duration_s) == (Status.FAILED, Reason.GUEST_PANICKED, 2.5)
    assert (detail.argv, detail.block, detail.attempt) == (("sysbench", "cpu", "run"), 0, 1)
    sizes = {item.name: item.size_bytes for item in detail.artifacts}
    assert sizes == {
        "console": len(CONSOLE),
        "domain_xml": 9,
        "host_view": 0,
        "counters_before": 11,
        "counters_after": 11,
    }
    digests = {item.name: item.sha256 for item in detail.artifacts}
    assert store.run("latest").artifact(str(digests["console"])) == CONSOLE
    assert digests["host_view"] is None
    assert store.run(run_id).detail().failures[0].kept == tuple(sizes)
    assert rows(path, "SELECT count(*) FROM v_artifact WHERE run_id <> ''") == [(5,)]


def test_a_console_like_another_is_kept_once(store, path):
    block_id = store.writer.begin_block(cases.begin_run(store), cases.block(), 1)
    for replicate in (1, 2):
        done = cases.record(block_id, replicate=replicate, accelerator="kvm", artifacts={"console": CONSOLE})
        store.writer.record_invocation(done, cases.METRICS, cases.samples(1.0))
    assert rows(path, "SELECT count(*), count(DISTINCT sha256) FROM invocation_artifact") == [(2, 1)]


@pytest.mark.parametrize(
    "changes",
    [{"accelerator": "xen"}, {"artifacts": {"stdout": b"another"}}, {"artifacts": {"counters_after": b""}}],
)
def test_an_unknown_accelerator_or_a_taken_name_is_refused_and_nothing_is_kept(store, path, changes):
    block_id = store.writer.begin_block(cases.begin_run(store), cases.block(), 1)
    with pytest.raises(DataError, match="CHECK"):
        store.writer.record_invocation(cases.record(block_id, **changes), cases.METRICS, cases.samples(1.0))
    assert rows(path, "SELECT (SELECT count(*) FROM invocation), count(*) FROM artifact") == [(0, 0)]


def test_an_invocation_is_found_by_beginning_or_end_within_its_run(store):
    run_id = cases.begin_run(store)
    block_id = store.writer.begin_block(run_id, cases.block(), 1)
    for replicate, key in ((1, "aa11"), (2, "aa22")):
        store.writer.record_invocation(cases.record(block_id, replicate=replicate, id=key), (), [])
    other = cases.begin_run(store)
    assert store.run(run_id).invocation("aa1").replicate == 1
    assert store.run(run_id).invocation("22").replicate == 2
    with pytest.raises(UnknownName, match="'aa' matches 2 invocations: aa11, aa22"):
        store.run(run_id).invocation("aa")
    for run, wrong in ((run_id, "x"), (run_id, ""), (other, "aa11")):
        with pytest.raises(UnknownName, match="no invocation"):
            store.run(run).invocation(wrong)


def test_how_a_metric_is_told_is_what_the_newest_program_says(store):
    run_id = cases.begin_run(store)
    block_id = store.writer.begin_block(run_id, cases.block(), 1)
    store.writer.record_invocation(cases.record(block_id), (cases.SPEED,), cases.samples(1.0))
    told = replace(cases.SPEED, show_difference=True)
    store.writer.record_invocation(cases.record(block_id, replicate=2), (told,), cases.samples(2.0))
    store.writer.end_block(block_id, "complete")
    assert [item.metric for item in store.run(run_id).observations()] == [told, told]


def test_an_environments_key_is_the_hash_of_its_stored_fields(store, path):
    guest = Environment("guest", "vm", "a description", vcpus=2)
    inside = replace(cases.CONTAINER, name="inside", within=guest, server=cases.NATIVE)
    cases.begin_run(store, replace(cases.PLAN, environments=(cases.NATIVE, guest, inside)))
    stored = rows(path, "SELECT environment_id, fields_json FROM environment")
    assert {key for key, _ in stored} == {cases.NATIVE.key, guest.key, inside.key}
    assert [content_hash(json.loads(str(fields))) for _, fields in stored] == [key for key, _ in stored]


def test_the_derived_row_is_the_median_without_warmup_and_count_and_sum_of_all(store, path):
    block_id = store.writer.begin_block(cases.begin_run(store), cases.block(), 1)
    values = (100.0, 3.0, 1.0, 2.0, 4.0)
    store.writer.record_invocation(cases.record(block_id), cases.METRICS, cases.samples(*values, warmups=1))
    found = rows(path, "SELECT value, sample_count, warmup_count, value_sum, minimum, maximum FROM v_value")
    assert found == [(2.5, 5, 1, 110.0, 1.0, 100.0)]


def test_only_warmup_gives_no_value_and_no_observation(store, path):
    run_id = cases.begin_run(store)
    block_id = store.writer.begin_block(run_id, cases.block(), 1)
    store.writer.record_invocation(cases.record(block_id), cases.METRICS, cases.samples(5.0, warmups=1))
    store.writer.end_block(block_id, "complete")
    assert rows(path, "SELECT value FROM v_value") == [(None,)]
    assert store.run(run_id).observations() == []


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (Sample("events_per_s", 1.0, "1/min"), "is in '1/min', its metric in '1/s'"),
        (Sample("events_per_s", math.nan, "1/s"), "not a finite number"),
        (Sample("events_per_s", math.inf, "1/s"), "not a finite number"),
        (Sample("frames", 1.0, "1/s"), "not declared"),
        (Sample("events_per_s", 1.0, "1/s", index=0), "repeated index"),
        (Sample("events_per_s", 1.0, "1/s", index=-1), "negative or repeated index"),
    ],
)
def test_a_wrong_sample_is_refused_and_nothing_of_the_invocation_is_kept(store, path, sample, message):
    block_id = store.writer.begin_block(cases.begin_run(store), cases.block(), 1)
    with pytest.raises(DataError, match=message):
        store.writer.record_invocation(cases.record(block_id), cases.METRICS, [*cases.samples(1.0), sample])
    assert rows(path, "SELECT count(*) FROM invocation") == [(0,)]
    assert rows(path, "SELECT count(*) FROM artifact") == [(0,)]


@pytest.mark.parametrize(
    "changes",
    [{"status": Status.FAILED}, {"reason": Reason.TIMEOUT}],
    ids=["failed without reason", "ok with a reason"],
)
def test_status_and_reason_must_agree(store, changes):
    block_id = store.writer.begin_block(cases.begin_run(store), cases.block(), 1)
    with pytest.raises(DataError, match="the reason"):
        store.writer.record_invocation(cases.record(block_id, **changes), cases.METRICS, [])


def test_an_invocation_is_stored_once(store, path):
    block_id = store.writer.begin_block(cases.begin_run(store), cases.block(), 1)
    done = cases.record(block_id)
    store.writer.record_invocation(done, cases.METRICS, cases.samples(1.0))
    with pytest.raises(DataError, match="refused a row"):
        store.writer.record_invocation(done, cases.METRICS, cases.samples(1.0))
    assert rows(path, "SELECT count(*) FROM invocation") == [(1,)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda store, run: store.writer.begin_block(run, cases.block(Target("h9")), 1), "no host 'h9'"),
        (lambda store, run: store.writer.begin_block(run, cases.block(benchmark="x"), 1), "no benchmark 'x'"),
        (lambda store, run: store.writer.end_block("nowhere", "complete"), "no block nowhere"),
        (lambda store, run: store.writer.end_run("nowhere", "complete"), "no run nowhere"),
        (lambda store, run: store.writer.record_invocation(cases.record("x"), (), []), "no block x"),
        (
            lambda store, run: store.writer.record_host_snapshot(run, "h9", "before", Fingerprint(())),
            "no host 'h9'",
        ),
    ],
)
def test_an_unknown_name_is_refused(store, call, message):
    run_id = cases.begin_run(store)
    with pytest.raises(UnknownName, match=message):
        call(store, run_id)


def test_an_unknown_environment_is_refused(store):
    block_id = store.writer.begin_block(cases.begin_run(store), cases.block(), 1)
    with pytest.raises(UnknownName, match="no environment 'vm'"):
        store.writer.record_invocation(cases.record(block_id, "vm"), cases.METRICS, [])


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.writer.end_run("x", "done"),
        lambda store: store.writer.end_block("x", "ok"),
        lambda store: store.writer.record_host_snapshot("x", "h1", "during", Fingerprint(())),
    ],
)
def test_an_unknown_status_or_phase_is_refused(store, call):
    with pytest.raises(UsageError, match="cannot be"):
        call(store)


def test_a_fingerprint_that_was_not_stored_is_refused(store):
    block_id = store.writer.begin_block(cases.begin_run(store), cases.block(), 1)
    with pytest.raises(DataError, match="FOREIGN KEY"):
        store.writer.record_invocation(cases.record(block_id, fingerprint_id="0" * 64), cases.METRICS, [])


FACTS = (
    Fact("kernel.release", FactState.PRESENT, "6.1.0"),
    Fact("cpu.governor", FactState.MISSING, ""),
    Fact("dmi.bios", FactState.DENIED, ""),
    Fact("tool.sysbench.version", FactState.PRESENT, "1.0.20"),
    Fact("tool.sysbench.sha256", FactState.PRESENT, "ab" * 32),
    Fact("tool.netperf.sha256", FactState.MISSING, ""),
)


def load(value: str) -> Fact:
    return Fact("load.1min", FactState.PRESENT, value, is_static=False)


def test_static_facts_are_kept_once_and_dynamic_ones_with_each_snapshot(store, path):
    run_id = cases.begin_run(store)
    store.writer.record_host_snapshot(run_id, "h1", "before", Fingerprint((*FACTS, load("0.1"))))
    store.writer.record_host_snapshot(run_id, "h1", "after", Fingerprint((*FACTS, load("7.5"))))
    assert rows(path, "SELECT fingerprint_id FROM fingerprint") == [(Fingerprint(FACTS).key,)]
    assert rows(path, "SELECT phase, dynamic_json FROM host_snapshot ORDER BY phase") == [
        ("after", '[["load.1min","present","7.5"]]'),
        ("before", '[["load.1min","present","0.1"]]'),
    ]
    states = rows(
        path,
        "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]')"
        " FROM fingerprint, json_each(facts_json) ORDER BY 1",
    )
    assert ("cpu.governor", "missing") in states
    assert ("dmi.bios", "denied") in states


def test_an_environments_facts_and_makeup_are_tied_to_its_invocations(store, path):
    run_id = cases.begin_run(store)
    keys = [
        store.writer.record_environment_snapshot(
            run_id, "h1", "container", Fingerprint(FACTS), {"image.digest": digest, "engine.version": ""}
        )
        for digest in ("sha256:1", "sha256:2", "sha256:1")
    ]
    assert keys[0] == keys[2] != keys[1]
    block_id = store.writer.begin_block(run_id, cases.block(), 1)
    done = cases.record(block_id, "container", fingerprint_id=keys[1])
    store.writer.record_invocation(done, cases.METRICS, cases.samples(1.0))
    found = rows(
        path,
        "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')"
        " FROM v_invocation JOIN fingerprint USING (fingerprint_id), json_each(facts_json)"
        " WHERE json_extract(value, '$[0]') LIKE 'environment.%' ORDER BY 1",
    )
    assert found == [
        ("environment.engine.version", "missing", ""),
        ("environment.image.digest", "present", "sha256:2"),
    ]
    assert store.run(run_id).digests() == {("h1", "container"): {"sysbench": "ab" * 32}}


def test_failures_are_rows_with_their_reason(store):
    run_id = cases.begin_run(store)
    block_id = store.writer.begin_block(run_id, cases.block(cases.PAIR, benchmark="stream"), 1)
    store.writer.record_invocation(cases.record(block_id), cases.METRICS, cases.samples(1.0))
    failed = cases.record(
        block_id,
        "container",
        status=Status.FAILED,
        reason=Reason.EXIT_NONZERO,
        detail="no route to host",
        exit_code=1,
        stdout=b"",
    )
    store.writer.record_invocation(failed, cases.METRICS, [])
    assert store.run(run_id).counts() == [
        Count(Status.OK, None, 1),
        Count(Status.FAILED, Reason.EXIT_NONZERO, 1),
    ]
    (failure,) = store.run(run_id).detail().failures
    assert (failure.target, failure.environment, failure.reason, failure.detail, failure.exit_code) == (
        cases.PAIR,
        "container",
        Reason.EXIT_NONZERO,
        "no route to host",
        1,
    )


def test_events_come_back_in_order(store):
    run_id = cases.begin_run(store)
    store.writer.record_event(run_id, "info", "h1", "first")
    store.writer.record_event(run_id, "warning", "h2", "second")
    assert [(event.level, event.where, event.text) for event in store.run(run_id).detail().events] == [
        ("info", "h1", "first"),
        ("warning", "h2", "second"),
    ]


def test_block_states_say_what_was_begun_and_what_is_in_it(store):
    run_id = cases.begin_run(store)
    first = store.writer.begin_block(run_id, cases.block(), 1)
    store.writer.record_invocation(cases.record(first, "container"), cases.METRICS, cases.samples(1.0))
    store.writer.end_block(first, "failed")
    second = store.writer.begin_block(run_id, cases.block(), 2)
    states = store.run(run_id).block_states()
    assert [(state.block_id, state.attempt, state.status) for state in states] == [
        (first, 1, "failed"),
        (second, 2, "running"),
    ]
    assert states[0].invocations == (InvocationState("container", 1, Status.OK),)
    store.writer.end_run(run_id, "interrupted")
    assert [state.status for state in store.run(run_id).block_states()] == ["failed", "interrupted"]


def test_one_attempt_at_a_block_is_begun_once(store):
    run_id = cases.begin_run(store)
    store.writer.begin_block(run_id, cases.block(), 1)
    with pytest.raises(DataError, match="UNIQUE"):
        store.writer.begin_block(run_id, cases.block(), 1)


def test_a_reader_of_an_older_state_does_not_make_it_another_file(store, path):
    run_id = cases.begin_run(store)

    def measure(indexes: range) -> None:
        for index in indexes:
            values = {("native", 1): 1.0, ("native", 2): 2.0, ("container", 1): float(index)}
            cases.measure_block(store, run_id, cases.block(index=index), values)

    with closing(sqlite3.connect(path)) as other, closing(sqlite3.connect(path)) as reader:
        measure(range(40))
        other.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        measure(range(40, 60))
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM invocation").fetchone()
        measure(range(60, 61))
        # Only pages that nothing newer stands in the log for: by itself the file is of no state at all.
        _, logged, copied = other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        assert copied < logged
        measure(range(61, 80))
        reader.rollback()
        other.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        measure(range(80, 81))
    assert len(store.run(run_id).block_states()) == 81


def test_many_threads_write_and_nothing_is_lost(store, path):
    run_id = cases.begin_run(store)
    refused: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for index in range(number * 10, number * 10 + 10):
                values = {("native", 1): 1.0, ("native", 2): 2.0, ("container", 1): float(index)}
                cases.measure_block(store, run_id, cases.block(index=index), values)
                assert len(store.run(run_id).block_states()) > 0
        except BaseException as error:
            refused.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == []
    assert rows(path, "SELECT count(*), count(DISTINCT block_id) FROM invocation") == [(240, 80)]
    assert rows(path, "SELECT sum(value) FROM v_value WHERE environment = 'container'") == [(sum(range(80)),)]


def test_a_closed_store_says_so(path):
    opened = open_store(path, create=True)
    opened.close()
    opened.close()
    with pytest.raises(DatabaseUnavailable, match="closed"):
        cases.begin_run(opened)
    with pytest.raises(DatabaseUnavailable, match="closed"):
        opened.runs()


def test_a_read_only_store_reads_and_does_not_write(store, path):
    run_id = cases.begin_run(store)
    with open_store(path, read_only=True) as reader:
        assert [summary.run_id for summary in reader.runs()] == [run_id]
        with pytest.raises(DatabaseUnavailable, match="reading only"):
            reader.writer.end_run(run_id, "complete")


def test_a_run_is_found_by_beginning_end_or_latest(store: Store):
    first = cases.begin_run(store, run_id="018f0000-0000-7000-8000-000000000001")
    second = cases.begin_run(store, run_id="018f0000-0000-7000-8000-0000000000a2")
    assert store.run("latest").id == second
    assert store.run(first).id == first
    assert store.run("a2").id == second
    with pytest.raises(UnknownName, match="2 runs"):
        store.run("018f")
    for wrong in ("zz", "", "%"):
        with pytest.raises(UnknownName, match="no run"):
            store.run(wrong)
