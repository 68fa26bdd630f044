"""An environment within another one: the inner one is opened in the outer one's shell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from perfctl.environments.protocol import EnvironmentDriver, EnvironmentShell
from perfctl.model import GuestBoot
from perfctl.shell import Completed, Process, Shell


class NestedShell:
    """The inner environment's shell; the host sees no more of it than the outer one."""

    def __init__(self, outer: EnvironmentShell, inner: EnvironmentShell) -> None:
        self._outer = outer
        self._inner = inner

    @property
    def name(self) -> str:
        """The names of the host, the outer and the inner environment."""
        return self._inner.name

    @property
    def address(self) -> str:
        """The inner environment's own."""
        return self._inner.address

    @property
    def boot(self) -> GuestBoot | None:
        """The outer environment's."""
        return self._outer.boot

    @property
    def opening_s(self) -> Mapping[str, float]:
        """The outer environment's steps, and the inner one's after the last of them."""
        before_s = max(self._outer.opening_s.values(), default=0.0)
        own = {step: before_s + seconds for step, seconds in self._inner.opening_s.items()}
        return {**self._outer.opening_s, **own}

    @property
    def host_processes(self) -> str:
        """The outer environment's: the host sees nothing else."""
        return self._outer.host_processes

    @property
    def container_id(self) -> str:
        """'': the host sees nothing of the inner environment."""
        return ""

    @property
    def host_network_folder(self) -> None:
        """None: the network is in the outer environment."""
        return None

    def artifacts(self) -> Mapping[str, bytes]:
        """Return what is kept of both."""
        return {**self._inner.artifacts(), **self._outer.artifacts()}

    def is_alive(self) -> bool:
        """Return whether both run."""
        return self._outer.is_alive() and self._inner.is_alive()

    def state_report(self) -> str:
        """Return the report of the one that died."""
        return self._inner.state_report() if self._outer.is_alive() else self._outer.state_report()

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        """Run `argv` in the inner environment. Raises EnvironmentDied when either was gone."""
        return self._inner.run(argv, timeout_s=timeout_s, stdin=stdin)

    def spawn(self, argv: Sequence[str]) -> Process:
        """Start `argv` in the inner environment, in the background."""
        return self._inner.spawn(argv)

    def put(self, local: Path, remote: str, *, mode: int) -> None:
        """Copy a file into the inner environment."""
        self._inner.put(local, remote, mode=mode)

    def get(self, remote: str) -> bytes:
        """Return a file of the inner environment."""
        return self._inner.get(remote)


class NestedDriver:
    """Makes the outer environment on the host, and the inner one in it."""

    def __init__(self, outer: EnvironmentDriver, inner: Callable[[str], EnvironmentDriver]) -> None:
        """`inner` returns the inner driver for the address that its host, the outer environment, has."""
        self._outer = outer
        self._inner = inner
        self._open_outer: EnvironmentShell | None = None

    def check(self, host: Shell) -> None:
        """Try both; the inner one can only be tried inside. Raises EnvironmentFailure."""
        with self._outer.open(host) as outer:
            self._inner(outer.address).check(outer)

    def describe(self, host: Shell) -> dict[str, str]:
        """Return the inner environment's description, and the outer one's under 'within.'.

        The outer one is made for it, unless `open` has made one.
        """
        outer_description = self._outer.describe(host)
        with nullcontext(self._open_outer) if self._open_outer else self._outer.open(host) as outer:
            inner_description = self._inner(outer.address).describe(outer)
        return {**inner_description, **{f"within.{name}": text for name, text in outer_description.items()}}

    @contextmanager
    def open(self, host: Shell) -> Iterator[NestedShell]:
        """Make both, give the inner one's shell, remove both. Raises like the drivers themselves."""
        with self._outer.open(host) as outer, self._inner(outer.address).open(outer) as inner:
            self._open_outer = outer
            try:
                yield NestedShell(outer, inner)
            finally:
                self._open_outer = None
