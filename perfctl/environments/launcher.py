"""The launcher: a small program by which what a command uses is measured alike in every environment.

The image for containers has it, so guests, whose root is the image, and hosts that load it have it too
(roles/perf_image). It starts the command, waits for it and writes two lines on standard error, behind all
that the command wrote: what it has used, and what the kernel allows who is started like this (`label`). So
nothing but the command itself is measured, and no client that reaches it. An image of a user's own may lack
it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from perfctl.errors import PerfctlError
from perfctl.model import ResourceUsage
from perfctl.shell import Completed, Shell

PROGRAM = "perfctl-launch"
LINE_BYTES = 9728
"""Room for its lines, in an output that is cut at a limit."""

_START = b"perfctl-usage "
_TASK = re.compile(rb"perfctl-task ([^\n]{0,9216})\n")
"""What the kernel said of the launcher: it is the line before that of the usage."""
_LINE = re.compile(_START + rb" ".join([rb"(\d{1,18})"] * 8) + rb"\n")
_US_PER_S = 1_000_000

# Reports take a reason apart at its colons.
NOT_THERE = f"no {PROGRAM} is there, which the image of `perfctl provision` brings"
NO_LINE = "the command did not end by itself, or its output was cut"
_OF_GROUP = "only the time of its control group is known"
_OF_AGENT = "it was no larger than the host's agent, with whose size it began"


def run(shell: Shell, argv: Sequence[str], *, timeout_s: float, output_limit_bytes: int) -> Completed:
    """Run `argv` under the launcher; `usage` is the command's own, everything else as the shell's `run`.

    The shell must be given `LINE_BYTES` more than the limit.
    """
    try:
        return read(shell.run([PROGRAM, *argv], timeout_s=timeout_s), output_limit_bytes)
    except PerfctlError as error:
        read_failure(error, output_limit_bytes, argv)
        raise


def collected(found: Completed, output_limit_bytes: int) -> Completed:
    """Return the result of a job as a later controller found it on the host, natively or in a container."""
    if PROGRAM in found.argv:
        return read(found, output_limit_bytes)
    # It may be that of the client which reaches a container.
    return replace(found, usage=ResourceUsage.unknown(NOT_THERE))


def read_failure(error: PerfctlError, output_limit_bytes: int, argv: Sequence[str] = ()) -> None:
    """Have an error tell of the command, not of the launcher; `argv` is the command, where it is known."""
    completed = getattr(error, "completed", None)
    if isinstance(completed, Completed):
        own = read(completed, output_limit_bytes)
        argv = argv or own.argv
        error.completed = own  # type: ignore[attr-defined]
    if argv:
        error.message = error.message.replace(f"{PROGRAM} ", f"{argv[0]} ", 1)


def read(completed: Completed, output_limit_bytes: int) -> Completed:
    """Return the command's own result out of the launcher's; unchanged where it was not used."""
    if PROGRAM not in completed.argv:
        return completed
    stdout, stderr = completed.stdout, completed.stderr
    usage = ResourceUsage.unknown(NO_LINE)
    at = stderr.rfind(_START)
    line = _LINE.match(stderr, at) if at >= 0 else None
    task = b""
    if line:
        start = stderr.rfind(b"perfctl-task ", max(0, at - LINE_BYTES), at)
        status = _TASK.fullmatch(stderr, start, at) if start >= 0 else None
        if status:
            task, at = status[1], start
        stderr = stderr[:at] + stderr[line.end() :]
        user, system, max_rss_kib, minor, major, voluntary, involuntary, wall = map(int, line.groups())
        usage = ResourceUsage(
            *(user / _US_PER_S, system / _US_PER_S, max_rss_kib * 1024),
            *(minor, major, voluntary, involuntary),
            wall_s=wall / _US_PER_S,
        )
    limit = output_limit_bytes
    is_cut = completed.cut_at_bytes is not None or max(len(stdout), len(stderr)) > limit
    return replace(
        completed,
        argv=completed.argv[completed.argv.index(PROGRAM) + 1 :],
        stdout=stdout[:limit],
        stderr=stderr[:limit],
        cut_at_bytes=limit if is_cut else None,
        usage=usage,
        task=task,
    )


def with_usage(completed: Completed, why_not: str) -> Completed:
    """Return what a command that ran without the launcher left behind, with what is known of its usage.

    `why_not` is the reason. Natively it is what the host's agent says; of a container its control group's
    time, where it was read.
    """
    usage = completed.usage
    if usage is not None:
        usage = replace(usage, missing="" if usage.max_rss_bytes is not None else f"{_OF_AGENT} ({why_not})")
    elif completed.group_time_s is not None:
        nothing = ResourceUsage.unknown(f"{_OF_GROUP} ({why_not})")
        user_s, system_s = completed.group_time_s
        usage = replace(nothing, user_s=user_s, system_s=system_s, source="cgroup")
    else:
        usage = ResourceUsage.unknown(why_not)
    return replace(completed, usage=usage)
