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

from perfctl.errors import UsageError
from perfctl.model import Event, Listener, Note, RunEnded, RunStarted, WorkAdded
from perfctl.output.lines import JsonLines, Lines, QuietLines, event_line, is_trouble
from perfctl.output.messages import wants_color
from perfctl.output.state import ProgressState

if TYPE_CHECKING:
    from rich.console import Console

REFRESH_S = 0.5


STYLES = ("rich", "plain", "json", "quiet")
"""What `--progress` takes: a display on a terminal, lines, lines for programs, or only what went wrong."""


@contextlib.contextmanager
def progress(
    stream: IO[str] | None = None, *, style: str | None = None, live: bool | None = None
) -> Iterator[Listener]:
    """Give a listener that shows events on `stream` (stderr) until the block ends.

    `style` is one of `STYLES`; by default a terminal has the live display, and anything else lines. `live`
    forces or forbids the display. A stream that breaks silences the display and never the run. Raises
    UsageError for another style.
    """
    if style is not None and style not in STYLES:
        raise UsageError(f"there is no progress {style!r}", hint=f"one of: {', '.join(STYLES)}")
    target = sys.stderr if stream is None else stream
    is_live = (style == "rich" if style else wants_color(target)) if live is None else live
    if is_live:
        with _LiveDisplay(target) as listener:
            yield listener
        return
    lines = {"json": JsonLines, "quiet": QuietLines}.get(style or "", Lines)
    with lines(target) as listener:
        yield listener


def stays(event: Event) -> bool:
    """Return whether the line for `event` stays above the live display."""
    return is_trouble(event) or isinstance(event, (Note, RunStarted, RunEnded, WorkAdded))


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
            if stays(event):
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
