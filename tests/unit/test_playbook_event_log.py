"""Recording ansible-runner's events. The events are as awx_display writes them (ansible-core 2.19)."""

from __future__ import annotations

from typing import Any

import pytest

from perfctl.errors import PlaybookFailed
from perfctl.model import Event, Note, TaskEnded, TaskStarted
from perfctl.playbook.event_log import EventLog, HostStats, PlaybookResult, TaskFailure, failure_message

REFUSED_ARGUMENTS = {
    "failed": True,
    "argument_errors": ["missing required arguments: perf_x"],
    "msg": "Validation of arguments failed:\nmissing required arguments: perf_x",
}


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"msg": "No package matching 'x' is available"}, "No package matching 'x' is available"),
        ({"msg": "non-zero return code", "rc": 2, "stderr": "bad thing\n"}, "bad thing"),
        ({"msg": "non-zero return code", "rc": 2, "stderr": "", "stdout": "said it here"}, "said it here"),
        ({"msg": "MODULE FAILURE", "module_stderr": "Traceback\nBoom"}, "MODULE FAILURE: Traceback\nBoom"),
        ({"msg": "could not: no space", "stderr": "no space"}, "could not: no space"),
        ({"censored": "the output has been hidden"}, "the output has been hidden"),
        (REFUSED_ARGUMENTS, "Validation of arguments failed:\nmissing required arguments: perf_x"),
        (
            {
                "msg": "One or more items failed",
                "results": [{"msg": "fine"}, {"failed": True, "msg": "second"}],
            },
            "second",
        ),
        ({}, ""),
    ],
)
def test_the_message_is_the_modules_own(result: dict[str, Any], expected: str) -> None:
    assert failure_message(result) == expected


def test_a_long_output_is_shown_by_its_end() -> None:
    text = "\n".join(f"line {number}" for number in range(100))
    message = failure_message({"msg": "non-zero return code", "stderr": text})
    assert message.splitlines()[0] == "line 88"
    assert message.splitlines()[-1] == "line 99"


def _recorded(*events: dict[str, Any]) -> tuple[EventLog, list[Event]]:
    told: list[Event] = []
    log = EventLog(told.append)
    for event in events:
        log.record(event)
    return log, told


def _ended(kind: str, *, host: str = "h1", task: str = "Copy", **data: Any) -> dict[str, Any]:
    return {"event": kind, "event_data": {"host": host, "task": task, **data}, "stdout": "printed\r\n"}


def test_every_outcome_is_told_with_the_role_it_belongs_to() -> None:
    _, told = _recorded(
        _ended("runner_on_start", role="perf_tools"),
        _ended("runner_on_ok", role="perf_tools", res={"changed": True}),
        _ended("runner_on_ok", res={"changed": False}),
        _ended("runner_on_skipped"),
        _ended("runner_on_failed", res={"msg": "no"}),
        _ended("runner_on_unreachable", host="h2", res={"msg": "gone"}),
    )
    assert told == [
        TaskStarted("h1", "perf_tools: Copy"),
        TaskEnded("h1", "perf_tools: Copy", "changed"),
        TaskEnded("h1", "Copy", "ok"),
        TaskEnded("h1", "Copy", "skipped"),
        TaskEnded("h1", "Copy", "failed", "no"),
        TaskEnded("h2", "Copy", "unreachable", "gone"),
    ]


def test_a_connection_that_a_jump_host_ended_is_told_as_such() -> None:
    words = "Connection closed by UNKNOWN port 65535"
    log, _ = _recorded(_ended("runner_on_unreachable", res={"msg": words}))
    assert words in log.failures["h1"].message
    assert "jump host" in log.failures["h1"].message


def test_an_ignored_failure_is_no_failure() -> None:
    log, told = _recorded(_ended("runner_on_failed", res={"msg": "no"}, ignore_errors=True))
    assert log.failures == {}
    assert [event.outcome for event in told if isinstance(event, TaskEnded)] == ["ok"]


def test_a_failure_too_large_for_an_event_is_told_as_printed() -> None:
    log, _ = _recorded(_ended("runner_on_failed", res={}))
    assert log.failures["h1"].message == "printed"


def test_diffs_warnings_and_debug_messages_are_notes() -> None:
    _, told = _recorded(
        {
            "event": "runner_on_file_diff",
            "event_data": {"host": "h1", "task": "Copy"},
            "stdout": "--- a\r\n+++ b\r\n",
        },
        {"event": "verbose", "event_data": {}, "stdout": "[WARNING]: odd inventory\r\n"},
        _ended("runner_on_ok", task="Say", task_action="ansible.builtin.debug", res={"msg": "listen"}),
    )
    assert told == [
        Note("info", "h1, Copy", "--- a\n+++ b"),
        Note("warning", "ansible", "odd inventory"),
        Note("info", "h1", "listen"),
        TaskEnded("h1", "Say", "ok"),
    ]


def test_stats_name_every_host() -> None:
    stats = {"ok": {"h1": 3}, "changed": {"h1": 1}, "dark": {"h2": 1}, "processed": {"h1": 1, "h2": 1}}
    log, _ = _recorded({"event": "playbook_on_stats", "event_data": stats})
    assert log.hosts == {"h1": HostStats(ok=3, changed=1), "h2": HostStats(unreachable=1)}
    assert log.hosts["h1"].succeeded
    assert not log.hosts["h2"].succeeded


def test_the_first_failure_is_raised_with_host_and_task() -> None:
    PlaybookResult({"h1": HostStats(ok=1)}, ()).raise_for_failures()  # all is well
    failures = (TaskFailure("h1", "Copy", "disk full"), TaskFailure("h2", "Copy", "disk full"))
    with pytest.raises(PlaybookFailed) as caught:
        PlaybookResult({}, failures).raise_for_failures()
    assert caught.value.message == "disk full"
    assert caught.value.where == "h1, task 'Copy'"
    assert caught.value.hint == "1 more host(s) failed"
