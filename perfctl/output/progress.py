"""Progress on stderr: a live display on a terminal, plain lines elsewhere.

It must not disturb a measurement: the listener only records events, and the display is drawn by a thread of
its own at most twice a second, and only when its text has changed. Nothing is ever written to stdout.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from perfctl.model import (
    Event,
    InvocationEnded,
    Listener,
    Note,
    RunEnded,
    RunStarted,
    Status,
    TaskEnded,
    WorkAdded,
)
from perfctl.model.quantity import duration
from perfctl.output.messages import wants_color
from perfctl.output.state import ProgressState
from perfctl.output.text import joined_lines, visible

if TYPE_CHECKING:
    from rich.console import Console

REFRESH_S = 0.5


@contextlib.contextmanager
def progress(stream: IO[str] | None = None, *, live: bool | None = None) -> Iterator[Listener]:
    """Give a listener that shows events on `stream` (stderr) until the block ends.

    `live` forces or forbids the live display; by default a terminal has it. A stream that breaks silences the
    display and never the run.
    """
    target = sys.stderr if stream is None else stream
    if wants_color(target) if live is None else live:
        with _LiveDisplay(target) as listener:
            yield listener
    else:
        yield _PlainLines(target)


class _PlainLines:
    """Prints one line per event."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._state = ProgressState()
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._state.take(event)
            text = event_line(event, self._state)
            if text:
                with contextlib.suppress(OSError, ValueError):
                    print(text, file=self._stream, flush=True)


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
        case TaskEnded(outcome="ok" | "skipped"):
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


def _stays(event: Event) -> bool:
    """Return whether the line for `event` stays above the live display."""
    match event:
        case InvocationEnded(status=status, validity=validity):
            # On a host that others use, every invocation may be flagged.
            return status not in (Status.OK, Status.SKIPPED) or validity == "invalid"
        case TaskEnded(outcome=outcome):
            return outcome in ("failed", "unreachable")
        case _:
            return isinstance(event, (Note, RunStarted, RunEnded, WorkAdded))


def _console(stream: IO[str]) -> Console:
    from rich.console import Console

    class QuietConsole(Console):
        """A broken pipe ends the display; rich itself would end the program."""

        def on_broken_pipe(self) -> None:
            self.quiet = True

    return QuietConsole(file=stream, force_terminal=True)


class _LiveDisplay:
    """The display at the foot of a terminal, and the lines that stay above it. A context manager."""

    def __init__(self, stream: IO[str]) -> None:
        from rich.live import Live

        self._console = _console(stream)
        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
        self._state = ProgressState()
        self._lasting: list[str] = []
        self._shown = ""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="perfctl-display", daemon=True)

    def __enter__(self) -> Listener:
        with contextlib.suppress(OSError, ValueError):
            self._live.start()
        self._thread.start()
        return self._listen

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(OSError, ValueError):
            self._draw()
        with contextlib.suppress(OSError, ValueError):
            self._live.stop()

    def _listen(self, event: Event) -> None:
        with self._lock:
            self._state.take(event)
            if _stays(event):
                self._lasting.append(event_line(event, self._state))

    def _loop(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while not self._stop.wait(REFRESH_S):
                self._draw()

    def _draw(self) -> None:
        from rich.text import Text

        with self._lock:
            lasting, self._lasting = self._lasting, []
            text = "\n".join(self._state.lines(self._console.width, self._console.height))
        for line in lasting:
            self._console.print(Text(line))
        if text != self._shown:
            self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
            self._shown = text
