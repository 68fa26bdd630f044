"""What is said between controller and job server, without either."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfctl.errors import HostUnreachable, OutputError, UsageError
from perfctl.job import JobLost, JobTimeout, ProcessProbe, SpoolFull
from perfctl.job.protocol import Request, Result, output_limit_bytes, quote, unquote
from perfctl.job.script import JobState, parse_list
from perfctl.model import OUTPUT_LIMIT_BYTES, Reason

_PARTS = (b"out", b"err", b"before", b"after", b"view")
_WORD = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
_AWKWARD = st.text("'\"$nl\n\\ `;", max_size=12)


@given(st.lists(_WORD | _AWKWARD, min_size=1, max_size=6))
def test_a_request_is_one_line_that_gives_the_words_back(words: list[str]) -> None:
    line = Request("job", tuple(words), 1.5).line("run", 2)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert unquote(line) == tuple(words)


@pytest.mark.parametrize("shell", [["dash"], ["bash", "--posix"], ["busybox", "ash"]])
def test_a_shell_reads_the_words_as_they_were(shell: list[str]) -> None:
    words = ["a b", "", "'", '"', "$HOME", "new\nline", "\n", "'\"$nl\"'", "\\", "*", "ü", "tab\t", " "]
    script = f"nl='\n'; set -- {quote(words)}; for w in \"$@\"; do printf '%s\\0' \"$w\"; done"
    said = subprocess.run([*shell, "-c", script], capture_output=True, timeout=30, check=True).stdout
    assert said.split(b"\0")[:-1] == [os.fsencode(word) for word in words]


def test_a_request_says_slot_time_and_input_first() -> None:
    line = Request("inv-1", ("true",), 36.0005, "/spool/jobs/inv-1.in").line("run", 3)
    settings = "slot=3 timeout_ms=36001 stdin='/spool/jobs/inv-1.in' keep_bytes=67108865 lease=''"
    settings += " token=0 until=0.000 look_ms=0"
    assert line.decode() == f"run inv-1 {settings}; set -- 'true'\n"
    assert b"stdin=/dev/null " in Request("inv-1", ("true",)).line("spawn", 0)
    # A request is one line, whatever the folder of the spool is called.
    assert Request("inv-1", ("true",), 1, "/a\nb/inv-1.in").line("run", 0).count(b"\n") == 1


def test_a_request_says_under_which_lease_it_is_made() -> None:
    line = Request("inv-1", ("true",), lease=("/state/lease", 17, 1234.5)).line("run", 0)
    assert b" lease='/state/lease' token=17 until=1234.500 " in line


def test_a_request_says_how_much_of_its_outputs_is_kept() -> None:
    line = Request("inv-1", ("echo", " keep_bytes=7 "), output_limit_bytes=1000).line("run", 0)
    # One byte more, by which a cut is known.
    assert b" keep_bytes=1001 " in line
    assert output_limit_bytes(line) == 1000
    assert output_limit_bytes(b"slot=0 timeout_ms=5 stdin=/dev/null; set -- 'old'\n") == OUTPUT_LIMIT_BYTES


def test_a_cut_output_says_where_it_was_cut_however_the_job_ended() -> None:
    done = Result.parse(b"0 1 2 exited\n", _PARTS, "h1", cut_at_bytes=3).value(("x",), "h1")
    assert done.cut_at_bytes == 3
    with pytest.raises(JobTimeout) as caught:
        Result.parse(b"143 1 2 timeout\n", _PARTS, "h1", cut_at_bytes=3).value(("x",), "h1")
    assert caught.value.completed.cut_at_bytes == 3


def test_an_impossible_argument_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(UsageError):
        Request("job", ("a\0b",)).line("run", 0)


def test_a_request_to_look_says_when_and_at_what() -> None:
    line = Request("inv-1", ("true",), 1, probe=ProcessProbe("pidfile:/a b/pid", 2.0004)).line("run", 3)
    assert b" look_ms=2000 watched='pidfile:/a b/pid'; set -- " in line
    at_once = Request("i", ("true",), 1, probe=ProcessProbe("", 0)).line("run", 3)
    assert b" look_ms=1 watched=''; set -- " in at_once


def test_a_result_carries_the_hosts_times_and_all_parts() -> None:
    done = Result.parse(b"3 1000 2500 exited\n", _PARTS, "h1").value(("x", "y"), "h1")
    assert (done.argv, done.exit_code, done.started_ns, done.ended_ns) == (("x", "y"), 3, 1000, 2500)
    assert (done.stdout, done.stderr, done.counters_before, done.counters_after, done.host_view) == _PARTS


def test_a_timeout_is_an_error_with_what_was_said() -> None:
    with pytest.raises(
        JobTimeout, match=r"h1: sysbench did not end in its time and was ended after 2\.0 s"
    ) as caught:
        Result.parse(b"143 1000000000 3000000000 timeout\n", _PARTS, "h1").value(("sysbench",), "h1")
    assert caught.value.completed.stdout == b"out"


def test_a_full_spool_is_an_error_with_what_was_kept() -> None:
    with pytest.raises(SpoolFull, match=r"exit code 0.*3 bytes of its output were kept") as caught:
        Result.parse(b"0 1 2 full\n", _PARTS, "h1").value(("x",), "h1")
    assert isinstance(caught.value, OutputError)
    assert Reason(caught.value.reason) is Reason.SPOOL_FULL
    assert caught.value.completed is not None
    with pytest.raises(SpoolFull, match="was not started") as caught:
        Result.parse(b"0 0 0 unstarted\n", _PARTS, "h1").value(("x",), "h1")
    assert caught.value.completed is None


@pytest.mark.parametrize("line", [b"lost\n", b"\n", b"1 2\n"])
def test_a_job_nobody_will_end_is_lost(line: bytes) -> None:
    with pytest.raises(JobLost, match="job is lost") as caught:
        Result.parse(line, _PARTS, "h1")
    assert isinstance(caught.value, HostUnreachable) and "perfctl resume" in str(caught.value.hint)


def test_the_list_of_jobs_is_read() -> None:
    assert parse_list("a ended\nb running 2 36500\nc lost\n", "h1") == {
        "a": JobState("ended"),
        "b": JobState("running", 2, 36.5),
        "c": JobState("lost"),
    }
