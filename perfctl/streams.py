"""Standard output and error whose readers may go away, or never read, without harm to a command."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import IO, TextIO, cast

from perfctl.redaction import redact

_MOST_WAITING = 1 << 18
"""Characters that wait for a reader of stderr; older ones are left out."""
_PIECE_BYTES = 4096
"""Bytes of one write to a pipe: whole or not at all (PIPE_BUF), so that lines of others are not cut."""
_READER_GONE = (errno.EPIPE, errno.EIO)
"""What a write meets when the reader of a pipe has ended, or the terminal was closed."""


class StandardError(io.TextIOBase):
    """A bounded queue of text without secrets, and a thread that writes it to a file descriptor.

    No write waits or fails, whether anybody reads or not. `drain` waits for the reader.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, descriptor: int, encoding: str = "utf-8") -> None:
        self._descriptor = descriptor
        self.encoding = encoding
        self._waiting: deque[str] = deque()
        self._size = 0
        self._lost_lines = 0
        self._is_writing = False
        self._last_progress = time.monotonic()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: object) -> int:
        """Add `text` to the queue; the oldest text makes room where nobody reads."""
        if not isinstance(text, str):
            # click finds out in this way whether a stream takes text or bytes.
            raise TypeError(f"text is written here, not {type(text).__name__}")
        if not text:
            return 0
        with self._changed:
            if self._thread is None:
                self._last_progress = time.monotonic()
                self._thread = threading.Thread(target=self._work, name="perfctl-stderr", daemon=True)
                self._thread.start()
            self._waiting.append(redact(text))
            self._size += len(self._waiting[-1])
            while self._size > _MOST_WAITING and len(self._waiting) > 1:
                oldest = self._waiting.popleft()
                self._size -= len(oldest)
                self._lost_lines += oldest.count("\n")
            self._changed.notify_all()
        return len(text)

    def drain(self, patience_s: float) -> None:
        """Return when everything is written, or nothing could be written for `patience_s`."""
        with self._changed:
            begun = time.monotonic()
            while self._waiting or self._is_writing:
                left = max(self._last_progress, begun) + patience_s - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(left)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                while not self._waiting:
                    self._changed.wait()
                text = "".join(self._waiting)
                if self._lost_lines:
                    text = f"({self._lost_lines} lines left out: they were not read in time)\n{text}"
                self._waiting.clear()
                self._size = self._lost_lines = 0
                self._is_writing = True
            self._put(text.encode(self.encoding, self.errors))

    def _put(self, data: bytes) -> None:
        while data:
            try:
                written = os.write(self._descriptor, data[:_PIECE_BYTES])
            except BlockingIOError:
                # Another program has set the terminal or pipe that we share to non-blocking.
                select.select([], [self._descriptor], [], 1.0)
                continue
            except OSError:
                return
            data = data[written:]
            with self._changed:
                self._last_progress = time.monotonic()
                self._changed.notify_all()


class StandardOutput(io.TextIOWrapper):
    """Standard output that stays silent once its reader is gone: the command goes on to its own exit code.

    Any other failure, such as a full disk, is an OSError, once. `before_write` is called first.
    """

    def __init__(self, stream: io.TextIOWrapper, before_write: Callable[[], None]) -> None:
        super().__init__(
            _Unbroken(stream.fileno()),
            stream.encoding,
            "backslashreplace",
            line_buffering=stream.line_buffering,
        )
        self._before_write = before_write

    def write(self, text: str) -> int:
        """Write text, after what stderr has to say."""
        self._before_write()
        return super().write(text)


class _Unbroken(io.BufferedWriter):
    """Bytes for a file descriptor; those that nobody is there to read are dropped."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(io.FileIO(descriptor, "wb", closefd=False))
        self._descriptor = descriptor

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write bytes; return how many."""
        try:
            return super().write(data)
        except OSError as error:
            self._drop(error)
            return len(data)

    def flush(self) -> None:
        """Write what is buffered."""
        try:
            super().flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        # What is still buffered must not fail once more when it is flushed.
        discard(self._descriptor)
        if error.errno not in _READER_GONE:
            error.filename = "standard output"
            raise error


def discard(descriptor: int) -> None:
    """Have everything written to a file descriptor from now on go nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def open_closed_streams() -> None:
    """Open file descriptors 0 to 2 where the caller closed them (`>&-`): they then read and write nothing.

    Else the next file that is opened, such as the database, would be the standard output of every program.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free one, which is this one.
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


@contextlib.contextmanager
def safe_streams() -> Iterator[StandardError | None]:
    """Replace sys.stdout and sys.stderr of a process by safe ones; yield the latter.

    Streams that are not the process's own, such as those that a test puts there, stay: None.
    """
    open_closed_streams()
    out, err = sys.stdout, sys.stderr
    if not isinstance(out, io.TextIOWrapper) or (_descriptor_of(out), _descriptor_of(err)) != (1, 2):
        yield None
        return
    error = StandardError(2, err.encoding)
    sys.stderr = cast(TextIO, error)
    sys.stdout = StandardOutput(out, lambda: error.drain(_ORDER_PATIENCE_S))
    try:
        yield error
    finally:
        sys.stdout, sys.stderr = out, err


_ORDER_PATIENCE_S = 0.2
"""How long text on stdout waits for what was said on stderr before it."""


def _descriptor_of(stream: IO[str]) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None
