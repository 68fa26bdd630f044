"""The pure parts of execute: what an outcome is recorded as, and how a block ends."""

from __future__ import annotations

import pytest

from perfctl import errors
from perfctl.execute.block import block_status, invocation_id
from perfctl.execute.measure import outcome_of, read_outcome
from perfctl.execute.server import ServerNotReady, listens
from perfctl.model import Benchmark, PlannedInvocation, Reason, Status
from perfctl.shell import Completed
from perfctl.workloads import workload

PROC_NET_TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:3241 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 812 1
   1: 0100007F:0016 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 813 1
"""


def test_a_listening_port_is_found() -> None:
    assert listens(PROC_NET_TCP, 0x3241)


def test_an_established_connection_is_no_listener() -> None:
    assert not listens(PROC_NET_TCP, 22)


def test_another_port_and_no_text_are_no_listener() -> None:
    assert not listens(PROC_NET_TCP, 0x3242)
    assert not listens("", 0x3241)


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (errors.CommandTimeout("too long"), Status.FAILED, Reason.TIMEOUT),
        (errors.EnvironmentUnavailable("no engine"), Status.SKIPPED, Reason.ENVIRONMENT_UNAVAILABLE),
        (errors.EnvironmentDied("exit 1"), Status.FAILED, Reason.ENVIRONMENT_DIED),
        (errors.Interrupted("stop"), Status.INTERRUPTED, Reason.INTERRUPTED),
        (errors.HostUnreachable("gone"), Status.FAILED, Reason.UNREACHABLE),
        (errors.OutputError("full", reason="spool_full"), Status.FAILED, Reason.SPOOL_FULL),
        (errors.CommandFailed("prepare"), Status.FAILED, Reason.SETUP_FAILED),
        (ServerNotReady("port"), Status.FAILED, Reason.SERVER_NOT_READY),
    ],
)
def test_every_failure_has_its_reason(error: errors.PerfctlError, status: Status, reason: Reason) -> None:
    outcome = outcome_of(error)
    assert (outcome.status, outcome.reason) == (status, reason)
    assert error.message in outcome.detail


def test_a_database_error_is_no_outcome_but_ends_the_run() -> None:
    with pytest.raises(errors.DatabaseUnavailable):
        outcome_of(errors.DatabaseUnavailable("locked"))


def _completed(exit_code: int, stdout: bytes = b"", stderr: bytes = b"") -> Completed:
    return Completed(("sysbench",), exit_code, stdout, stderr)


CPU = Benchmark("cpu", "sysbench", {}, expected_s=1.0)


@pytest.mark.parametrize(
    ("completed", "reason", "words"),
    [
        (_completed(127, stderr=b"sysbench: not found"), Reason.TOOL_MISSING, "perfctl provision"),
        (_completed(1, stderr=b"FATAL: no memory"), Reason.EXIT_NONZERO, "FATAL: no memory"),
        (_completed(3), Reason.EXIT_NONZERO, "it said nothing"),
        (_completed(0), Reason.NO_OUTPUT, "nothing"),
    ],
)
def test_a_benchmark_that_went_wrong_says_how(completed: Completed, reason: Reason, words: str) -> None:
    outcome = read_outcome(workload("sysbench"), CPU, completed)
    assert (outcome.status, outcome.reason) == (Status.FAILED, reason)
    assert words in outcome.detail
    assert outcome.completed is completed, "the raw output is kept"
    assert outcome.samples == ()


def test_a_block_is_complete_when_all_members_are_ok_or_cannot_exist() -> None:
    assert block_status([Status.OK, Status.OK, Status.OK]) == "complete"
    assert block_status([Status.OK, Status.OK, Status.SKIPPED]) == "complete"
    assert block_status([Status.OK, Status.FAILED, Status.OK]) == "failed"


def test_an_invocation_has_the_same_id_for_every_controller() -> None:
    first = PlannedInvocation("native", 1, 0)
    assert invocation_id("b", first) == invocation_id("b", PlannedInvocation("native", 1, 0))
    assert invocation_id("b", first) != invocation_id("b", PlannedInvocation("native", 2, 0))
    assert invocation_id("b", first) != invocation_id("c", first)
