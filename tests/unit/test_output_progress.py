"""What is said while something runs, and where."""

from __future__ import annotations

import io
import json
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfctl.cli.settings import load_settings
from perfctl.errors import HostUnreachable, PerfctlError, UsageError
from perfctl.model import (
    Benchmark,
    Block,
    Environment,
    InvocationEnded,
    InvocationStarted,
    Listener,
    Note,
    Plan,
    PlannedInvocation,
    Reason,
    Round,
    RunEnded,
    RunStarted,
    Status,
    Target,
    TaskEnded,
    TaskStarted,
    Track,
    WorkAdded,
)
from perfctl.output import print_error, progress
from perfctl.output.lines import Lines, QuietLines
from perfctl.output.state import ProgressState
from tests.unit.progress_screens import RECORDED, SCENES, recording

ORDER = tuple(
    PlannedInvocation(name, replicate, place)
    for place, (name, replicate) in enumerate([("native", 1), ("container", 1), ("native", 2)])
)
CPU = Benchmark("cpu", "sysbench", {}, expected_s=10)


def block(host: str, index: int) -> Block:
    return Block("cpu", Target(host), index, ORDER)


BLOCKS = {host: (block(host, 0), block(host, 1)) for host in ("h1", "h22")}
PLAN = Plan(
    "demo",
    "1",
    "native",
    (Environment("native", "native"), Environment("container", "container")),
    (CPU,),
    (Round(tuple(Track(blocks) for blocks in BLOCKS.values())),),
)
STARTED = RunStarted("0193-run", PLAN, done=0, estimate_s=120)


def ended(
    of: Block, place: int, status: Status = Status.OK, reason: Reason | None = None, detail: str = ""
) -> InvocationEnded:
    return InvocationEnded(of, ORDER[place], status, reason, detail, "2,914 events/s" if not reason else "")


