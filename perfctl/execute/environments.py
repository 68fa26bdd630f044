"""Open and close the environments of an invocation at the same time, on connected hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from perfctl.environments import EnvironmentShell, traits_of
from perfctl.environments.drivers import driver_for
from perfctl.environments.limits import is_limited
from perfctl.errors import EnvironmentFailure, HostError, PerfctlError
from perfctl.execute.fleet import ConnectedHost
from perfctl.job import JobShell, ProcessProbe
from perfctl.model import OUTPUT_LIMIT_BYTES, Environment
from perfctl.shell import Completed, Process

T = TypeVar("T")


class InvocationShell:
    """A host's job shell as one invocation sees it.

    After `measure_next()` one command runs under the invocation's own id, so that a later controller finds
    its result in the host's spool. Only one: what the environment itself runs on the host around it (inspect
    the container, end what is left in it) is a job of its own.
    """

    def __init__(self, jobs: JobShell, invocation_id: str) -> None:
        self._jobs = jobs
        self._invocation_id = invocation_id
        self._is_next_measured = False
        self._probe: ProcessProbe | None = None
        self._output_limit_bytes = OUTPUT_LIMIT_BYTES

    @property
    def name(self) -> str:
        """The host's name."""
        return self._jobs.name

    def measure_next(self, probe: ProcessProbe | None, output_limit_bytes: int) -> None:
        """Run the next command under the invocation's id, with the host's processes read by `probe`.

        Of each of its outputs `output_limit_bytes` are kept.
        """
        self._is_next_measured = True
        self._probe = probe
        self._output_limit_bytes = output_limit_bytes

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        """Run `argv` as a detached job."""
        if self._is_next_measured:
            self._is_next_measured = False
            return self._jobs.run_job(
                self._invocation_id,
                argv,
                timeout_s=timeout_s,
                stdin=stdin,
                probe=self._probe,
                output_limit_bytes=self._output_limit_bytes,
            )
        return self._jobs.run(argv, timeout_s=timeout_s, stdin=stdin)

    def spawn(self, argv: Sequence[str]) -> Process:
        """Start `argv` in the background."""
        return self._jobs.spawn(argv)

    def put(self, local: Path, remote: str, *, mode: int) -> None:
        """Copy a file there."""
        self._jobs.put(local, remote, mode=mode)

    def get(self, remote: str) -> bytes:
        """Return a file's bytes."""
        return self._jobs.get(remote)


@dataclass(frozen=True, slots=True)
class Placement:
    """An environment on a host; `artifact_prefix` goes before the names of what is kept of it."""

    connected: ConnectedHost
    environment: Environment
    artifact_prefix: str = ""
    first_output_s: float | None = None
    """How long an earlier guest took on the host until it printed something."""


@dataclass(frozen=True, slots=True)
class OpenEnvironment:
    """An environment that is open: the shell of its host, and its own."""

    placement: Placement
    host: InvocationShell
    shell: EnvironmentShell

    def artifacts(self) -> Mapping[str, bytes]:
        """Return what is kept of the environment; what cannot be read is left out."""
        with suppress(PerfctlError):
            return _prefixed(self.placement, self.shell.artifacts())
        return {}


def open_environments(
    placements: Sequence[Placement], *, run_id: str, invocation_id: str, stack: ExitStack
) -> list[OpenEnvironment]:
    """Open all environments at the same time, and have `stack` close them at the same time.

    Those that take no time, the hosts themselves, are opened in turn.

    When one cannot be opened, the others are closed with the stack. Raises like `EnvironmentDriver.open`, of
    several errors that of a lost host; so does closing the stack.
    """
    openings = [_opening(placement, run_id, invocation_id) for placement in placements]
    # To start threads takes longer than to open the host itself, as a run does thousands of times.
    at_once = sum(_takes_time(placement.environment) for placement in placements) > 1
    futures = _run([opening.__enter__ for opening in openings], at_once=at_once)
    errors = [future.exception() for future in futures]
    for placement, error in zip(placements, errors, strict=True):
        if error is not None:
            name_artifacts(placement, error)
    succeeded = [opening for opening, error in zip(openings, errors, strict=True) if error is None]
    stack.push(partial(_close, succeeded, at_once))
    _raise_first(errors)
    return [future.result() for future in futures]


def _takes_time(environment: Environment) -> bool:
    return traits_of(environment).is_made or is_limited(environment)


def _close(
    openings: Sequence[AbstractContextManager[OpenEnvironment]],
    at_once: bool,
    kind: type[BaseException] | None,
    ended_by: BaseException | None,
    traceback: TracebackType | None,
) -> None:
    """Close all, also when one cannot be closed; `ended_by` is the body's error, if any."""
    closings = [partial(opening.__exit__, kind, ended_by, traceback) for opening in openings]
    errors = [future.exception() for future in _run(closings, at_once=at_once)]
    _raise_first([error for error in errors if error is not ended_by])


def _run(actions: Sequence[Callable[[], T]], *, at_once: bool) -> list[Future[T]]:
    """Run all actions, in threads at the same time or in turn; return their futures when all have ended."""
    if not at_once:
        return [_run_here(action) for action in actions]
    with ThreadPoolExecutor(max_workers=len(actions)) as pool:
        return [pool.submit(action) for action in actions]


def _run_here(action: Callable[[], T]) -> Future[T]:
    """Run an action in this thread, and return its future."""
    future = Future[T]()
    try:
        future.set_result(action())
    except BaseException as error:  # noqa: BLE001 (raised where those of the others are)
        future.set_exception(error)
    return future


def _raise_first(errors: Sequence[BaseException | None]) -> None:
    raised = [error for error in errors if error is not None]
    if raised:
        raise next((error for error in raised if isinstance(error, HostError)), raised[0])


def name_artifacts(placement: Placement, error: BaseException) -> None:
    """Add the prefix of a placement to the names of the artifacts in an error of its environment."""
    if isinstance(error, EnvironmentFailure):
        error.artifacts = _prefixed(placement, error.artifacts)


def _prefixed(placement: Placement, artifacts: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{placement.artifact_prefix}{name}": content for name, content in artifacts.items()}


@contextmanager
def _opening(placement: Placement, run_id: str, invocation_id: str) -> Iterator[OpenEnvironment]:
    host = InvocationShell(placement.connected.jobs, invocation_id)
    driver = driver_for(
        placement.environment,
        run_id=run_id,
        invocation_id=invocation_id,
        host_address=placement.connected.host.network_address,
        first_output_s=placement.first_output_s,
    )
    with driver.open(host) as shell:
        yield OpenEnvironment(placement, host, shell)
