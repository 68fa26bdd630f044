"""Start jobs on one host, or on many, at the same moment.

    arm_together ──> arm, on each host: processes are spawned and wait just before their programs
                 ──> JointStart.release: one frame to each host, from one thread
                 ──> JointStart.outcomes, .skew: how each job ended, and how far apart they began

docs/jobs.md says what an armed job is on its host.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from perfctl.agent import AgentChannel, AgentRefused
from perfctl.errors import CommandFailed, HostUnreachable, Interrupted, PerfctlError, UsageError
from perfctl.job.hosts import each_of
from perfctl.job.lease import LeaseLost
from perfctl.job.protocol import JobLost, JobTimeout, NeverReleased, Request, Result, SpoolFull
from perfctl.job.shell import ANSWER_MARGIN_S, JobShell, checked_name
from perfctl.shell import Completed

WAIT_S = 60.0
"""How long armed jobs wait to be released unless they are told otherwise."""
_ARMING_S = 60.0
_READINGS = 8
_SLEWED = 600e-6
"""How much faster or slower two clocks may run: what the kernel slews, and the crystals' own error."""

Outcome = Completed | PerfctlError


@dataclass(frozen=True, slots=True)
class HostClock:
    """A host's clocks against this machine's, in nanoseconds, as read over its connection."""

    ahead_ns: int
    """CLOCK_MONOTONIC: what is to be subtracted from a time of the host to have it in this machine's."""
    wall_ahead_ns: int
    uncertainty_ns: int
    """Half of the fastest round trip: the true value is no further away."""
    read_ns: int
    """When, by this machine's CLOCK_MONOTONIC."""

    @classmethod
    def read(cls, channel: AgentChannel) -> HostClock:
        """Ask several times; the fastest answer counts. Raises HostUnreachable, CommandTimeout."""
        readings = [_clock_reading(channel) for _ in range(_READINGS)]
        return min(readings, key=lambda found: found.uncertainty_ns)

    def here_ns(self, host_ns: int) -> tuple[int, int]:
        """Return a time of the host's CLOCK_MONOTONIC as one of this machine's, and how uncertain that is."""
        here_ns = host_ns - self.ahead_ns
        return here_ns, self.uncertainty_ns + round(abs(here_ns - self.read_ns) * _SLEWED)


def _clock_reading(channel: AgentChannel) -> HostClock:
    wall_ahead_ns = time.time_ns() - time.monotonic_ns()
    before = time.monotonic_ns()
    answer = channel.request({"verb": "clock"}).header
    after = time.monotonic_ns()
    middle = (before + after) // 2
    try:
        monotonic_ns, wall_ns = int(answer["monotonic_ns"]), int(answer["wall_ns"])
    except (LookupError, ValueError, TypeError) as error:
        raise HostUnreachable(f"its agent's clock cannot be read: {error!s:.80}") from error
    return HostClock(
        ahead_ns=monotonic_ns - middle,
        wall_ahead_ns=wall_ns - (middle + wall_ahead_ns),
        uncertainty_ns=(after - before + 1) // 2,
        read_ns=middle,
    )


@dataclass(frozen=True, slots=True)
class StartSkew:
    """How far apart jobs have begun: from the earliest to the latest."""

    seconds: float
    uncertainty_s: float
    """0 on one host, whose clock is one; between hosts the true skew differs by no more than this."""
    count: int
    """Of how many jobs the start is known."""


