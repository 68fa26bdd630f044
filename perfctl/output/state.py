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
    outcomes: dict[str, int] = field(default_factory=dict)

    def is_busy(self, now: float) -> bool:
        """Return whether it does something: between two invocations a host is about to go on."""
        return bool(self.text) and (self.idle_since is None or now - self.idle_since < _IDLE_S)


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
            case TaskEnded(host=host, task=task, outcome=outcome):
                line = self._hosts.setdefault(host, _HostLine())
                line.outcomes[outcome] = line.outcomes.get(outcome, 0) + 1
                line.text = task
                line.started = None
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
            visible(f"{_cut(name, size):<{size}}  {self._host_text(line)}")[:width]
            for name, line in shown.items()
        ]
        more, waiting = len(busy) - len(shown), len(self._hosts) - len(busy)
        parts = [f"+{more} more"] if more else []
        parts += [f"{counted(waiting, 'host')} waiting or done"] if waiting and self.total else []
        if parts:
            lines.append(", ".join(parts)[:width])
        if self.total:
            lines.append(f"{self._bar(width)}{self.summary(width)}"[:width])
        return lines

    def summary(self, width: int | None = None) -> str:
        """Return how far the run is, e.g. '3/12 done, 1 failed, 4 s elapsed, about 1 min 56 s to go'.

        Where that is longer than `width` the time so far is left out.
        """
        if not self.total:
            return ""
        counts = {"failed": self.failed, "flagged": self.flagged, "invalid": self.invalid}
        shown = "".join(f", {count} {name}" for name, count in counts.items() if count)
        elapsed = _clock_text(self._clock() - self._started)
        left = _clock_text(self.remaining_s)
        whole = f"{self.done}/{self.total} done{shown}, {elapsed} elapsed, about {left} to go"
        return whole if width is None or len(whole) <= width else whole.replace(f", {elapsed} elapsed", "")

    def _bar(self, width: int) -> str:
        """Return the total bar, as long as there is room for beside the words; '' on a narrow terminal."""
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

    def _host_text(self, line: _HostLine) -> str:
        if line.outcomes:
            counts = " ".join(f"{outcome}={count}" for outcome, count in sorted(line.outcomes.items()))
            return f"{line.text}  {counts}"
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
