"""A run's agent on a host as a Shell."""

from __future__ import annotations

import itertools
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from perfctl.agent import Agent, AgentChannel, AgentGone, AgentRefused, Answer, reap_run
from perfctl.errors import (
    CommandFailed,
    CommandTimeout,
    HostUnreachable,
    Interrupted,
    PerfctlError,
    UsageError,
)
from perfctl.job.lease import HostLease, LeaseLost
from perfctl.job.protocol import (
    JobLost,
    JobTimeout,
    NeverReleased,
    ProcessProbe,
    Request,
    Result,
    SpoolFull,
)
from perfctl.model import OUTPUT_LIMIT_BYTES
from perfctl.shell import Completed, Process, Transport, as_text
from perfctl.shell.files import get_file, put_file

T = TypeVar("T")

_CHANNELS = 4
"""Commands at once on one host; the connection has room for twice as many channels."""
# When a connection breaks it is tried again after so long; then the host is given up.
_PAUSES_S = (0.5, 2.0)
_CONTROL_TIMEOUT_S = 60.0
# The host ends a job itself; after this much more than its time, the host counts as lost.
ANSWER_MARGIN_S = 25.0
_ACKNOWLEDGE_AFTER = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class JobShell:
    """Runs every command as a detached job of one run.

    Safe for several threads. A connection that is lost while a job runs is made again, and the job, which
    went on, is waited for.
    """

    def __init__(
        self, start: Callable[[], tuple[Agent, AgentChannel]], lease: HostLease | None = None
    ) -> None:
        """Use `start` to start the agent. `JobShell.start` is what callers want."""
        self._start = start
        self._lease = lease
        self._agent, channel = start()
        self._transport = self._agent.transport
        self._prefix = f"auto-{secrets.token_hex(4)}"
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(_CHANNELS)
        self._idle: list[AgentChannel] = [channel]
        self._has_found_running = any(
            state == "running" for state, _ in _states(channel.greeting, self.name).values()
        )
        self._running: set[str] = set()
        self._cancelled: set[str] = set()
        self._stored: list[str] = []

    @classmethod
    def start(
        cls,
        transport: Transport,
        run_id: str,
        *,
        lifetime_s: float,
        python: str = "python3",
        spool_root: str | None = None,
        lease: HostLease | None = None,
    ) -> JobShell:
        """Start the run's agent on the host, by the interpreter `python` there.

        One that runs already is an earlier controller's: its servers and unnamed commands are ended, but not
        while a named job still runs: then it is `collect_results` that ends them, after that job. After
        `lifetime_s` the agent and all its jobs end by themselves. Every job renews `lease`, and does not
        begin when another holder has taken the host. Raises CommandFailed, SpoolFull, HostUnreachable.
        """
        checked_name(run_id)

        def start() -> tuple[Agent, AgentChannel]:
            try:
                return Agent.start(
                    transport, run_id, python=python, lifetime_s=lifetime_s, spool_root=spool_root
                )
            except AgentRefused as error:
                if error.reason == "full":
                    text = "the agent could not be copied there"
                    raise SpoolFull(text, where=transport.name, detail=error.message) from error
                text = f"the agent does not start: {error.message}"
                raise CommandFailed(text, where=transport.name, hint=error.hint) from error

        return cls(start, lease)

    @property
    def name(self) -> str:
        """The host's name."""
        return self._transport.name

    @property
    def spool(self) -> str:
        """The spool folder on the host. Jobs run in its subfolder `work`."""
        return self._agent.spool

    def run(
        self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"", hold_s: float = 0.0
    ) -> Completed:
        """Run `argv` as a job whose result is read once, now. Raises like `run_job`, which has `hold_s`."""
        job_id = self._new_id()
        try:
            return self.run_job(job_id, argv, timeout_s=timeout_s, stdin=stdin, hold_s=hold_s)
        finally:
            self.acknowledge(job_id)

    def run_job(
        self,
        job_id: str,
        argv: Sequence[str],
        timeout_s: float,
        stdin: bytes = b"",
        *,
        probe: ProcessProbe | None = None,
        hold_s: float = 0.0,
        output_limit_bytes: int = OUTPUT_LIMIT_BYTES,
    ) -> Completed:
        """Run `argv` as job `job_id`; its result stays on the host until `acknowledge(job_id)`.

        A job of that id that is there already is not run again: its result is returned. With `probe` the
        host's view is part of it. Of each output `output_limit_bytes` are kept: the job goes on, and what
        follows is dropped on the host. The lease lasts `hold_s` longer than for the job alone: what is
        measured elsewhere after it may need this host. Raises JobTimeout (after everything it started is
        gone), SpoolFull, Interrupted (after `cancel`), LeaseLost (it did not begin), HostUnreachable (the job
        keeps running).
        """
        request = Request(
            checked_name(job_id),
            tuple(argv),
            timeout_s,
            stdin,
            probe,
            self.terms_of(timeout_s + hold_s),
            output_limit_bytes,
        )
        with self._lock:
            self._running.add(job_id)
        try:
            result = self._persist(request)
            if result.why == "cancelled":
                self.acknowledge(job_id)
                if self._lease and not self._is_cancelled(job_id):
                    # Not by us: by who took the host away.
                    raise LeaseLost(where=self.name)
                raise Interrupted(f"the {argv[0]} command was ended", where=self.name)
            if result.why in ("unstarted", "fenced"):
                self.acknowledge(job_id)
            return result.value(argv, self.name)
        except (KeyboardInterrupt, SystemExit):
            self.end_jobs([job_id])
            raise
        except HostUnreachable as error:
            if self._is_cancelled(job_id):
                raise Interrupted(
                    f"the {argv[0]} command was ended as the host was lost", where=self.name
                ) from error
            raise
        finally:
            with self._lock:
                self._running.discard(job_id)
                self._cancelled.discard(job_id)

    def spawn(self, argv: Sequence[str]) -> Process:
        """Start `argv` in the background; it ends with `stop()` on it or with the run."""
        job_id = self._new_id()
        request = Request(job_id, tuple(argv), lease=self.terms_of(0.0))
        state = self._ask(request.header("spawn")).header.get("state")
        if state == "unstarted":
            raise SpoolFull("the command was not started", where=self.name)
        if state == "fenced":
            raise LeaseLost(where=self.name)
        if state != "started":
            raise Interrupted(f"the {argv[0]} command was ended", where=self.name)
        return _BackgroundJob(self, job_id)

    def put(self, local: Path, remote: str, *, mode: int) -> None:
        """Copy a file there, with these permission bits."""
        put_file(self._transport, local, remote, mode=mode)

    def get(self, remote: str) -> bytes:
        """Return a file's bytes. Raises CommandFailed when it cannot be read."""
        return get_file(self._transport, remote)

    def cancel(self) -> None:
        """End the jobs that are being waited for; their `run_job` raises Interrupted. From any thread."""
        with self._lock:
            ids = sorted(self._running)
            self._cancelled.update(ids)
        if ids:
            self.end_jobs(ids)

    def acknowledge(self, job_id: str) -> None:
        """Have the files of a job removed, its result being stored; sent later, together with others."""
        with self._lock:
            self._stored.append(job_id)

    def keep_results(self) -> None:
        """Take back what was acknowledged and not sent yet: the copies on the host are wanted again."""
        with self._lock:
            self._stored.clear()

    def collect_results(self) -> Mapping[str, Completed | PerfctlError]:
        """Return the result of each job that an earlier controller left, or its error as a value.

        Those that still run are waited for, up to their timeouts. The errors are JobTimeout, SpoolFull,
        JobLost, and LeaseLost for one that did not begin because the host had been taken away.
        """
        outcomes: dict[str, Completed | PerfctlError] = {}
        states = _states(self._ask({"verb": "list"}).header, self.name)
        for job_id, (state, timeout_s) in sorted(states.items()):
            outcomes[job_id] = (
                JobLost(where=self.name) if state == "lost" else self._outcome(job_id, timeout_s)
            )
        if self._has_found_running:
            # Now that nothing runs, what has no name is ended, and the agent's lifetime starts anew.
            self._has_found_running = False
            self._drop_idle()
            self._agent, channel = self._start()
            self._idle.append(channel)
        return outcomes

    def stop(self, *, gives_back: bool = False) -> None:
        """End everything of this run here. Results that were not acknowledged stay in the spool.

        With `gives_back` the host is given back as soon as all has ended, if the agent can do that.
        """
        with self._lock:
            stored, self._stored = self._stored, []
        channels = [*self._take_idle(), None]
        for channel in channels:
            try:
                # Those that are idle may have broken meanwhile.
                with _closing(channel or self._agent.open_channel()) as open_channel:
                    is_given_back = open_channel.stop_agent(
                        stored,
                        timeout_s=_CONTROL_TIMEOUT_S,
                        give_back=self.terms_of(0.0) if gives_back else None,
                    )
                if is_given_back and self._lease:
                    self._lease.is_given_back = True
                break
            except AgentGone:
                self._reap(stored)
            except HostUnreachable:
                if channel is None:
                    raise
        for channel in channels:
            if channel is not None:
                channel.close()

    def is_running(self, job_id: str) -> bool:
        """Return whether a background command still runs."""
        return self._ask({"verb": "is_running", "id": job_id}).header.get("is_running") is True

    def end(self, job_id: str) -> bytes:
        """End a background command with its children, and return what it has written.

        Raises CommandFailed when something survives.
        """
        answer = self._ask({"verb": "end", "id": job_id}, timeout_s=_CONTROL_TIMEOUT_S)
        if answer.header.get("is_gone") is not True:
            raise CommandFailed(f"background command {job_id} survives SIGKILL", where=self.name)
        self.acknowledge(job_id)
        return b"".join(answer.parts)

    def output(self, job_id: str) -> bytes:
        """Return what a background command has written so far."""
        return b"".join(self._ask({"verb": "output", "id": job_id}).parts)

    # ---- for jobs that start together ----

    def borrow_channel(self, job_ids: Sequence[str]) -> AgentChannel:
        """Return a channel for these jobs, which `cancel` ends, too, until `give_back`.

        Raises JobLost, HostUnreachable.
        """
        self._room.acquire()
        try:
            channel = self._take()
        except BaseException:
            self._room.release()
            raise
        with self._lock:
            self._running.update(job_ids)
        return channel

    def give_back(self, channel: AgentChannel, job_ids: Sequence[str], *, is_idle: bool) -> None:
        """Take a channel back; one that is not idle is closed."""
        with self._lock:
            self._running.difference_update(job_ids)
            self._cancelled.difference_update(job_ids)
            if is_idle:
                self._idle.append(channel)
        if not is_idle:
            channel.close()
        self._room.release()

    def terms_of(self, timeout_s: float) -> tuple[str, int, float] | None:
        """Return what a request says of the lease for jobs that end within this time; None without one."""
        return self._lease.terms_of(timeout_s) if self._lease else None

    def await_result(self, job_id: str, timeout_s: float) -> Result:
        """Return the result of a job that is known there, after waiting for it up to its timeout.

        A connection that is lost is made again. Raises JobLost, HostUnreachable, CommandTimeout.
        """
        header = {"verb": "wait", "id": job_id}
        for pause_s in (*_PAUSES_S, None):
            try:
                return Result.parse(self._ask(header, timeout_s=timeout_s + ANSWER_MARGIN_S), self.name)
            except JobLost:
                raise
            except HostUnreachable:
                if pause_s is None:
                    raise
                time.sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")

    def end_jobs(self, job_ids: Sequence[str]) -> None:
        """End jobs with everything that they started. On a channel of its own: others may wait for them."""
        try:
            with _closing(self._agent.open_channel()) as channel:
                channel.request({"verb": "cancel", "ids": list(job_ids)}, timeout_s=_CONTROL_TIMEOUT_S)
        except AgentGone:
            # Who waits for them is told so.
            return

    # ---- what is read without a command ----

    def read_counters(self, *, hold_s: float = 0.0) -> bytes:
        """Return the kernel's counters of the host as they are now; they are those that are read around jobs.

        The lease is renewed as by a job that takes `hold_s`. Raises LeaseLost, HostUnreachable.
        """
        terms = self.terms_of(hold_s)
        answer = self._ask_again({"verb": "counters", "lease": list(terms) if terms else None})
        if answer.header.get("state") == "fenced":
            raise LeaseLost(where=self.name)
        return b"".join(answer.parts)

    def listens(self, port: int, *, wait_s: float, folder: str = "/proc/net") -> bool:
        """Return whether a TCP socket listens on a port there, as soon as one does, after `wait_s` at most.

        `folder` has the network's files on the host: /proc/PID/net has that of another process. Raises
        CommandFailed where they cannot be read, HostUnreachable.
        """
        header = {"verb": "listens", "port": port, "wait_s": wait_s, "folder": folder}
        return self._ask_again(header, timeout_s=wait_s + _CONTROL_TIMEOUT_S).header.get("listens") is True

    # ---- channels ----

    def _ask_again(self, header: Mapping[str, Any], *, timeout_s: float = _CONTROL_TIMEOUT_S) -> Answer:
        """Ask what may be asked twice; a connection that is lost meanwhile is made again."""
        for pause_s in _PAUSES_S:
            try:
                return self._ask(header, timeout_s=timeout_s)
            except JobLost:
                raise
            except HostUnreachable:
                time.sleep(pause_s)
        return self._ask(header, timeout_s=timeout_s)

    def _ask(self, header: Mapping[str, Any], *, timeout_s: float = _CONTROL_TIMEOUT_S) -> Answer:
        return self._with_channel(lambda channel: self._request(channel, header, timeout_s))

    def _request(self, channel: AgentChannel, header: Mapping[str, Any], timeout_s: float) -> Answer:
        """Ask the agent, and tell it what is stored meanwhile, if that is much."""
        with self._lock:
            stored: list[str] = []
            if len(self._stored) >= _ACKNOWLEDGE_AFTER:
                stored, self._stored = self._stored, []
        try:
            return channel.request({**header, "stored": stored}, timeout_s=timeout_s)
        except AgentRefused as error:
            raise CommandFailed(f"its agent: {error.message}", where=self.name) from error
        except HostUnreachable:
            # These go with a later request.
            with self._lock:
                self._stored += stored
            raise

    def _with_channel(self, action: Callable[[AgentChannel], T]) -> T:
        with self._room:
            channel = self._take()
            try:
                outcome = action(channel)
            except BaseException as error:
                # Whatever is still under way on it must not be taken for the next answer.
                channel.close()
                if isinstance(error, HostUnreachable):
                    # The others are of the same connection.
                    self._drop_idle()
                raise
            with self._lock:
                self._idle.append(channel)
            return outcome

    def _take(self) -> AgentChannel:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        try:
            return self._agent.open_channel()
        except AgentGone as error:
            raise JobLost(where=self.name) from error

    def _take_idle(self) -> list[AgentChannel]:
        with self._lock:
            idle, self._idle = self._idle, []
        return idle

    def _drop_idle(self) -> None:
        for channel in self._take_idle():
            channel.close()

    # ---- jobs ----

    def _new_id(self) -> str:
        return f"{self._prefix}-{next(self._numbers)}"

    def _persist(self, request: Request) -> Result:
        """Run a job and come back to it when the connection breaks."""
        header = request.header("run")

        def run(channel: AgentChannel) -> Answer:
            if request.stdin:
                channel.send_input(request.job_id, request.stdin)
            return self._request(channel, header, request.timeout_s + ANSWER_MARGIN_S)

        for pause_s in (*_PAUSES_S, None):
            try:
                return Result.parse(self._with_channel(run), self.name)
            except JobLost:
                raise
            except HostUnreachable:
                if pause_s is None or self._is_cancelled(request.job_id):
                    raise
                time.sleep(pause_s)
            except CommandTimeout as error:
                # The host should have ended it long ago.
                self.end_jobs([request.job_id])
                raise CommandTimeout(
                    f"{request.argv[0]} did not end within its timeout, and the host did not report its end",
                    where=self.name,
                ) from error
        raise AssertionError("the last attempt returns or raises")

    def _is_cancelled(self, job_id: str) -> bool:
        with self._lock:
            return job_id in self._cancelled

    def _outcome(self, job_id: str, timeout_s: float) -> Completed | PerfctlError:
        try:
            result = self.await_result(job_id, timeout_s)
            return result.value(result.argv, self.name)
        except (JobTimeout, SpoolFull, JobLost, LeaseLost, NeverReleased) as error:
            return error

    def _reap(self, stored: Sequence[str]) -> None:
        """End what an agent that was killed has left."""
        root, _, run_id = self.spool.rpartition("/")
        reap_run(self._transport, run_id, python=self._agent.python, spool_root=root, stored=stored)


