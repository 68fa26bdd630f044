"""What a controller asks an agent to run, and how an agent's answer becomes a value or an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from perfctl.agent import Answer
from perfctl.errors import CommandFailed, CommandTimeout, HostUnreachable, OutputError
from perfctl.job import host_view
from perfctl.job.lease import LeaseLost
from perfctl.model import OUTPUT_LIMIT_BYTES, ResourceUsage
from perfctl.shell import Completed
from perfctl.shell.command import checked


@dataclass(frozen=True, slots=True)
class ProcessProbe:
    """That the host's processes are read around a job, and once while it runs.

    `processes` says which of them are the environment's: 'cgroup:TEXT', 'pidfile:PATH', '' the command's own.
    """

    processes: str
    half_after_s: float | None = None
    """When to read them half way, counted from the start; None: they are not."""


class JobTimeout(CommandTimeout):
    """A job did not end within its timeout and was ended on the host; `completed` has its output."""

    def __init__(self, message: str, completed: Completed, *, where: str) -> None:
        super().__init__(message, where=where)
        self.completed = completed


class JobLost(HostUnreachable):
    """A job's agent was killed, or its host restarted, before the job ended."""

    def __init__(self, *, where: str) -> None:
        super().__init__(
            "the job is lost: its agent ended before it did",
            where=where,
            hint="was the host restarted, or out of memory? then: perfctl resume",
        )


class NeverReleased(CommandFailed):
    """A job was armed and never released; its command has not begun."""

    def __init__(self, *, where: str) -> None:
        super().__init__("the command was armed, and ended before it was released", where=where)


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
    stdin: bytes = b""
    probe: ProcessProbe | None = None
    lease: tuple[str, int, float] | None = None
    """The lease's file, its token, and until when the host is held; None: nothing is checked."""
    output_limit_bytes: int = OUTPUT_LIMIT_BYTES
    """How much of each output is kept; what follows is dropped on the host."""

    def header(self, verb: str) -> dict[str, Any]:
        """Return the request as the agent reads it. Raises UsageError for an impossible argument."""
        return {
            "verb": verb,
            "id": self.job_id,
            "argv": checked(self.argv),
            "timeout_s": self.timeout_s,
            "has_input": bool(self.stdin),
            "watched": self.probe.processes if self.probe else None,
            "half_after_s": self.probe.half_after_s if self.probe else None,
            "lease": list(self.lease) if self.lease else None,
            "limit_bytes": self.output_limit_bytes,
        }


@dataclass(frozen=True, slots=True)
class Result:
    """How a job ended, and what was kept of it."""

    why: str
    """'exited', 'timeout', 'full' (the disk of the spool), 'cancelled', 'unstarted', 'fenced', 'lost';
    'unreleased': it was armed, and has not begun."""
    argv: tuple[str, ...] = ()
    exit_code: int = 0
    started_ns: int = 0
    ended_ns: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    counters_before: bytes = b""
    counters_after: bytes = b""
    host_view: bytes = b""
    cut_at_bytes: int | None = None
    """The limit of each output, where one of them had more."""
    usage: ResourceUsage | None = None
    group_time_s: tuple[float, float] | None = None
    """User and system time of the control group that was watched, None where there is none."""
    left_behind: tuple[str, ...] = ()

    @classmethod
    def parse(cls, answer: Answer, where: str) -> Result:
        """Return the result in an answer. Raises JobLost (nobody will ever end the job), HostUnreachable."""
        header = answer.header
        try:
            why = str(header["why"])
            if why == "lost":
                raise JobLost(where=where)
            stdout, stderr, before, after, *readings = answer.parts
            usage = None if header["usage"] is None else _usage(header["usage"])
            found = cls(
                why=why,
                argv=tuple(map(_text, header["argv"])),
                exit_code=_whole(header["exit_code"]),
                started_ns=_whole(header["started_ns"]),
                ended_ns=_whole(header["ended_ns"]),
                stdout=stdout,
                stderr=stderr,
                counters_before=before,
                counters_after=after,
                cut_at_bytes=_whole(header["limit_bytes"]) if header["is_cut"] else None,
                usage=usage,
                left_behind=tuple(map(_text, header["left_behind"])),
            )
            if not readings:
                return found
            half_ns = None if header["half_ns"] is None else _whole(header["half_ns"])
            first, half, last = readings
            watched, pid = str(header["watched"]), _whole(header["pid"])
            view = host_view.ViewReadings(first, half, last, half_ns, watched, pid)
        except (LookupError, ValueError, TypeError) as error:
            text = f"its agent's result cannot be read: {type(error).__name__}: {error}"
            raise HostUnreachable(f"{text:.200}", where=where) from error
        kept = view.text(found.started_ns, found.ended_ns, usage)
        return replace(found, host_view=kept, group_time_s=view.group_time_s())

    def completed(self, argv: Sequence[str]) -> Completed:
        """Return the command's exit code and output, whatever ended it."""
        return Completed(
            argv=tuple(argv),
            exit_code=self.exit_code,
            stdout=self.stdout,
            stderr=self.stderr,
            started_ns=self.started_ns or None,
            ended_ns=self.ended_ns or None,
            counters_before=self.counters_before,
            counters_after=self.counters_after,
            host_view=self.host_view,
            cut_at_bytes=self.cut_at_bytes,
            usage=self.usage,
            group_time_s=self.group_time_s,
            left_behind=self.left_behind,
        )

    def value(self, argv: Sequence[str], where: str) -> Completed:
        """Return the completed command. Raises JobTimeout, SpoolFull, LeaseLost, NeverReleased."""
        if self.why == "fenced":
            raise LeaseLost(where=where)
        if self.why == "unstarted":
            raise SpoolFull("the command was not started", where=where)
        if self.why == "unreleased":
            raise NeverReleased(where=where)
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


def _usage(found: Mapping[str, Any]) -> ResourceUsage:
    largest = found["max_rss_bytes"]
    return ResourceUsage(
        user_s=_seconds(found["user_s"]),
        system_s=_seconds(found["system_s"]),
        max_rss_bytes=None if largest is None else _whole(largest),
        minor_faults=_whole(found["minor_faults"]),
        major_faults=_whole(found["major_faults"]),
        voluntary_switches=_whole(found["voluntary_switches"]),
        involuntary_switches=_whole(found["involuntary_switches"]),
    )


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(f"{value!r:.40} is no number of its kind")
    return value


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < 1e12:
        raise ValueError(f"{value!r:.40} is no time")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value