def without_times(stream: io.StringIO) -> list[str]:
    """Return the lines; those of invocations begin with the time of day, which is taken off."""
    lines = stream.getvalue().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d \[", line) for line in lines if "] " in line and "[" in line)
    return [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines]


def test_plain_lines() -> None:
    stream = io.StringIO()
    with progress(stream) as listener:
        listener(STARTED)
        listener(InvocationStarted(BLOCKS["h1"][0], ORDER[0], 10))
        listener(ended(BLOCKS["h1"][0], 0))
        listener(ended(BLOCKS["h1"][0], 2))
        listener(ended(BLOCKS["h22"][1], 1, Status.FAILED, Reason.TIMEOUT, "no end\nafter 60 s"))
        listener(Note("warning", "h1", "the load is high"))
        listener(Note("info", "", "pulling"))
        listener(TaskEnded("h1", "Install sysbench", "failed", "no\x1b such package"))
        listener(RunEnded("0193-run", "partial", 2, 1))
    assert without_times(stream) == [
        "run 0193-run: 12 invocations, about 2 min 00 s",
        "[1/12] h1 cpu native block 0: 2,914 events/s",
        "[2/12] h1 cpu native (replicate 2) block 0: 2,914 events/s",
        "[3/12] h22 cpu container block 1: FAILED (timeout): no end | after 60 s",
        "warning: h1: the load is high",
        "pulling",
        "h1: Install sysbench: failed: no\\x1b such package",
        "run 0193-run: partial, 2 ok, 1 failed",
    ]


def test_the_last_line_counts_what_was_skipped() -> None:
    stream = io.StringIO()
    with progress(stream) as listener:
        listener(STARTED)
        listener(ended(BLOCKS["h1"][0], 1, Status.SKIPPED, Reason.ENVIRONMENT_UNAVAILABLE, "no /dev/kvm"))
        listener(ended(BLOCKS["h1"][0], 0))
        listener(RunEnded("0193-run", "complete", 16, 0, 8))
    assert "16 ok, 0 failed, 8 skipped" in stream.getvalue()
    assert "no /dev/kvm" not in stream.getvalue(), "its host's warning has told it once"
    assert "[2/12] h1 cpu native block 0" in stream.getvalue()


def test_a_resumed_run_says_what_was_done_before() -> None:
    stream = io.StringIO()
    with progress(stream) as listener:
        listener(RunStarted("r", PLAN, done=6, estimate_s=60))
        listener(ended(BLOCKS["h1"][1], 0))
    assert "12 invocations, 6 done before" in stream.getvalue()
    assert "[7/12]" in stream.getvalue()


def test_the_live_display_keeps_off_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    with progress(stream, live=True) as listener:
        listener(STARTED)
        listener(InvocationStarted(BLOCKS["h1"][0], ORDER[1], 10))
        listener(ended(BLOCKS["h22"][0], 0))
        listener(ended(BLOCKS["h22"][0], 1, Status.FAILED, Reason.NO_OUTPUT, "nothing"))
        listener(Note("warning", "h1", "the load is high"))
    assert capsys.readouterr() == ("", "")
    text = stream.getvalue()
    assert "warning: h1: the load is high" in text
    assert "FAILED (no_output): nothing" in text
    assert "2,914 events/s" not in text, "what went well leaves no line behind"


def test_the_live_display_ends_its_thread() -> None:
    with progress(io.StringIO(), live=True):
        assert any(thread.name == "perfctl-display" for thread in threading.enumerate())
    assert not any(thread.name == "perfctl-display" for thread in threading.enumerate())


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("live", [False, True])
def test_a_broken_stream_does_not_stop_the_run(live: bool) -> None:
    with progress(Broken(), live=live) as listener:
        listener(STARTED)
        listener(Note("warning", "h1", "the load is high"))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def added(*blocks: Block, **changes: Any) -> WorkAdded:
    said = WorkAdded("cpu", "container on h1 needs 3 blocks", blocks, 60.0, 0.0, 0.0)
    return replace(said, **changes)


def test_more_work_is_said_with_the_new_total() -> None:
    stream = io.StringIO()
    with progress(stream) as listener:
        listener(STARTED)
        listener(added(block("h1", 2), block("h22", 2)))
        listener(ended(block("h1", 2), 0))
        listener(added(text="the pilot is\nenough", estimate_s=10.0, later_s=20.0))
        listener(added(block("h1", 0), where="", text="run once more", is_repetition=True))
    assert without_times(stream)[1:] == [
        "cpu: container on h1 needs 3 blocks; 6 invocations more, 18 in all, about 1 min 00 s to go",
        "[1/18] h1 cpu native block 2: 2,914 events/s",
        "cpu: the pilot is | enough, about 30.0 s to go",
        "run once more; 3 invocations more, 21 in all, about 1 min 00 s to go",
    ]


def test_more_work_stays_above_the_live_display() -> None:
    stream = io.StringIO()
    with progress(stream, live=True) as listener:
        listener(STARTED)
        listener(added(block("h1", 2)))
    assert "needs 3 blocks" in stream.getvalue()


def test_the_display_counts_on_when_there_is_more_to_do() -> None:
    clock = Clock()
    state = ProgressState(clock)
    state.take(replace(STARTED, later_s=50.0))
    assert state.remaining_s == 120 + 50
    clock.now += 60
    for host in ("h1", "h22"):
        for of in BLOCKS[host]:
            for place in range(3):
                state.take(ended(of, place))
    state.take(added(block("h1", 2), block("h1", 3)))
    assert (state.done, state.total) == (12, 18)
    # Twelve took a minute; six are to come, and nothing after them.
    assert state.remaining_s == pytest.approx(30)
    state.take(InvocationStarted(block("h1", 2), ORDER[0], 10))
    assert "block 3/4" in state.lines()[0]
    state.take(added(block("h1", 0), is_repetition=True))
    state.take(InvocationStarted(block("h1", 0), ORDER[0], 10))
    assert "block 1/4" in state.lines()[0]
    assert state.total == 21


def test_the_lines_of_the_display() -> None:
    clock = Clock()
    state = ProgressState(clock)
    state.take(STARTED)
    state.take(InvocationStarted(BLOCKS["h1"][1], ORDER[1], 10))
    clock.now += 4.4
    assert state.lines() == [
        "h1  cpu  container  block 2/2  4/10 s",
        "1 host waiting or done",
        "[..............................] 0/12 done, 4 s elapsed, about 1 min 56 s to go",
    ]
    state.take(ended(BLOCKS["h1"][1], 0))
    assert state.lines()[0] == "h1  cpu  container  block 2/2  last 2,914 events/s"
    state.take(ended(BLOCKS["h1"][1], 1, Status.FAILED, Reason.TIMEOUT))
    assert state.lines()[0] == "h1  cpu  container  block 2/2  last 2,914 events/s", (
        "the last value that there was"
    )
    assert state.lines()[-1].startswith("[#####.........................] 2/12 done, 1 failed, 4 s elapsed")


def test_a_host_that_is_done_gives_its_line_away() -> None:
    clock = Clock()
    state = ProgressState(clock)
    state.take(STARTED)
    state.take(InvocationStarted(BLOCKS["h1"][0], ORDER[0], 10))
    state.take(ended(BLOCKS["h1"][0], 0))
    clock.now += 9
    assert state.lines()[0].startswith("h1  cpu"), "the next one may begin at any time"
    clock.now += 2
    assert state.lines()[0] == "2 hosts waiting or done"


SCREENS = {
    40: [
        "host-name-100  cpu  container  block 1/2",
        "host-name-101  cpu  container  block 1/2",
        "+23 more, 75 hosts waiting or done",
        "0/600 done, about 1 min 56 s to go",
    ],
    80: [
        "host-name-100  cpu  container  block 1/2  4/10 s",
        "host-name-101  cpu  container  block 1/2  4/10 s",
        "+7 more, 75 hosts waiting or done",
        "[..............................] 0/600 done, 4 s elapsed, about 1 min 56 s to go",
    ],
    200: [
        "host-name-100  cpu  container  block 1/2  4/10 s",
        "host-name-101  cpu  container  block 1/2  4/10 s",
        "+7 more, 75 hosts waiting or done",
        "[..............................] 0/600 done, 4 s elapsed, about 1 min 56 s to go",
    ],
}
"""What a run on 100 hosts shows, 25 of them busy: width -> the first two lines and the last two."""


@pytest.mark.parametrize("width", SCREENS)
def test_a_hundred_hosts_take_twenty_lines_at_most(width: int) -> None:
    clock = Clock()
    state = ProgressState(clock)
    hosts = [f"host-name-{number}" for number in range(100, 200)]
    tracks = tuple(Track((block(host, 0), block(host, 1))) for host in hosts)
    state.take(RunStarted("r", replace(PLAN, rounds=(Round(tracks),)), done=0, estimate_s=120))
    for host in hosts[:25]:
        state.take(InvocationStarted(block(host, 0), ORDER[1], 10))
    clock.now += 4.4
    lines = state.lines(width, height=50 if width > 40 else 5)
    assert len(lines) == (20 if width > 40 else 4)
    assert max(map(len, lines)) <= width
    assert [*lines[:2], *lines[-2:]] == SCREENS[width]


def test_the_rest_is_estimated_from_the_pace_once_there_is_one() -> None:
    clock = Clock()
    state = ProgressState(clock)
    state.take(STARTED)
    assert state.remaining_s == 120
    clock.now += 60
    for place in range(3):
        state.take(ended(BLOCKS["h1"][0], place))
    assert state.remaining_s == pytest.approx(180)


def test_what_was_done_before_is_no_part_of_the_pace() -> None:
    clock = Clock()
    state = ProgressState(clock)
    state.take(RunStarted("r", PLAN, done=6, estimate_s=60))
    clock.now += 60
    for place in range(3):
        state.take(ended(BLOCKS["h1"][1], place))
    assert state.done == 9
    assert state.remaining_s == pytest.approx(60)


def test_provisioning_counts_outcomes_per_host_and_says_what_runs() -> None:
    clock = Clock()
    state = ProgressState(clock)
    state.take(TaskEnded("h1", "Gather facts", "ok"))
    state.take(TaskEnded("h1", "Install tools", "changed"))
    assert state.lines() == ["h1  Install tools  changed=1 ok=1", "2 tasks done, 1 changed, 0 s elapsed"]
    state.take(TaskStarted("h1", "Build the image"))
    clock.now += 72
    assert state.lines() == [
        "h1  Build the image, 1 min 12 s  changed=1 ok=1",
        "2 tasks done, 1 changed, 1 min 12 s elapsed",
    ]
    state.take(TaskEnded("h1", "Build the image", "skipped"))
    assert state.lines()[0] == "h1  Install tools  changed=1 ok=1", "a skipped task was none"


def test_more_hosts_than_the_terminal_has_lines() -> None:
    state = ProgressState(Clock())
    for number in range(40):
        state.take(TaskEnded(f"h{number}", "Install tools", "ok"))
    lines = state.lines(width=30, height=10)
    assert len(lines) < 10
    assert lines[-2:] == ["+33 more", "40 tasks done, 0 s elapsed"]
    assert max(len(line) for line in lines) <= 30


def test_a_log_of_a_playbook_says_what_runs_so_long() -> None:
    lines = Lines(io.StringIO(), wall_clock=lambda: 0.0)
    assert lines.heartbeat() == ""
    for number in range(5):
        lines(TaskStarted(f"h{number}", "Build\x1b the image"))
    lines(TaskEnded("h1", "Build\x1b the image", "changed"))
    assert lines.heartbeat()[9:] == (
        "still running: 1 task done, 1 changed, 0 s elapsed; h0: Build\\x1b the image;"
        " h2: Build\\x1b the image; h3: Build\\x1b the image; +1 more"
    )


def test_idle_tasks_are_in_no_line_of_json() -> None:
    stream = io.StringIO()
    with progress(stream, style="json") as listener:
        listener(TaskStarted("h1", "Install"))
        listener(TaskEnded("h1", "Install", "skipped"))
        listener(TaskEnded("h1", "role: Validating arguments against arg spec 'main'", "ok"))
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["task_started"]


@pytest.mark.parametrize("name", SCENES)
def test_the_screen_is_as_recorded(name: str) -> None:
    assert (RECORDED / f"{name}.txt").read_text() == recording(name), (
        "look at the change, then: python -m tests.unit.progress_screens"
    )
    for line in recording(name).splitlines():
        assert line.isprintable()


def test_a_log_has_a_line_at_least_now_and_then() -> None:
    stream = io.StringIO()
    beat = threading.Event()

    class Signalling(Lines):
        def heartbeat(self) -> str:
            text = super().heartbeat()
            if text:
                beat.set()
            return text

    with Signalling(stream, wall_clock=lambda: 0.0, heartbeat_s=0.01) as listener:
        listener(STARTED)
        assert beat.wait(60)
    lines = stream.getvalue().splitlines()
    assert re.fullmatch(r"\d\d:00:00 still running: 0/12 done, 0 s elapsed, about .* to go", lines[1])
    assert not any(thread.name == "perfctl-heartbeat" for thread in threading.enumerate())


def test_nothing_beats_before_a_run_or_when_silence_was_asked_for() -> None:
    assert Lines(io.StringIO()).heartbeat() == ""
    quiet = QuietLines(io.StringIO())
    quiet.state.take(STARTED)
    assert quiet.heartbeat() == ""


def everything(listener: Listener) -> None:
    """Let a listener hear one event of every kind."""
    listener(STARTED)
    listener(InvocationStarted(BLOCKS["h1"][0], ORDER[0], 10))
    listener(ended(BLOCKS["h1"][0], 0))
    listener(ended(BLOCKS["h1"][0], 1, Status.FAILED, Reason.TIMEOUT, "no end"))
    listener(Note("info", "", "pulling"))
    listener(Note("warning", "h1", "the load is high"))
    listener(TaskEnded("h1", "Install", "changed"))
    listener(TaskEnded("h1", "Install", "failed", "no package"))
    listener(RunEnded("r", "partial", 1, 1))


def test_quiet_prints_what_went_wrong_and_nothing_else() -> None:
    stream = io.StringIO()
    with progress(stream, style="quiet") as listener:
        everything(listener)
    assert stream.getvalue().splitlines() == [
        "[2/12] h1 cpu container block 0: FAILED (timeout): no end",
        "warning: h1: the load is high",
        "h1: Install: failed: no package",
        "run r: partial, 1 ok, 1 failed",
    ]


def test_json_has_an_object_per_event_with_how_far_the_run_is() -> None:
    stream = io.StringIO()
    with progress(stream, style="json") as listener:
        everything(listener)
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [record["event"] for record in records] == [
        *("run_started", "invocation_started", "invocation_ended", "invocation_ended", "note", "note"),
        *("task_ended", "task_ended", "run_ended"),
    ]
    assert (records[3]["status"], records[3]["done"], records[3]["total"], records[3]["failed"]) == (
        "failed",
        2,
        12,
        1,
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", records[0]["time"])


def test_the_style_is_chosen_by_option_or_environment(tmp_path: Path) -> None:
    assert load_settings(tmp_path, environ={}).progress is None
    assert load_settings(tmp_path, environ={"PERFCTL_PROGRESS": "json"}).progress == "json"
    assert load_settings(tmp_path, progress="plain", environ={"PERFCTL_PROGRESS": "json"}).progress == "plain"
    assert load_settings(tmp_path, progress="plain", is_quiet=True, environ={}).progress == "quiet"


def test_a_style_that_there_is_not_is_an_error() -> None:
    with pytest.raises(UsageError, match="no progress 'loud'"), progress(io.StringIO(), style="loud"):
        pass


def test_a_terminal_gets_lines_where_colour_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    with progress(stream) as listener:
        listener(STARTED)
    assert stream.getvalue() == "run 0193-run: 12 invocations, about 2 min 00 s\n"


def test_an_error_has_at_most_three_lines() -> None:
    stream = io.StringIO()
    print_error(HostUnreachable("no answer\nafter 5 s", where="h1", hint="is sshd up?"), stream)
    assert stream.getvalue() == "error: no answer | after 5 s\n  where: h1\n  try:   is sshd up?\n"
    stream = io.StringIO()
    print_error(PerfctlError("broken \x1b[2J"), stream)
    assert stream.getvalue() == "error: broken \\x1b[2J\n"


def test_an_error_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(PerfctlError("broken"))
    assert capsys.readouterr() == ("", "error: broken\n")
