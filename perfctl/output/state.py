"""The state of a run, built from its events; pure but for the clock that it is given."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from perfctl.model import (
    Event,
    InvocationEnded,
    InvocationStarted,
    Plan,
    RunStarted,
    Status,
    TaskEnded,
    TaskStarted,
    WorkAdded,
)
from perfctl.model.quantity import counted, duration
from perfctl.output.text import visible

_TRUST_PACE_FROM = 0.05
"""The share of the work after which the pace so far predicts the rest better than the estimate."""


MOST_LINES = 20
"""Of the display: hosts that have no line any more are counted."""

_IDLE_S = 10.0
"""After so long without an invocation a host has no line any more: it waits for others, or is done."""
_LONGEST_BAR, _SHORTEST_BAR = 30, 6
_MOMENT_S = 5
_SHORTEST_TASK = 12
_TOLD = ("changed", "failed", "unreachable")
"""Outcomes of tasks that are counted one by one."""


@dataclass(slots=True)
class _HostLine:
    text: str = ""
    """What it does or did last; '' until it begins."""
    started: float | None = None
    expected_s: float = 0.0
    last: str = ""
    """The last value that was measured."""
    idle_since: float | None = None
    """When its last invocation ended; None while one runs."""
    task: str = ""
    """The task of a playbook that runs there."""
    outcomes: dict[str, int] = field(default_factory=dict)

    def is_busy(self, now: float) -> bool:
        """Return whether it does something: between two invocations a host is about to go on."""
        return bool(self.text or self.task) and (self.idle_since is None or now - self.idle_since < _IDLE_S)


class ProgressState:
    """Counts and per-host lines. Not thread-safe: its owner holds a lock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hosts: dict[str, _HostLine] = {}
        self._blocks: dict[tuple[str, str], int] = {}
        self._weights: dict[str, float] = {}
        self._started = clock()
        self._estimate_s: float | None = None
        self._work_s = 0.0
        self._work_done_s = 0.0
        self._later_s = 0.0
        self._tasks: dict[str, int] = {}
        self.total = 0
        self.done = 0
        self.failed = 0
        self.flagged = 0
        self.invalid = 0

    def take(self, event: Event) -> None:
        """Update the state by an event."""
        match event:
            case RunStarted(plan=plan, done=done, estimate_s=estimate_s, later_s=later_s):
                self._begin(plan, done, estimate_s)
                self._later_s = later_s
            case WorkAdded():
                self._work_added(event)
            case InvocationStarted():
                self._invocation_started(event)
            case InvocationEnded():
                self._invocation_ended(event)
            case TaskStarted(host=host, task=task):
                line = self._hosts.setdefault(host, _HostLine())
                line.task, line.started = task, self._clock()
            case TaskEnded(host=host, task=task, outcome=outcome):
                line = self._hosts.setdefault(host, _HostLine())
                line.task, line.started = "", None
                if not event.is_idle:
                    self._tasks[outcome] = self._tasks.get(outcome, 0) + 1
                    line.outcomes[outcome] = line.outcomes.get(outcome, 0) + 1
                    line.text = task
            case _:
                pass

    @property
    def remaining_s(self) -> float | None:
        """The estimated time to the end: from the plan at first, from the pace later; None: unknown.

        Includes second stages that are not decided yet, as expected from earlier runs.
        """
        if self._estimate_s is None or self._work_s <= 0:
            return None
        elapsed = self._clock() - self._started
        share = min(1.0, self._work_done_s / self._work_s)
        if share < _TRUST_PACE_FROM:
            return max(0.0, self._estimate_s - elapsed) + self._later_s
        return elapsed * (1 - share) / share + self._later_s

    def lines(self, width: int = 110, height: int = 50) -> list[str]:
        """Return the display: a line per busy host (at most `MOST_LINES` with the total), then the total.

        Hosts of a run that wait or are done have no line: they are counted. Of tasks every host has one.
        """
        now = self._clock()
        busy = {name: line for name, line in self._hosts.items() if line.is_busy(now)}
        kept = max(1, min(MOST_LINES, height - 1) - 2)
        shown = dict(list(busy.items())[: kept if len(busy) > kept else None])
        size = min(max((len(name) for name in shown), default=0), max(8, width // 3))
        lines = [
            visible(f"{_cut(name, size):<{size}}  {self._host_text(line, width - size - 2)}")[:width]
            for name, line in shown.items()
        ]
        more, waiting = len(busy) - len(shown), len(self._hosts) - len(busy)
        parts = [f"+{more} more"] if more else []
        parts += [f"{counted(waiting, 'host')} waiting or done"] if waiting and self.total else []
        if parts:
            lines.append(", ".join(parts)[:width])
        if self.total or self._tasks:
            lines.append(f"{self._bar(width)}{self.summary(width)}"[:width])
        return lines

    def tasks(self) -> list[str]:
        """Return what each host is at, of a playbook, e.g. 'h1: Install tools, 72 s'; three hosts at most."""
        busy = [(name, line) for name, line in self._hosts.items() if line.task]
        shown = [visible(f"{name}: {line.task}{self._seconds(line)}") for name, line in busy[:3]]
        return [*shown, *([f"+{len(busy) - 3} more"] if len(busy) > 3 else [])]

    def summary(self, width: int | None = None) -> str:
        """Return how far the run is, e.g. '3/12 done, 1 failed, 4 s elapsed, about 1 min 56 s to go'.

        Where that is longer than `width` the time so far is left out, then more. Of a playbook, whose number
        of tasks nobody knows before: '38 tasks done, 3 changed, 4 s elapsed'; '' before anything happened.
        """
        elapsed = _clock_text(self._clock() - self._started)
        if not self.total:
            outcomes = "".join(f", {self._tasks[name]} {name}" for name in _TOLD if name in self._tasks)
            tasks = counted(sum(self._tasks.values()), "task")
            return f"{tasks} done{outcomes}, {elapsed} elapsed" if self._tasks else ""
        counts = {"failed": self.failed, "flagged": self.flagged, "invalid": self.invalid}
        shown = {name: f", {count} {name}" if count else "" for name, count in counts.items()}
        left = _clock_text(self.remaining_s)
        done, failed, judged = f"{self.done}/{self.total} done", shown.pop("failed"), "".join(shown.values())
        forms = (
            f"{done}{failed}{judged}, {elapsed} elapsed, about {left} to go",
            f"{done}{failed}{judged}, about {left} to go",
            f"{done}{failed}, about {left} to go",
            f"{done}{failed}, {left} to go",
        )
        return next((form for form in forms if width is None or len(form) <= width), forms[-1])

    def _bar(self, width: int) -> str:
        """Return the total bar, as long as there is room for beside the words; '' on a narrow terminal.

        There is none where the total is not known.
        """
        if not self.total:
            return ""
        room = min(_LONGEST_BAR, width - len(self.summary()) - 3)
        if room < _SHORTEST_BAR:
            return ""
        full = min(room, room * self.done // self.total)
        return f"[{'#' * full}{'.' * (room - full)}] "

    def _begin(self, plan: Plan, done: int, estimate_s: float) -> None:
        self._started = self._clock()
        self.total, self.done, self._estimate_s = plan.invocation_count, done, estimate_s
        self._weights = {benchmark.name: benchmark.expected_s for benchmark in plan.benchmarks}
        for block in plan.blocks():
            name = str(block.target)
            self._hosts.setdefault(name, _HostLine())
            key = (name, block.benchmark)
            self._blocks[key] = self._blocks.get(key, 0) + 1
            self._work_s += self._weights.get(block.benchmark, 1.0) * len(block.invocations)
        # What an earlier process did is no part of this one's pace.
        self._work_s *= 1 - done / self.total if self.total else 1

    def _work_added(self, event: WorkAdded) -> None:
        self.total += sum(len(block.invocations) for block in event.blocks)
        self._later_s = event.later_s
        # What is to come may be of another kind than what is done: count on from here at the pace so far.
        self._estimate_s = self._clock() - self._started + event.estimate_s
        for block in event.blocks:
            self._work_s += self._weights.get(block.benchmark, 1.0) * len(block.invocations)
            if not event.is_repetition:
                key = (str(block.target), block.benchmark)
                self._blocks[key] = self._blocks.get(key, 0) + 1

    def _invocation_started(self, event: InvocationStarted) -> None:
        block = event.block
        name = str(block.target)
        line = self._hosts.setdefault(name, _HostLine())
        of = self._blocks.get((name, block.benchmark))
        number = f"{block.index + 1}/{of}" if of else f"{block.index + 1}"
        line.text = f"{block.benchmark}  {event.invocation.environment}  block {number}"
        line.started, line.expected_s, line.idle_since = self._clock(), event.expected_s, None

    def _invocation_ended(self, event: InvocationEnded) -> None:
        self.done += 1
        self.failed += event.status is Status.FAILED
        if event.status is Status.OK:
            self.flagged += event.validity == "flagged"
            self.invalid += event.validity == "invalid"
        self._work_done_s += self._weights.get(event.block.benchmark, 1.0)
        line = self._hosts.setdefault(str(event.block.target), _HostLine())
        line.started, line.idle_since = None, self._clock()
        if event.status is Status.OK and event.headline:
            line.last = event.headline

    def _seconds(self, line: _HostLine) -> str:
        """Return how long a task has run, once that is more than a moment: ', 72 s'."""
        seconds = 0 if line.started is None else int(self._clock() - line.started)
        return f", {_clock_text(seconds)}" if line.task and seconds >= _MOMENT_S else ""

    def _host_text(self, line: _HostLine, room: int) -> str:
        """Return what a host does; of a long task as much of its name as fits into `room` characters."""
        if line.outcomes or line.task:
            counts = " ".join(f"{outcome}={count}" for outcome, count in sorted(line.outcomes.items()))
            tail = self._seconds(line) + (f"  {counts}" if counts else "")
            return _cut(line.task or line.text, max(_SHORTEST_TASK, room - len(tail))) + tail
        last = f"  last {line.last}" if line.last else ""
        if line.started is None:
            return line.text + last
        return f"{line.text}  {int(self._clock() - line.started)}/{line.expected_s:.0f} s{last}"


def _cut(name: str, size: int) -> str:
    return name if len(name) <= size else f"{name[: size - 1]}…"


def _clock_text(seconds: float | None) -> str:
    """Return whole seconds as text, so that the display changes once a second and not twice."""
    if seconds is None or seconds >= 60:
        return duration(seconds)
    return f"{round(seconds)} s"
