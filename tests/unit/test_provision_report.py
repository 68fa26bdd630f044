"""What the user is told at the end, and with which exit code."""

from __future__ import annotations

import pytest

from perfctl.errors import DriftFound, HostUnreachable, PartialFailure, PlaybookFailed, Refused
from perfctl.playbook import TaskFailure
from perfctl.provision import Drift, HostReport, ProvisionReport, ProvisionState, VerifyReport
from perfctl.provision.report import failed_host

DONE = HostReport("h1", ProvisionState.COMMITTED, 3)
LOST = HostReport("h2", ProvisionState.UNREACHABLE, message="no route")
FAILED = HostReport("h3", ProvisionState.FAILED, 1, "disk full", "perf_tools: Install the packages")


def test_a_failure_is_told_with_host_task_and_the_modules_words() -> None:
    ProvisionReport((DONE, HostReport("h2", ProvisionState.CURRENT))).raise_for_failures()  # all is well
    with pytest.raises(PlaybookFailed) as caught:
        ProvisionReport((DONE, LOST, FAILED)).raise_for_failures()
    assert caught.value.exit_code == 3
    assert caught.value.message == "disk full"
    assert caught.value.where == "h3, task 'perf_tools: Install the packages'"
    assert caught.value.hint == "also failed: h2"


def test_some_hosts_lost_is_a_partial_failure() -> None:
    with pytest.raises(PartialFailure) as caught:
        ProvisionReport((DONE, LOST)).raise_for_failures()
    assert caught.value.exit_code == 3
    assert caught.value.where == "h2"


def test_all_hosts_lost_is_unreachable() -> None:
    with pytest.raises(HostUnreachable) as caught:
        ProvisionReport((LOST,)).raise_for_failures()
    assert caught.value.exit_code == 4


def test_a_refusal_comes_before_everything_else() -> None:
    refused = HostReport("h4", ProvisionState.REFUSED, 0, "br1 is not ours")
    with pytest.raises(Refused) as caught:
        ProvisionReport((DONE, LOST, FAILED, refused)).raise_for_failures()
    assert caught.value.exit_code == 7
    assert caught.value.message == "br1 is not ours"
    assert caught.value.where == "h4"


def test_different_refusals_are_told_by_host() -> None:
    one, other = (HostReport(name, ProvisionState.REFUSED, 0, f"because {name}") for name in ("h1", "h2"))
    with pytest.raises(Refused, match="h1: because h1; h2: because h2"):
        ProvisionReport((one, other)).raise_for_failures()


@pytest.mark.parametrize(
    ("failure", "state", "message"),
    [
        (
            TaskFailure("h", "t", "refused: no\nowner: nobody\nrefused: never"),
            ProvisionState.REFUSED,
            "no; never",
        ),
        (
            TaskFailure("h", "t", "non-zero return code: refused: no"),
            ProvisionState.REFUSED,
            "no",
        ),
        (TaskFailure("h", "t", "disk full"), ProvisionState.FAILED, "disk full"),
        (
            TaskFailure("h", "t", "dockerd did not start: connection refused: unavailable"),
            ProvisionState.FAILED,
            "dockerd did not start: connection refused: unavailable",
        ),
        (
            TaskFailure("h", "t", "refused: timed out", unreachable=True),
            ProvisionState.UNREACHABLE,
            "refused: timed out",
        ),
    ],
)
def test_how_a_failed_task_is_understood(failure: TaskFailure, state: ProvisionState, message: str) -> None:
    report = failed_host(failure, changed=2)
    assert (report.state, report.message, report.changed) == (state, message, 2)


def test_drift_names_host_and_thing() -> None:
    report = VerifyReport(("h1",), (Drift("h2", "br1 has MTU 1500, not 9000"),), ())
    with pytest.raises(DriftFound, match="h2: br1 has MTU 1500, not 9000") as caught:
        report.raise_for_drift()
    assert caught.value.exit_code == 7
    assert caught.value.where == "h2"


def test_a_host_that_could_not_be_looked_at_is_no_drift() -> None:
    lost = TaskFailure("h2", "Read back", "no route", unreachable=True)
    with pytest.raises(PartialFailure, match="no route"):
        VerifyReport(("h1",), (), (lost,)).raise_for_drift()
    with pytest.raises(HostUnreachable, match="no route"):
        VerifyReport((), (), (lost,)).raise_for_drift()
    with pytest.raises(PlaybookFailed, match="broken"):
        VerifyReport((), (), (TaskFailure("h2", "Read back", "broken"),)).raise_for_drift()
    VerifyReport(("h1",), (), ()).raise_for_drift()  # raises nothing
