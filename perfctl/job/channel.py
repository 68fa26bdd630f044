"""One channel to a run's job server. Once ready it waits on the host without a byte on the wire."""

from __future__ import annotations

from collections.abc import Sequence

from perfctl.errors import HostUnreachable
from perfctl.job.protocol import (
    COUNTER_PARTS,
    OUTPUT_PARTS,
    JobLost,
    Request,
    Result,
    output_limit_bytes,
    unquote,
)
from perfctl.job.script import script_argv
from perfctl.shell import Stream, Transport

_ANSWER_S = 30.0
_TRANSFER_S = 600.0
# The host ends a job itself; after this much more than its time, the host counts as lost.
_MARGIN_S = 25.0


class Channel:
    """A channel for one request at a time. It attaches when it is used, and again after it broke."""

    def __init__(self, transport: Transport, spool: str, number: int) -> None:
        self.number = number
        self._transport = transport
        self._spool = spool
        self._where = transport.name
        self._open: Stream | None = None
        self._mark = b""

    @property
    def _stream(self) -> Stream:
        """The channel. Raises HostUnreachable, JobLost (no server runs), CommandTimeout."""
        if self._open is None:
            stream = self._transport.stream(script_argv(self._spool, "attach", str(self.number)))
            try:
                word, _, self._mark = stream.read_line(timeout_s=_ANSWER_S).strip().partition(b" ")
                if word != b"ready":
                    raise JobLost(where=self._where)
            except BaseException:
                stream.close()
                raise
            self._open = stream
        return self._open

    def attach(self) -> None:
        """Make the channel ready now, so that the first request need not."""
        assert self._stream

    def run(self, request: Request) -> Result:
        """Run a job, or wait for it where it was requested before, and return its result."""
        try:
            self._stream.write(request.line("run", self.number))
            return self._result(request.timeout_s, request.output_limit_bytes)
        except BaseException:
            self.close()
            raise

    def wait(self, job_id: str, timeout_s: float) -> tuple[tuple[str, ...], Result]:
        """Return a job's command and, once it has ended, its result.

        It must run on this channel, or be over.
        """
        self._stream.write(f"wait {job_id}\n".encode())
        request = self._stream.read_line(timeout_s=timeout_s + _MARGIN_S)
        return unquote(request), self._result(0.0, output_limit_bytes(request))

    def _result(self, timeout_s: float, limit_bytes: int) -> Result:
        line = self._stream.read_line(timeout_s=timeout_s + _MARGIN_S)
        outputs = [self._part(limit_bytes) for _ in range(OUTPUT_PARTS)]
        parts = [content for content, _ in outputs]
        parts += [self._stream.read_until(self._mark, timeout_s=_TRANSFER_S) for _ in range(COUNTER_PARTS)]
        is_cut = any(has_more for _, has_more in outputs)
        return Result.parse(line, parts, self._where, cut_at_bytes=limit_bytes if is_cut else None)

    def _part(self, limit_bytes: int) -> tuple[bytes, bool]:
        return self._stream.read_part(self._mark, most_bytes=limit_bytes, timeout_s=_TRANSFER_S)

    def spawn(self, request: Request) -> str:
        """Start a background command; return 'started', 'full' or 'fenced'."""
        self._stream.write(request.line("spawn", self.number))
        return self._line()

    def is_running(self, job_id: str) -> bool:
        """Return whether a background command still runs."""
        self._stream.write(f"alive {job_id}\n".encode())
        return self._line() == "running"

    def end(self, job_id: str) -> bool:
        """End a background command with its children; return whether all of it is gone."""
        self._stream.write(f"end {job_id}\n".encode())
        return self._line() == "gone"

    def output(self, job_id: str) -> bytes:
        """Return what a background command has written so far."""
        self._stream.write(f"output {job_id}\n".encode())
        return self._stream.read_until(self._mark, timeout_s=_ANSWER_S)

    def acknowledge(self, job_ids: Sequence[str]) -> None:
        """Have the files of stored jobs removed; there is no answer to wait for."""
        try:
            self._stream.write(f"ack {' '.join(job_ids)}\n".encode())
        except HostUnreachable:
            self.close()
            raise

    def close(self) -> None:
        """Close the channel; a job that runs keeps running."""
        if self._open is not None:
            stream, self._open = self._open, None
            stream.close()

    def _line(self) -> str:
        return self._stream.read_line(timeout_s=_ANSWER_S).decode("ascii", "backslashreplace").strip()
