"""Read lines, counted bytes and marked bytes from a source that delivers pieces of any size."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

from perfctl.errors import CommandTimeout, HostUnreachable

Receive = Callable[[float], bytes | None]
"""Given seconds to wait, returns the next piece, b'' at the end, None when the time is up."""


class PieceReader:
    """Reads from `receive`; `error_output` returns the stderr of the other side when it ended too early."""

    def __init__(self, receive: Receive, where: str, error_output: Callable[[], str]) -> None:
        self._receive = receive
        self._where = where
        self._error_output = error_output
        self._buffer = bytearray()

    @property
    def unread(self) -> bytes:
        """What has arrived and was not returned yet."""
        return bytes(self._buffer)

    def line(self, timeout_s: float) -> bytes:
        """Return one line with its newline."""
        return self.until(b"\n", timeout_s) + b"\n"

    def exactly(self, size_bytes: int, timeout_s: float) -> bytes:
        """Return exactly that many bytes.

        In memory there is one copy of them, besides the last pieces that came.
        """
        deadline = time.monotonic() + timeout_s
        found = io.BytesIO()
        while (left := size_bytes - found.tell()) > len(self._buffer):
            found.write(self._buffer)
            self._buffer.clear()
            self._more(deadline, timeout_s)
        with memoryview(self._buffer) as view:
            found.write(view[:left])
        del self._buffer[:left]
        return found.getvalue()

    def until(self, mark: bytes, timeout_s: float) -> bytes:
        """Return the bytes before `mark` and drop the mark."""
        deadline = time.monotonic() + timeout_s
        searched = 0
        while (found := self._buffer.find(mark, searched)) < 0:
            # The mark may straddle two pieces: search its possible beginning again.
            searched = max(0, len(self._buffer) - len(mark) + 1)
            self._more(deadline, timeout_s)
        return self._take(found, len(mark))

    def _take(self, size_bytes: int, dropped: int) -> bytes:
        taken = bytes(self._buffer[:size_bytes])
        del self._buffer[: size_bytes + dropped]
        return taken

    def _more(self, deadline: float, timeout_s: float) -> None:
        piece = self._receive(max(0.0, deadline - time.monotonic()))
        if piece is None:
            raise CommandTimeout(f"no answer within {timeout_s:g} s", where=self._where)
        if not piece:
            output = self._error_output()
            raise HostUnreachable(
                f"the other end is gone{': ' + output if output else ''}", where=self._where
            )
        self._buffer += piece