@contextmanager
def _closing(channel: AgentChannel) -> Iterator[AgentChannel]:
    try:
        yield channel
    finally:
        channel.close()


def _states(answer: Mapping[str, Any], where: str) -> dict[str, tuple[str, float]]:
    """Return state and timeout in seconds of the named jobs in an answer. Raises CommandFailed."""
    try:
        return {
            checked_name(job_id): (str(state), min(max(0.0, float(timeout_s)), 1e9))
            for job_id, (state, timeout_s) in dict(answer["jobs"]).items()
        }
    except (LookupError, ValueError, TypeError, OverflowError, UsageError) as error:
        text = f"its agent's list of jobs cannot be read: {type(error).__name__}: {error}"
        raise CommandFailed(f"{text:.200}", where=where) from error


def checked_name(name: str) -> str:
    """Return a run's or job's id. Raises UsageError when it cannot be part of a file name and a unit name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot name a run or a job: letters, digits, dot, dash, underscore")
    return name


def reap(
    transport: Transport,
    run_id: str | None = None,
    *,
    python: str = "python3",
    discard: bool = False,
    spool_root: str | None = None,
) -> list[str]:
    """End what belongs to a run on a host (None: any run); return it, as "job ID" or "server NAME".

    Agents, their units and jobs are ended. Results that no controller has stored stay in the spool, or
    with `discard` are removed, returned as "result ID". Containers and guests are left to their environments.
    Raises CommandFailed, HostUnreachable.
    """
    name = checked_name(run_id) if run_id else None
    try:
        return reap_run(transport, name, python=python, discard=discard, spool_root=spool_root)
    except AgentRefused as error:
        raise CommandFailed(f"reaping failed: {error.message}", where=transport.name) from error


class _BackgroundJob:
    """A background command of a job shell."""

    def __init__(self, shell: JobShell, job_id: str) -> None:
        self._shell = shell
        self._job_id = job_id
        self._final_output: str | None = None

    def is_running(self) -> bool:
        """Return whether it still runs."""
        return self._final_output is None and self._shell.is_running(self._job_id)

    def stop(self) -> None:
        """End it and its children; again is harmless."""
        if self._final_output is None:
            self._final_output = as_text(self._shell.end(self._job_id))

    def output(self) -> str:
        """Return what it has written so far."""
        if self._final_output is not None:
            return self._final_output
        return as_text(self._shell.output(self._job_id))
