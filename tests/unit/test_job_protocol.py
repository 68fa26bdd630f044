"""What is sent between controller and agent, without either."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfctl.agent import Answer
from perfctl.agent import agent as host_agent
from perfctl.errors import HostUnreachable, OutputError, UsageError
from perfctl.job import JobLost, JobTimeout, ProcessProbe, SpoolFull
from perfctl.job.lease import LeaseLost
from perfctl.job.protocol import Request, Result
from perfctl.model import OUTPUT_LIMIT_BYTES, Reason, ResourceUsage

HEADER: dict[str, Any] = {
    "id": "inv-1",
    "argv": ["x", "y"],
    "exit_code": 3,
    "started_ns": 1000,
    "ended_ns": 2500,
    "why": "exited",
    "usage": {
        "user_s": 0.5,
        "system_s": 0.25,
        "max_rss_bytes": None,
        "minor_faults": 7,
        "major_faults": 0,
        "voluntary_switches": 2,
        "involuntary_switches": 1,
    },
    "pid": 17,
    "watched": None,
    "half_ns": None,
    "left_behind": ["sleep"],
    "limit_bytes": 3,
    "is_cut": False,
}
PARTS = (b"out", b"err", b"before", b"after")
_WORD = st.text(st.characters(exclude_characters="\0"), max_size=30).filter(lambda text: text.isprintable())


def parsed(**changes: Any) -> Result:
    return Result.parse(Answer({**HEADER, **changes}, PARTS), "h1")


@given(st.lists(_WORD, min_size=1, max_size=6))
def test_the_agent_reads_the_words_of_a_request_as_they_were(words: list[str]) -> None:
    decoder = host_agent.Decoder()
    decoder.feed(host_agent.pack(Request("job", tuple(words), 1.5).header("run")))
    frame = decoder.next()
    assert frame is not None
    job = host_agent.Job("job", host_agent.checked_request(frame[0]))
    assert job.argv == [word.encode("utf-8", "surrogateescape") for word in words]
    assert (job.request["timeout_s"], job.limit_bytes, job.is_background) == (1.5, OUTPUT_LIMIT_BYTES, False)


def test_bytes_that_are_no_utf8_reach_the_agent_as_they_were() -> None:
    header = json.loads(json.dumps(Request("job", ("echo", "\udce9"), 1).header("run")))
    assert host_agent.Job("job", host_agent.checked_request(header)).argv == [b"echo", b"\xe9"]


def test_a_request_says_under_which_lease_it_is_made_and_what_is_watched() -> None:
    probe = ProcessProbe("pidfile:/a b/pid", 2.5)
    header = Request("inv-1", ("true",), probe=probe, lease=("/state/lease", 17, 1234.5)).header("run")
    assert header["lease"] == ["/state/lease", 17, 1234.5]
    assert (header["watched"], header["half_after_s"]) == ("pidfile:/a b/pid", 2.5)
    assert Request("inv-1", ("true",)).header("run")["watched"] is None


@pytest.mark.parametrize("word", ["a\0b", "\ud800"])
def test_an_impossible_argument_is_refused_before_anything_is_sent(word: str) -> None:
    with pytest.raises(UsageError):
        Request("job", ("x", word)).header("run")


def test_a_result_carries_the_hosts_times_all_parts_and_what_was_used() -> None:
    done = parsed().value(("x", "y"), "h1")
    assert (done.argv, done.exit_code, done.started_ns, done.ended_ns) == (("x", "y"), 3, 1000, 2500)
    assert (done.stdout, done.stderr, done.counters_before, done.counters_after) == PARTS
    assert done.usage == ResourceUsage(0.5, 0.25, None, 7, 0, 2, 1)
    assert (done.left_behind, done.host_view, done.cut_at_bytes) == (("sleep",), b"", None)


def test_a_cut_output_says_where_it_was_cut_however_the_job_ended() -> None:
    assert parsed(is_cut=True).value(("x",), "h1").cut_at_bytes == 3
    with pytest.raises(JobTimeout) as caught:
        parsed(is_cut=True, why="timeout").value(("x",), "h1")
    assert caught.value.completed.cut_at_bytes == 3


def test_a_timeout_is_an_error_with_what_was_said() -> None:
    with pytest.raises(
        JobTimeout, match=r"h1: sysbench did not end in its time and was ended after 2\.0 s"
    ) as caught:
        parsed(started_ns=1_000_000_000, ended_ns=3_000_000_000, why="timeout").value(("sysbench",), "h1")
    assert caught.value.completed.stdout == b"out"


def test_a_full_spool_is_an_error_with_what_was_kept() -> None:
    with pytest.raises(SpoolFull, match=r"exit code 3.*3 bytes of its output were kept") as caught:
        parsed(why="full").value(("x",), "h1")
    assert isinstance(caught.value, OutputError)
    assert Reason(caught.value.reason) is Reason.SPOOL_FULL
    assert caught.value.completed is not None
    with pytest.raises(SpoolFull, match="was not started") as caught:
        parsed(why="unstarted").value(("x",), "h1")
    assert caught.value.completed is None
    with pytest.raises(LeaseLost):
        parsed(why="fenced").value(("x",), "h1")


def test_a_job_nobody_will_end_is_lost() -> None:
    with pytest.raises(JobLost, match="job is lost") as caught:
        Result.parse(Answer({"id": "x", "why": "lost", "parts": []}), "h1")
    assert isinstance(caught.value, HostUnreachable) and "perfctl resume" in str(caught.value.hint)


@pytest.mark.parametrize(
    "changes",
    [
        {"exit_code": -1},
        {"exit_code": True},
        {"ended_ns": "1"},
        {"argv": [3]},
        {"usage": {}},
        {"usage": {**HEADER["usage"], "user_s": -1}},
        {"limit_bytes": None, "is_cut": True},
        {"left_behind": None},
    ],
)
def test_a_result_that_is_none_is_an_error_of_its_host(changes: dict[str, Any]) -> None:
    with pytest.raises(HostUnreachable, match="its agent's result cannot be read") as caught:
        parsed(**changes)
    assert caught.value.where == "h1"
