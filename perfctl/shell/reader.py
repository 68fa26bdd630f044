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
        """Return exactly that many bytes."""
        deadline = time.monotonic() + timeout_s
        while len(self._buffer) < size_bytes:
            self._more(deadline, timeout_s)
        return self._take(size_bytes, 0)

    def until(self, mark: bytes, timeout_s: float) -> bytes:
        """Return the bytes before `mark` and drop the mark."""
        deadline = time.monotonic() + timeout_s
        searched = 0
        while (found := self._buffer.find(mark, searched)) < 0:
            # The mark may straddle two pieces: search its possible beginning again.
            searched = max(0, len(self._buffer) - len(mark) + 1)
            self._more(deadline, timeout_s)
        return self._take(found, len(mark))

    def part(self, mark: bytes, most_bytes: int, timeout_s: float) -> tuple[bytes, bool]:
        """Return at most `most_bytes` of the bytes before `mark`, and whether there were more.

        In memory there is one copy of what is returned, besides the last pieces that came.
        """
        deadline = time.monotonic() + timeout_s
        kept = io.BytesIO()
        size_bytes = 0
        is_whole = False
        while not is_whole:
            found = self._buffer.find(mark)
            is_whole = found >= 0
            # The mark may straddle two pieces: its possible beginning stays for the next search.
            ready = found if is_whole else max(0, len(self._buffer) - len(mark) + 1)
            with memoryview(self._buffer) as view:
                kept.write(view[: min(ready, max(0, most_bytes - size_bytes))])
            size_bytes += ready
            del self._buffer[: ready + (len(mark) if is_whole else 0)]
            if not is_whole:
                self._more(deadline, timeout_s)
        return kept.getvalue(), size_bytes > most_bytes

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
