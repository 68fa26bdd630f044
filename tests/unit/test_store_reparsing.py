"""Raw outputs read again: what the database says is what today's parsers read in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from perfctl.errors import UnknownName
from perfctl.model import Reason, Status
from perfctl.store import Reparsed, check, open_store, query
from perfctl.workloads import WORKLOADS, resolve_parameters
from tests.unit import store_cases as cases

OUTPUT = (Path(__file__).parents[1] / "data" / "sysbench" / "cpu" / "stdout").read_bytes()
PARAMETERS = resolve_parameters(WORKLOADS["sysbench"], {"test": "cpu"})
CPU = replace(cases.CPU, parameters=PARAMETERS)
ALIEN = replace(cases.STREAM, name="alien", workload="alien")
METRICS = WORKLOADS["sysbench"].metrics(PARAMETERS)
SAMPLES = WORKLOADS["sysbench"].parse(OUTPUT.decode(), PARAMETERS)


@pytest.fixture
def store(tmp_path: Path):
    with open_store(tmp_path / "results.db", create=True) as opened:
        yield opened


def begin(store) -> tuple[str, str]:
    """Begin a run with a block of the real benchmark; return the keys of both."""
    run_id = cases.begin_run(store, replace(cases.PLAN, benchmarks=(CPU, ALIEN)))
    return run_id, store.writer.begin_block(run_id, cases.block(), 1)


def record(store, block_id: str, samples, replicate: int = 1, environment: str = "native", **changes) -> None:
    done = cases.record(block_id, environment, replicate, **{"stdout": OUTPUT} | changes)
    store.writer.record_invocation(done, METRICS, samples)


def values(store) -> dict[object, object]:
    return {row[0]: row[1] for row in query(store, "SELECT metric, value FROM v_value").rows}


def test_what_was_read_right_stays_as_it_is(store):
    _, block_id = begin(store)
    record(store, block_id, SAMPLES)
    before = query(store, "SELECT * FROM v_sample").rows
    assert store.writer.reparse() == Reparsed(read=1, changed=0, unknown=0)
    assert query(store, "SELECT * FROM v_sample").rows == before
    assert len(before) == len(SAMPLES) > 3


def test_samples_of_a_wrong_parser_are_replaced(store):
    _, block_id = begin(store)
    record(store, block_id, [replace(sample, value=sample.value * 1000) for sample in SAMPLES])
    assert store.writer.reparse(store.run("latest").id) == Reparsed(read=1, changed=1, unknown=0)
    assert values(store) == {sample.metric: sample.value for sample in SAMPLES}
    assert [look.problems for look in check(store)] == [(), (), (), ()]


def test_what_else_was_kept_of_a_guest_stays(store):
    run_id, block_id = begin(store)
    wrong = [replace(sample, value=sample.value * 1000) for sample in SAMPLES]
    record(store, block_id, wrong, id="guest", accelerator="tcg", artifacts={"console": b"perfctl: ssh\n"})
    before = store.run(run_id).invocation("guest")
    assert store.writer.reparse(run_id).changed == 1
    assert store.run(run_id).invocation("guest") == before
    assert [look.problems for look in check(store)] == [(), (), (), ()]


def test_a_block_that_only_failed_in_the_parser_becomes_complete(store):
    run_id, block_id = begin(store)
    for planned in cases.ORDER:
        failed = {"status": Status.FAILED, "reason": Reason.MISSING_METRIC, "detail": "no such line"}
        record(store, block_id, [], planned.replicate, planned.environment, **failed)
    store.writer.end_block(block_id, "failed")
    assert store.run(run_id).observations() == []
    assert store.writer.reparse(run_id).changed == 3
    assert [(count.status, count.invocations) for count in store.run(run_id).counts()] == [(Status.OK, 3)]
    assert len(store.run(run_id).observations()) == 3 * len(METRICS)


def test_output_that_says_nothing_fails_and_so_does_its_block(store):
    run_id, block_id = begin(store)
    for planned in cases.ORDER:
        output = OUTPUT if planned.environment == "native" else b"rubbish\n"
        record(store, block_id, SAMPLES, planned.replicate, planned.environment, stdout=output)
    store.writer.end_block(block_id, "complete")
    assert store.writer.reparse(run_id).changed == 1
    (failure,) = store.run(run_id).detail().failures
    assert failure.environment == "container"
    assert failure.reason in (Reason.UNPARSABLE, Reason.MISSING_METRIC)
    assert failure.detail
    assert [state.status for state in store.run(run_id).block_states()] == ["failed"]
    assert query(store, "SELECT count(*) FROM v_sample WHERE environment = 'container'").rows == ((0,),)


def test_other_failures_other_runs_and_unknown_workloads_are_left_alone(store):
    run_id, block_id = begin(store)
    record(store, block_id, [], status=Status.FAILED, reason=Reason.TIMEOUT, detail="no end in 60 s")
    alien = store.writer.begin_block(run_id, cases.block(benchmark="alien"), 1)
    record(store, alien, SAMPLES)
    _, elsewhere = begin(store)
    record(store, elsewhere, [replace(sample, value=7.0) for sample in SAMPLES])
    assert store.writer.reparse(run_id) == Reparsed(read=0, changed=0, unknown=1)
    assert [failure.reason for failure in store.run(run_id).detail().failures] == [Reason.TIMEOUT]
    assert query(store, f"SELECT DISTINCT value FROM v_value WHERE run_id <> '{run_id}'").rows == ((7.0,),)
    with pytest.raises(UnknownName):
        store.writer.reparse(store.run("nothing").id)
