"""Progress as lines: for a pipe or a log, for a program (JSON), or only what went wrong."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, Self

from perfctl.model import (
    Event,
    InvocationEnded,
    Note,
    RunEnded,
    RunStarted,
    Status,
    TaskEnded,
    TaskStarted,
    WorkAdded,
)
from perfctl.model.quantity import duration
from perfctl.output.state import ProgressState
from perfctl.output.text import joined_lines, visible

HEARTBEAT_S = 30.0
"""After so long without a line, one says that the run goes on: who reads a log must not take it for dead."""


class Lines:
    """Prints one line per event, and one where nothing happened for long. A context manager."""

    def __init__(
        self,
        stream: IO[str],
        *,
        wall_clock: Callable[[], float] = time.time,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._stream = stream
        self._wall_clock = wall_clock
        self._heartbeat_s = heartbeat_s
        self._lock = threading.Lock()
        self._printed_at = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="perfctl-heartbeat", daemon=True)
        self.state = ProgressState()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def __call__(self, event: Event) -> None:
        """Print the line of an event, if it has one. A stream that breaks is never the run's trouble."""
        with self._lock:
            self.state.take(event)
            self._print(self.line(event))

    def line(self, event: Event) -> str:
        """Return the line of an event, '' for none: what happened in a run begins with the time of day."""
        text = event_line(event, self.state)
        return f"{self._time()} {text}" if text and isinstance(event, InvocationEnded) else text

    def heartbeat(self) -> str:
        """Return the line that is printed when nothing has been for long; '' for none."""
        text = "; ".join(filter(None, (self.state.summary(), *self.state.tasks())))
        return f"{self._time()} still running: {text}" if text else ""

    def _time(self) -> str:
        return time.strftime("%H:%M:%S", time.localtime(self._wall_clock()))

    def _beat(self) -> None:
        # Not woken up by each line: of many hosts there are hundreds in a second.
        left_s = self._heartbeat_s
        while not self._stop.wait(left_s):
            left_s = self._printed_at + self._heartbeat_s - time.monotonic()
            if left_s <= 0:
                with self._lock:
                    self._print(self.heartbeat())
                left_s = self._heartbeat_s

    def _print(self, text: str) -> None:
        if text:
            self._printed_at = time.monotonic()
            with contextlib.suppress(OSError, ValueError):
                print(text, file=self._stream, flush=True)


class QuietLines(Lines):
    """Prints what went wrong and nothing else."""

    def line(self, event: Event) -> str:
        """Return the line of a failure or a warning."""
        return event_line(event, self.state) if is_trouble(event) else ""

    def heartbeat(self) -> str:
        """Return '': silence is what was asked for."""
        return ""


class JsonLines(Lines):
    """Prints one JSON object per event, for programs that watch a run."""

    def line(self, event: Event) -> str:
        """Return the event's name, its text, when it was, and how far the run is; '' for an idle task."""
        if isinstance(event, TaskEnded) and event.is_idle:
            return ""
        return self._record(_name(event), event_line(event, self.state), status=_status(event))

    def heartbeat(self) -> str:
        """Return the same of no event, while there is a run."""
        text = "; ".join(filter(None, (self.state.summary(), *self.state.tasks())))
        return self._record("heartbeat", text) if text else ""

    def _record(self, name: str, text: str, *, status: str | None = None) -> str:
        left = self.state.remaining_s
        record = {
            "time": datetime.fromtimestamp(self._wall_clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "event": name,
            "text": text,
            "status": status,
            "done": self.state.done,
            "total": self.state.total,
            "failed": self.state.failed,
            "remaining_s": None if left is None else round(left, 1),
        }
        return json.dumps(record)


def event_line(event: Event, state: ProgressState) -> str:
    """Return the line for `event`, '' for one that has none."""
    match event:
        case RunStarted(run_id=run_id, plan=plan, done=done, estimate_s=estimate_s):
            before = f", {done} done before" if done else ""
            return f"run {run_id}: {plan.invocation_count} invocations{before}, about {duration(estimate_s)}"
        case WorkAdded(where=where, text=text, blocks=blocks):
            place = f"{where}: " if where else ""
            more = sum(len(block.invocations) for block in blocks)
            added = f"; {more} invocations more, {state.total} in all" if more else ""
            return visible(f"{place}{joined_lines(text)}{added}, about {duration(event.ahead_s)} to go")
        case InvocationEnded(status=Status.SKIPPED):
            # What a host refuses was told once, before the first block; the last line counts it.
            return ""
        case InvocationEnded():
            return f"[{state.done}/{state.total}] {_invocation_text(event)}"
        case TaskEnded(outcome="ok" | "skipped") | TaskStarted():
            return ""
        case TaskEnded(host=host, task=task, outcome=outcome, message=message):
            return visible(f"{host}: {task}: {outcome}" + (f": {joined_lines(message)}" if message else ""))
        case Note(level=level, where=where, text=text):
            place = f"{where}: " if where else ""
            return visible(("warning: " if level == "warning" else "") + place + joined_lines(text))
        case RunEnded(run_id=run_id, status=status, ok=ok, failed=failed, skipped=skipped):
            left_out = f", {skipped} skipped: perfctl show {run_id} says why" if skipped else ""
            return f"run {run_id}: {status}, {ok} ok, {failed} failed{left_out}"
        case _:
            return ""


def is_trouble(event: Event) -> bool:
    """Return whether an event is a failure or a warning."""
    match event:
        case InvocationEnded(status=status, validity=validity):
            # On a host that others use, every invocation may be flagged.
            return status not in (Status.OK, Status.SKIPPED) or validity == "invalid"
        case TaskEnded(outcome=outcome):
            return outcome in ("failed", "unreachable")
        case Note(level=level):
            return level == "warning"
        case RunEnded(failed=failed):
            return failed > 0
        case _:
            return False


def _invocation_text(event: InvocationEnded) -> str:
    block = event.block
    name = event.invocation.environment
    if event.invocation.replicate > 1:
        name += f" (replicate {event.invocation.replicate})"
    where = f"{block.target} {block.benchmark} {name} block {block.index}"
    if event.status is Status.OK:
        remarks = "".join(f"; {joined_lines(text)}" for text in (event.detail, event.remark) if text)
        return visible(f"{where}: {joined_lines(event.headline) or 'ok'}{remarks}")
    reason = f" ({event.reason})" if event.reason else ""
    return visible(f"{where}: {event.status.upper()}{reason}: {joined_lines(event.detail)}".rstrip(": "))


def _name(event: Event) -> str:
    return re.sub(r"(?<=.)([A-Z])", r"_\1", type(event).__name__).lower()


def _status(event: Event) -> str | None:
    match event:
        case InvocationEnded(status=status):
            return str(status)
        case TaskEnded(outcome=outcome):
            return outcome
        case Note(level=level):
            return level
        case RunEnded(status=status):
            return status
        case _:
            return None
