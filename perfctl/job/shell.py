"""A host's job server as a Shell."""

from __future__ import annotations

import functools
import itertools
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from perfctl.errors import CommandFailed, CommandTimeout, HostUnreachable, Interrupted, PerfctlError
from perfctl.job.channel import Channel
from perfctl.job.lease import HostLease, LeaseLost
from perfctl.job.protocol import JobLost, JobTimeout, ProcessProbe, Request, Result, SpoolFull
from perfctl.job.script import Started, checked_name, parse_list, script_argv, start_server
from perfctl.model import OUTPUT_LIMIT_BYTES
from perfctl.shell import Completed, Process, Transport
from perfctl.shell.files import get_file, put_file

T = TypeVar("T")

_CHANNELS = 4
"""Commands at once on one host; the connection has room for twice as many channels."""
# When a connection breaks it is tried again after so long; then the host is given up.
_PAUSES_S = (0.5, 2.0)
_CONTROL_TIMEOUT_S = 60.0
_TRANSFER_TIMEOUT_S = 600.0
_ACKNOWLEDGE_AFTER = 16


class JobShell:
    """Runs every command as a detached job of one run.

    Safe for several threads. A connection that is lost while a job runs is made again, and the job, which
    went on, is waited for.
    """

    def __init__(
        self, transport: Transport, start: Callable[[], Started], lease: HostLease | None = None
    ) -> None:
        """Use `start` to start the server. `JobShell.start` is what callers want."""
        started = start()
        self._transport = transport
        self._lease = lease
        self._start = start
        self._spool = started.spool
        self._prefix = f"auto-{secrets.token_hex(4)}"
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(_CHANNELS)
        self._idle: list[Channel] = []
        # A job of an earlier controller that still runs keeps its channel: nothing must queue behind it.
        self._used = {state.slot for state in started.jobs.values() if state.state == "running"}
        self._has_found_running = any(
            state.state == "running" and not _is_unnamed(job_id) for job_id, state in started.jobs.items()
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
        spool_root: str | None = None,
        lease: HostLease | None = None,
    ) -> JobShell:
        """Start the run's job server on the host and make a channel to it ready.

        One that runs already is an earlier controller's: its servers and unnamed commands are ended, but not
        while a named job still runs: then it is `collect_results` that ends them, after that job. After
        `lifetime_s` the server and all its jobs end by themselves. Every job renews `lease`, and does not
        begin when another holder has taken the host. Raises CommandFailed, SpoolFull, HostUnreachable.
        """
        shell = cls(
            transport,
            functools.partial(start_server, transport, run_id, lifetime_s=lifetime_s, spool_root=spool_root),
            lease,
        )
        shell._with_channel(Channel.attach)
        return shell

    @property
    def name(self) -> str:
        """The host's name."""
        return self._transport.name

    @property
    def spool(self) -> str:
        """The spool folder on the host. Jobs run in its subfolder `work`."""
        return self._spool

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
        stdin_path = self._put_stdin(job_id, stdin)
        request = Request(
            checked_name(job_id),
            tuple(argv),
            timeout_s,
            stdin_path,
            probe,
            self._terms_of(timeout_s + hold_s),
            output_limit_bytes,
        )
        with self._lock:
            self._running.add(job_id)
        try:
            result = self._with_channel(lambda channel: self._persist(channel, request))
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
            self._end([job_id])
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
        request = Request(job_id, tuple(argv), lease=self._terms_of(0.0))
        answer = self._with_channel(lambda channel: channel.spawn(request))
        if answer == "full":
            raise SpoolFull("the command was not started", where=self.name)
        if answer == "fenced":
            raise LeaseLost(where=self.name)
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
            self._end(ids)

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
        listed = self._transport.run(script_argv(self._spool, "list"), timeout_s=_CONTROL_TIMEOUT_S)
        for job_id, state in sorted(parse_list(listed.text, self.name).items()):
            if _is_unnamed(job_id):
                continue
            if state.state == "lost":
                outcomes[job_id] = JobLost(where=self.name)
            else:
                # A running job answers on its own channel only.
                channel = (
                    Channel(self._transport, self._spool, state.slot) if state.slot is not None else None
                )
                outcomes[job_id] = self._with_channel(
                    functools.partial(self._outcome, job_id=job_id, timeout_s=state.timeout_s), channel
                )
        if self._has_found_running:
            # Now that nothing runs, what has no name is ended, and the server's lifetime starts anew.
            self._has_found_running = False
            self._drop_idle()
            self._start()
        return outcomes

    def stop(self) -> None:
        """End everything of this run here. Results that were not acknowledged stay in the spool."""
        self._drop_idle()
        with self._lock:
            stored, self._stored = self._stored, []
        self._transport.run(script_argv(self._spool, "stop", *stored), timeout_s=_CONTROL_TIMEOUT_S)

    def is_running(self, job_id: str) -> bool:
        """Return whether a background command still runs."""
        return self._with_channel(lambda channel: channel.is_running(job_id))

    def end(self, job_id: str) -> None:
        """End a background command with its children. Raises HostUnreachable when something survives."""
        if not self._with_channel(lambda channel: channel.end(job_id)):
            raise CommandFailed(f"background command {job_id} survives SIGKILL", where=self.name)
        self.acknowledge(job_id)

    def output(self, job_id: str) -> bytes:
        """Return what a background command has written so far."""
        return self._with_channel(lambda channel: channel.output(job_id))

    # ---- channels ----

    def _with_channel(self, action: Callable[[Channel], T], channel: Channel | None = None) -> T:
        with self._room:
            channel = channel or self._take()
            try:
                self._send_acknowledgements(channel)
                outcome = action(channel)
            except BaseException:
                # Whatever is still under way on it must not be taken for the next answer.
                self._drop(channel)
                raise
            with self._lock:
                self._idle.append(channel)
            return outcome

    def _take(self) -> Channel:
        with self._lock:
            if self._idle:
                return self._idle.pop()
            free = (number for number in itertools.count() if number not in self._used)
            number = next(free)
            self._used.add(number)
        return Channel(self._transport, self._spool, number)

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for channel in idle:
            self._drop(channel)

    def _drop(self, channel: Channel) -> None:
        with self._lock:
            self._used.discard(channel.number)
        channel.close()

    def _send_acknowledgements(self, channel: Channel) -> None:
        with self._lock:
            if len(self._stored) < _ACKNOWLEDGE_AFTER:
                return
            stored, self._stored = self._stored, []
        try:
            channel.acknowledge(stored)
        except HostUnreachable:
            # The request that comes next connects anew; these go with a later one.
            with self._lock:
                self._stored += stored

    # ---- jobs ----

    def _terms_of(self, timeout_s: float) -> tuple[str, int, float] | None:
        return self._lease.terms_of(timeout_s) if self._lease else None

    def _new_id(self) -> str:
        return f"{self._prefix}-{next(self._numbers)}"

    def _persist(self, channel: Channel, request: Request) -> Result:
        """Run a job and come back to it, on its own channel, when the connection breaks."""
        for pause_s in (*_PAUSES_S, None):
            try:
                return channel.run(request)
            except JobLost:
                raise
            except HostUnreachable:
                if pause_s is None or self._is_cancelled(request.job_id):
                    raise
                time.sleep(pause_s)
            except CommandTimeout as error:
                # The host should have ended it long ago.
                self._end([request.job_id])
                raise CommandTimeout(
                    f"{request.argv[0]} did not end within its timeout, and the host did not report its end",
                    where=self.name,
                ) from error
        raise AssertionError("the last attempt returns or raises")

    def _is_cancelled(self, job_id: str) -> bool:
        with self._lock:
            return job_id in self._cancelled

    def _end(self, job_ids: Sequence[str]) -> None:
        self._transport.run(script_argv(self._spool, "cancel", *job_ids), timeout_s=_CONTROL_TIMEOUT_S)

    def _put_stdin(self, job_id: str, stdin: bytes) -> str | None:
        if not stdin:
            return None
        path = f"{self._spool}/jobs/{job_id}.in"
        argv = ["sh", "-c", 'cat >"$1"', "perfctl-stdin", path]
        done = self._transport.run(argv, timeout_s=_TRANSFER_TIMEOUT_S, stdin=stdin)
        if done.exit_code != 0:
            raise SpoolFull("the command was not started", where=self.name, detail=done.error_text)
        return path

    def _outcome(self, channel: Channel, job_id: str, timeout_s: float) -> Completed | PerfctlError:
        try:
            argv, result = channel.wait(job_id, timeout_s)
            return result.value(argv, self.name)
        except (JobTimeout, SpoolFull, JobLost, LeaseLost) as error:
            return error


def _is_unnamed(job_id: str) -> bool:
    return job_id.startswith("auto-")


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
            output = self.output()
            self._shell.end(self._job_id)
            self._final_output = output

    def output(self) -> str:
        """Return what it has written so far."""
        if self._final_output is not None:
            return self._final_output
        return self._shell.output(self._job_id).decode("utf-8", "backslashreplace")
