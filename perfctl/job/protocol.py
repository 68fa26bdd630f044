"""Requests and results between a controller and the attach loop; a result becomes a value or an error."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from perfctl.errors import CommandTimeout, HostUnreachable, OutputError
from perfctl.job.lease import LeaseLost
from perfctl.model import OUTPUT_LIMIT_BYTES
from perfctl.shell import Completed
from perfctl.shell.command import checked

OUTPUT_PARTS = 2
"""Standard output and standard error."""
COUNTER_PARTS = 3
"""Counters before and after, and the host's view."""


@dataclass(frozen=True, slots=True)
class ProcessProbe:
    """When to read the host's processes while a job runs: besides its start and end, once on the way.

    `processes` says which of them are the environment's: 'cgroup:TEXT', 'pidfile:PATH', '' the command's own.
    """

    processes: str
    after_s: float
    """When to read them on the way, counted from the start."""


class JobTimeout(CommandTimeout):
    """A job did not end within its timeout and was ended on the host; `completed` has its output."""

    def __init__(self, message: str, completed: Completed, *, where: str) -> None:
        super().__init__(message, where=where)
        self.completed = completed


class JobLost(HostUnreachable):
    """A job's server was killed, or its host restarted, before the job ended."""

    def __init__(self, *, where: str) -> None:
        super().__init__(
            "the job is lost: its server ended before it did",
            where=where,
            hint="was the host restarted, or out of memory? then: perfctl resume",
        )


class SpoolFull(OutputError):
    """The disk of the spool folder is full; `completed` has what was kept, None when nothing was started."""

    def __init__(
        self, message: str, *, where: str, detail: str = "", completed: Completed | None = None
    ) -> None:
        super().__init__(
            f"{where}: the disk of the spool folder is full: {message}{': ' + detail if detail else ''}",
            reason="spool_full",
            hint="make room on the host (df), then: perfctl resume",
        )
        self.completed = completed


@dataclass(frozen=True, slots=True)
class Request:
    """A command to run as a job."""

    job_id: str
    argv: tuple[str, ...]
    timeout_s: float = 0.0
    stdin_path: str | None = None
    probe: ProcessProbe | None = None
    lease: tuple[str, int, float] | None = None
    """The lease's file, its token, and until when the host is held; None: nothing is checked."""
    output_limit_bytes: int = OUTPUT_LIMIT_BYTES
    """How much of each output is kept; what follows is dropped on the host."""

    def line(self, verb: str, slot: int) -> bytes:
        """Return the request as one line: shell code that the server reads from the spool."""
        stdin = quote([self.stdin_path]) if self.stdin_path else "/dev/null"
        timeout_ms = math.ceil(self.timeout_s * 1000)
        settings = f"slot={slot} timeout_ms={timeout_ms} stdin={stdin}"
        # One byte more, by which a cut is known.
        settings += f" keep_bytes={self.output_limit_bytes + 1}{self._lease_settings()}"
        settings += self._probe_settings()
        return os.fsencode(f"{verb} {self.job_id} {settings}; set -- {quote(self.argv)}\n")

    def _lease_settings(self) -> str:
        path, token, until = self.lease or ("", 0, 0.0)
        return f" lease={quote([path])} token={token} until={until:.3f}"

    def _probe_settings(self) -> str:
        if self.probe is None:
            return " look_ms=0"
        # Before the first millisecond the command is hardly there.
        look_ms = max(1, round(self.probe.after_s * 1000))
        return f" look_ms={look_ms} watched={quote([self.probe.processes])}"


@dataclass(frozen=True, slots=True)
class Result:
    """How a job ended, and the parts of its output."""

    exit_code: int
    started_ns: int
    ended_ns: int
    why: str
    parts: tuple[bytes, ...]
    cut_at_bytes: int | None = None
    """The limit of each output, where one of them had more."""

    @classmethod
    def parse(
        cls, line: bytes, parts: Sequence[bytes], where: str, *, cut_at_bytes: int | None = None
    ) -> Result:
        """Return the result in an answer. Raises JobLost when its server is gone."""
        found = _RESULT.fullmatch(line.strip())
        if found is None:
            raise JobLost(where=where)
        code, started_ns, ended_ns = map(int, found.groups()[:3])
        return cls(code, started_ns, ended_ns, found[4].decode("ascii"), tuple(parts), cut_at_bytes)

    def completed(self, argv: Sequence[str]) -> Completed:
        """Return the command's exit code and output, whatever ended it."""
        stdout, stderr, before, after, view = self.parts
        return Completed(
            argv=tuple(argv),
            exit_code=self.exit_code,
            stdout=stdout,
            stderr=stderr,
            started_ns=self.started_ns or None,
            ended_ns=self.ended_ns or None,
            counters_before=before,
            counters_after=after,
            host_view=view,
            cut_at_bytes=self.cut_at_bytes,
        )

    def value(self, argv: Sequence[str], where: str) -> Completed:
        """Return the completed command. Raises JobTimeout, SpoolFull."""
        if self.why == "fenced":
            raise LeaseLost(where=where)
        if self.why == "unstarted":
            raise SpoolFull("the command was not started", where=where)
        completed = self.completed(argv)
        if self.why == "full":
            kept = f"{len(completed.stdout)} bytes of its output were kept"
            raise SpoolFull(
                f"the command ended (exit code {self.exit_code}) but {kept}", where=where, completed=completed
            )
        if self.why == "timeout":
            seconds = (self.ended_ns - self.started_ns) / 1e9
            raise JobTimeout(
                f"{argv[0] if argv else 'a job'} did not end in its time and was ended after {seconds:.1f} s",
                completed,
                where=where,
            )
        return completed


_RESULT = re.compile(rb"(\d{1,9})\s+(\d{1,19})\s+(\d{1,19})\s+([a-z]{1,20})")
"""Exit code, start and end in nanoseconds of the host's clock, what ended it."""
_TOKEN = re.compile(r"""'([^']*)'|(?P<quote>"'")|(?P<newline>"\$nl")|(?P<end> )""", re.DOTALL)


def quote(words: Sequence[str]) -> str:
    """Return the words as one line of shell code; a newline is written as the server's variable for it."""
    return " ".join(
        "'" + word.replace("'", "'\"'\"'").replace("\n", "'\"$nl\"'") + "'" for word in checked(words)
    )


_KEEP_BYTES = re.compile(rb" keep_bytes=(\d+) ")


def output_limit_bytes(line: bytes) -> int:
    """Return the limit of each output in a request as it lies in the spool."""
    found = _KEEP_BYTES.search(line.partition(b"; set -- ")[0])
    return int(found[1]) - 1 if found else OUTPUT_LIMIT_BYTES


def unquote(line: bytes) -> tuple[str, ...]:
    """Return the words of a request as it lies in the spool."""
    text = os.fsdecode(line).rstrip("\n").partition("; set -- ")[2]
    words = [""]
    for token in _TOKEN.finditer(text):
        if token["end"]:
            words.append("")
        else:
            words[-1] += token[1] or ("'" if token["quote"] else "\n" if token["newline"] else "")
    return tuple(words)
