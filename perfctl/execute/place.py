"""Open and close the environments of an invocation side by side, on connected hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from perfctl.environments import EnvironmentShell
from perfctl.environments.drivers import driver_for
from perfctl.errors import EnvironmentFailure, HostError, PerfctlError
from perfctl.execute.fleet import ConnectedHost
from perfctl.job import JobShell, ProcessProbe
from perfctl.model import Environment
from perfctl.shell import Completed, Process

Result = TypeVar("Result")


class InvocationShell:
    """A host's job shell as one invocation sees it.

    After `measure_next()` one command runs under the invocation's own id, so that a later controller finds
    its result in the host's spool. Only one: whatever the environment has to ask the host around it (is the
    container alive, end what is left in it) is a job of its own.
    """

    def __init__(self, jobs: JobShell, invocation_id: str) -> None:
        self._jobs = jobs
        self._invocation_id = invocation_id
        self._is_next_measured = False
        self._probe: ProcessProbe | None = None

    @property
    def name(self) -> str:
        """The host's name."""
        return self._jobs.name

    def measure_next(self, probe: ProcessProbe | None) -> None:
        """Give the next command the invocation's id, and have the host's processes read while it runs."""
        self._is_next_measured = True
        self._probe = probe

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        """Run `argv` as a detached job."""
        if self._is_next_measured:
            self._is_next_measured = False
            return self._jobs.run_job(
                self._invocation_id, argv, timeout_s=timeout_s, stdin=stdin, probe=self._probe
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
class Place:
    """An environment on a host; `artifact_prefix` goes before the names of what is kept of it."""

    connected: ConnectedHost
    environment: Environment
    artifact_prefix: str = ""
    first_output_s: float | None = None
    """How long an earlier guest took on the host until it printed something."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A place that has been opened: the host's shell under it, and the environment's own."""

    place: Place
    host: InvocationShell
    shell: EnvironmentShell

    def artifacts(self) -> Mapping[str, bytes]:
        """Return what is kept of the environment; what cannot be read is left out."""
        with suppress(PerfctlError):
            return _prefixed(self.place, self.shell.artifacts())
        return {}


def open_places(
    places: Sequence[Place], *, run_id: str, invocation_id: str, stack: ExitStack
) -> list[Opened]:
    """Open all places at the same time and have `stack` close them at the same time.

    When one cannot be opened the others are closed with the stack. Raises like `EnvironmentDriver.open`, of
    several errors a lost host's first; so does the stack.
    """
    openings = [_opening(place, run_id, invocation_id) for place in places]
    futures = _side_by_side([opening.__enter__ for opening in openings])
    errors = [future.exception() for future in futures]
    for place, error in zip(places, errors, strict=True):
        if error is not None:
            name_artifacts(place, error)
    whole = [opening for opening, error in zip(openings, errors, strict=True) if error is None]
    stack.push(partial(_close, whole))
    _raise_first(errors)
    return [future.result() for future in futures]


def _close(
    openings: Sequence[AbstractContextManager[Opened]],
    kind: type[BaseException] | None,
    inside: BaseException | None,
    traceback: TracebackType | None,
) -> None:
    """Close all at the same time, whatever happens to one; `inside` is the error that ended what was done."""
    closings = [partial(opening.__exit__, kind, inside, traceback) for opening in openings]
    errors = [future.exception() for future in _side_by_side(closings)]
    _raise_first([error for error in errors if error is not inside])


def _side_by_side(actions: Sequence[Callable[[], Result]]) -> list[Future[Result]]:
    """Carry out all actions at the same time, a thread each; return them when all have ended."""
    with ThreadPoolExecutor(max_workers=max(1, len(actions))) as pool:
        return [pool.submit(action) for action in actions]


def _raise_first(errors: Sequence[BaseException | None]) -> None:
    there = [error for error in errors if error is not None]
    if there:
        raise next((error for error in there if isinstance(error, HostError)), there[0])


def name_artifacts(place: Place, error: BaseException) -> None:
    """Give what an error of this place keeps the names that tell whose it is."""
    if isinstance(error, EnvironmentFailure):
        error.artifacts = _prefixed(place, error.artifacts)


def _prefixed(place: Place, artifacts: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{place.artifact_prefix}{name}": content for name, content in artifacts.items()}


@contextmanager
def _opening(place: Place, run_id: str, invocation_id: str) -> Iterator[Opened]:
    host = InvocationShell(place.connected.jobs, invocation_id)
    driver = driver_for(
        place.environment,
        run_id=run_id,
        invocation_id=invocation_id,
        host_address=place.connected.host.network_address,
        first_output_s=place.first_output_s,
    )
    with driver.open(host) as shell:
        yield Opened(place, host, shell)
