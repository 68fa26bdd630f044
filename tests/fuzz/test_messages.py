"""No secret and no control character comes out with an error, an event or a task of Ansible's."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from hypothesis import strategies as st

from perfctl import redaction
from perfctl.errors import PerfctlError
from perfctl.model import (
    Block,
    Event,
    InvocationEnded,
    Note,
    PlannedInvocation,
    Reason,
    RunEnded,
    Status,
    Target,
    TaskEnded,
    TaskStarted,
    WorkAdded,
)
from perfctl.output import print_error, visible
from perfctl.output.lines import event_line
from perfctl.output.messages import error_text
from perfctl.output.state import ProgressState
from perfctl.playbook.event_log import EventLog
from perfctl.render.view import cut
from tests.fuzz.inputs import bounded, given, inputs
from tests.fuzz.mutation import TEXTS, mutated_json

SECRETS = st.one_of(
    st.text("abcXYZ019 '\"\\$%*!|=\n\té", min_size=redaction.SHORTEST, max_size=30).filter(
        lambda text: len(text.strip()) >= redaction.SHORTEST
    ),
    st.sampled_from(
        ["hunter22", "line one\nline two", "abc  \n  def", 'quo"te\\d', "-----BEGIN KEY-----\nab\n"]
    ),
)


@contextmanager
def secrets_known(*secrets: str) -> Iterator[None]:
    """Have these secrets registered, and no others, within the block."""
    with mock.patch.object(redaction, "_names", {}), mock.patch.object(redaction, "_pattern", None):
        for number, secret in enumerate(secrets):
            redaction.register(f"S{number}", secret)
        yield


def is_told(text: str, *secrets: str) -> bool:
    """Return whether a text has one of the secrets, but for what stands in place of them."""
    for number in range(len(secrets)):
        text = text.replace(f"[hidden: S{number}]", "\0")
    return any(secret in text for secret in secrets)


def forms(secret: str) -> list[str]:
    """Return a secret in the forms in which programs quote it."""
    quoted = [repr(secret)[1:-1], json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]]
    return [secret, *quoted, shlex.quote(secret)]


@inputs("messages", 0.15)
@given(SECRETS, SECRETS, st.data())
def test_no_form_of_a_secret_is_left_in_a_text(one: str, other: str, data: st.DataObject) -> bool:
    parts = st.lists(st.sampled_from([*forms(one), *forms(other)]) | TEXTS, max_size=8)
    text = "".join(data.draw(parts))
    with secrets_known(one, other):
        for shown in (
            redaction.redact(text),
            visible(text),
            cut(text),
            redaction.redact_tree({"a": [text]})["a"][0],
        ):
            assert not is_told(shown, one, other)
        assert cut(text, 30)[:-1] in redaction.redact(text)
    return text != ""


@inputs("messages", 0.1)
@given(SECRETS, st.lists(TEXTS, min_size=3, max_size=3), st.booleans())
def test_an_error_is_three_lines_without_secrets_and_control_characters(
    secret: str, texts: list[str], color: bool
) -> bool:
    error = PerfctlError(*texts[:1], where=f"{texts[1]}{secret}", hint=f"{secret}{texts[2]}")
    with secrets_known(secret):
        lines = error_text(PerfctlError(f"{texts[0]}{secret}", where=error.where, hint=error.hint)).split(
            "\n"
        )
        stream = io.StringIO()
        print_error(error, stream)
        colored = error_text(error, color=color)
    assert len(lines) == 3 and all(line.isprintable() for line in lines)
    assert not any(is_told(line, secret) for line in lines)
    assert stream.getvalue().count("\n") <= 3
    assert colored.replace("\x1b[1;31m", "").replace("\x1b[0m", "").replace("\n", "").isprintable()
    return True


BLOCK = Block("b\x1b[2J", Target("h1", "h\n2"), 0, ())
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Note, st.sampled_from(["info", "warning"]), TEXTS, TEXTS),
    st.builds(TaskStarted, TEXTS, TEXTS),
    st.builds(TaskEnded, TEXTS, TEXTS, st.sampled_from(["ok", "changed", "failed", "unreachable"]), TEXTS),
    st.builds(WorkAdded, TEXTS, TEXTS, st.just((BLOCK,)), st.floats(), st.floats(), st.floats()),
    st.builds(
        InvocationEnded,
        st.just(BLOCK),
        st.builds(PlannedInvocation, TEXTS, st.integers(1, 2), st.just(0)),
        st.sampled_from(list(Status)),
        st.none() | st.sampled_from(list(Reason)),
        TEXTS,
        TEXTS,
        st.sampled_from([None, "valid", "flagged", "invalid"]),
        TEXTS,
    ),
    st.builds(RunEnded, st.just("0198"), st.just("partial"), st.integers(0, 9), st.integers(0, 9)),
)


@inputs("messages", 0.1)
@given(st.lists(EVENTS, max_size=5))
def test_an_event_is_one_line_that_moves_no_cursor(events: list[Event]) -> bool:
    state = ProgressState(clock=lambda: 0.0)
    for event in events:
        state.take(event)
        assert event_line(event, state).isprintable()
        assert all(line.isprintable() and len(line) <= 80 for line in state.lines(80, 5))
    return bool(events)


ENDED = {
    "event": "runner_on_failed",
    "stdout": "fatal: [h1]: FAILED! => \r\n",
    "event_data": {
        "host": "h1",
        "task": "Copy",
        "role": "perf_tools",
        "task_action": "ansible.builtin.debug",
        "ignore_errors": False,
        "res": {
            "changed": True,
            "msg": "non-zero return code",
            "rc": 2,
            "stderr": "no hunter22\n",
            "stdout": "x",
            "results": [
                {"failed": True, "msg": "hunter22", "results": [{"failed": True, "module_stderr": "y"}]}
            ],
        },
    },
}
STATS = {
    "event": "playbook_on_stats",
    "event_data": {"ok": {"h1": 3}, "changed": {"h1": 1}, "dark": {"h2": 1}, "processed": {"h1": 1, "h2": 1}},
}
KINDS = [
    *(
        "runner_on_ok",
        "runner_on_skipped",
        "runner_on_failed",
        "runner_on_unreachable",
        "runner_on_file_diff",
    ),
    *("playbook_on_stats", "playbook_on_no_hosts_matched", "verbose", "error", "warning", "x"),
]


@inputs("messages", 0.12)
@given(st.lists(st.tuples(st.sampled_from(KINDS), mutated_json(ENDED) | mutated_json(STATS)), max_size=4))
def test_whatever_a_module_returns_is_recorded_without_secrets(events: list[tuple[str, Any]]) -> bool:
    heard: list[Event] = []
    log = EventLog(heard.append)
    with secrets_known("hunter22"):
        for kind, event in events:
            log.record(
                {"event": kind, **event} if isinstance(event, dict) else {"event": kind, "event_data": event}
            )
    assert "hunter22" not in f"{heard}{log.failures}{log.messages}"
    for stats in log.hosts.values():
        assert all(isinstance(getattr(stats, name), int) for name in stats.__slots__)
    state = ProgressState(clock=lambda: 0.0)
    assert all(event_line(event, state).isprintable() for event in heard)
    return bool(heard)


@pytest.mark.parametrize(
    "result",
    [{"results": 5}, {"results": "x"}, {"results": {"failed": True}}, {"results": [1, None]}, [], "x", 3],
)
def test_results_of_any_shape_are_a_failure_of_their_host(result: Any) -> None:
    log = EventLog(lambda event: None)
    log.record(
        {
            "event": "runner_on_failed",
            "event_data": {"host": "h1", "task": "t", "res": result},
            "stdout": "printed",
        }
    )
    assert log.failures["h1"].message == "printed"


def test_results_within_results_end_somewhere() -> None:
    result: dict[str, Any] = {"failed": True, "msg": "deep"}
    for _ in range(5000):
        result = {"failed": True, "results": [result], "msg": "outer"}
    log = EventLog(lambda event: None)
    with bounded():
        log.record({"event": "runner_on_failed", "event_data": {"host": "h1", "task": "t", "res": result}})
    assert log.failures["h1"].message == "outer"


def test_a_secret_of_several_short_lines_is_found_before_they_are_joined() -> None:
    with secrets_known("abc  \n  def"):
        assert "abc" not in error_text(PerfctlError("it says abc  \n  def"))
        note = event_line(Note("info", "h1", "it says abc  \n  def"), ProgressState())
    assert "abc" not in note and "[hidden: S0]" in note


def test_a_cell_that_is_cut_has_no_first_half_of_a_secret() -> None:
    with secrets_known("hunter22-and-more"):
        assert "hunter" not in cut("x" * 50 + "hunter22-and-more", 60)
    assert cut("x" * 61) == "x" * 59 + "…"


@pytest.mark.parametrize("text", ["\u202e", "\x85", "\u2028", "\x1b[2J", "\x9b2J", "\ud800", "\u200b", "\r"])
def test_what_moves_a_cursor_or_hides_is_shown_as_an_escape(text: str) -> None:
    assert visible(f"a{text}b").isprintable() and visible(f"a{text}b").startswith("a\\")
    assert "\\" in error_text(PerfctlError(f"a{text}b")) or text in "\x85\u2028\r"