class ArmedJobs:
    """The armed jobs of one host, on a channel of their own until they have ended. Made by `arm`."""

    def __init__(self, shell: JobShell, channel: AgentChannel, requests: Sequence[Request]) -> None:
        self.shell = shell
        self.requests = tuple(requests)
        self.clock = HostClock(0, 0, 0, 0)
        self._channel = channel
        self._ids = [request.job_id for request in requests]
        self._is_released = False
        self._is_idle = False
        self._is_open = True

    def prepare(self, headers: Sequence[Mapping[str, Any]], wait_s: float) -> None:
        """Have the agent spawn the processes, and read its clock. Raises like `arm`."""
        for request in self.requests:
            if request.stdin:
                self._channel.send_input(request.job_id, request.stdin)
        message = {"verb": "arm", "jobs": list(headers), "wait_s": wait_s}
        try:
            self._channel.request(message, timeout_s=_ARMING_S)
        except AgentRefused as error:
            raise _arming_error(error, self.shell.name) from error
        self.clock = HostClock.read(self._channel)

    def release(self) -> None:
        """Let them begin. Returns at once. Raises HostUnreachable: then some may have begun or not."""
        self._is_released = True
        self._channel.release()

    def outcomes(self) -> list[Outcome]:
        """Wait until all have ended; return each one's result or error, in their order.

        The results stay on the host until `JobShell.acknowledge`.
        """
        longest_s = max(request.timeout_s for request in self.requests)
        try:
            self._channel.answer(longest_s + ANSWER_MARGIN_S)
            self._is_idle = True
        except AgentRefused:
            # What each was refused for is its result.
            self._is_idle = True
        except PerfctlError:
            # They go on without a connection; another one is made.
            self._is_idle = False
        found = [self._outcome_of(request) for request in self.requests]
        self._is_released = False
        return found

    def _outcome_of(self, request: Request) -> Outcome:
        try:
            result = self._result_of(request)
            if result.why == "cancelled":
                raise Interrupted(f"the {request.argv[0]} command was ended", where=self.shell.name)
            return result.value(request.argv, self.shell.name)
        except (Interrupted, NeverReleased, LeaseLost) as error:
            self.shell.acknowledge(request.job_id)
            return error
        except PerfctlError as error:
            return error

    def _result_of(self, request: Request) -> Result:
        if self._is_idle:
            try:
                header = {"verb": "wait", "id": request.job_id}
                answer = self._channel.request(header, timeout_s=ANSWER_MARGIN_S)
                return Result.parse(answer, self.shell.name)
            except JobLost:
                raise
            except HostUnreachable:
                self._is_idle = False
        return self.shell.await_result(request.job_id, request.timeout_s)

    def close(self) -> None:
        """End what has not begun or was not waited for; again is harmless."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            if self._is_released:
                with suppress(HostUnreachable):
                    self.shell.end_jobs(self._ids)
        finally:
            self.shell.give_back(self._channel, self._ids, is_idle=self._is_idle)


def arm(shell: JobShell, requests: Sequence[Request], *, wait_s: float = WAIT_S) -> ArmedJobs:
    """Spawn jobs on a host that wait, their counters read, for their common release: all or none.

    Those that are not released within `wait_s`, or before `close`, or that lose their connection before, end
    by themselves and have not begun. Raises SpoolFull, LeaseLost, Interrupted (after `cancel`),
    CommandFailed, HostUnreachable, CommandTimeout, UsageError.
    """
    if not requests:
        raise UsageError("no job is named that is to be armed")
    ids = [checked_name(request.job_id) for request in requests]
    terms = shell.terms_of(max(request.timeout_s for request in requests) + wait_s)
    headers = [replace(request, lease=terms).header("run") for request in requests]
    jobs = ArmedJobs(shell, shell.borrow_channel(ids), requests)
    try:
        jobs.prepare(headers, wait_s)
    except BaseException:
        jobs.close()
        raise
    return jobs


def _arming_error(error: AgentRefused, where: str) -> PerfctlError:
    if error.reason == "full":
        return SpoolFull("the command was not started", where=where)
    if error.reason == "fenced":
        return LeaseLost(where=where)
    if error.reason == "cancelled":
        return Interrupted("the command was ended before it began", where=where)
    return CommandFailed(f"its agent: {error.message}", where=where)


class JointStart:
    """Jobs that wait on one host or many, and what comes of them. Made by `arm_together`."""

    def __init__(self, armed: Sequence[ArmedJobs]) -> None:
        self._armed = tuple(armed)
        self._found: list[list[Outcome]] = []

    def release(self) -> float:
        """Let all begin, one host right after the other; return how long that took, in seconds.

        A host whose connection is lost just then is known by its outcomes.
        """
        begin = time.perf_counter()
        for jobs in self._armed:
            with suppress(HostUnreachable):
                jobs.release()
        return time.perf_counter() - begin

    def outcomes(self) -> list[list[Outcome]]:
        """Wait until all have ended; return each host's results or errors, as they were armed."""
        # They run side by side wherever they are: their results can be fetched one after another.
        self._found = [jobs.outcomes() for jobs in self._armed]
        return self._found

    def skew(self) -> StartSkew:
        """Return how far apart those have begun that `outcomes` has a start of."""
        starts = [
            (jobs, started_ns)
            for jobs, found in zip(self._armed, self._found, strict=False)
            for started_ns in map(_start_of, found)
            if started_ns is not None
        ]
        if len({id(jobs) for jobs, _ in starts}) < 2:
            times = [started_ns for _, started_ns in starts]
            return StartSkew((max(times) - min(times)) / 1e9 if times else 0.0, 0.0, len(times))
        return _skew([jobs.clock.here_ns(started_ns) for jobs, started_ns in starts])


def _skew(starts: Sequence[tuple[int, int]]) -> StartSkew:
    """Return the skew of (time, uncertainty) in nanoseconds, and how much the true one may differ."""
    times = [at for at, _ in starts]
    skew_ns = max(times) - min(times)
    most_ns = max(at + around for at, around in starts) - min(at - around for at, around in starts)
    least_ns = max(0, max(at - around for at, around in starts) - min(at + around for at, around in starts))
    return StartSkew(skew_ns / 1e9, max(most_ns - skew_ns, skew_ns - least_ns) / 1e9, len(starts))


def _start_of(outcome: Outcome) -> int | None:
    if isinstance(outcome, (JobTimeout, SpoolFull)):
        return outcome.completed.started_ns if outcome.completed else None
    return outcome.started_ns if isinstance(outcome, Completed) else None


@contextmanager
def arm_together(
    placed: Sequence[tuple[JobShell, Sequence[Request]]], *, wait_s: float = WAIT_S
) -> Iterator[JointStart]:
    """Arm jobs on several hosts at the same time and yield them, to be released together: all or none.

    What has not ended with the block is ended. Raises the first host's error, like `arm`.
    """
    lock = threading.Lock()
    armed: dict[int, ArmedJobs] = {}
    with ExitStack() as stack:

        def arm_one(place: int) -> None:
            jobs = arm(*placed[place], wait_s=wait_s)
            with lock:
                stack.callback(jobs.close)
                armed[place] = jobs

        each_of(range(len(placed)), arm_one)
        yield JointStart([armed[place] for place in range(len(placed))])
