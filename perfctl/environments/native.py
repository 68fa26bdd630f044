"""The native environment, the usual baseline: the host itself, within limits if it has any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from perfctl.environments import limits, scope
from perfctl.environments.naming import name_stem, new_name
from perfctl.environments.scope import SystemdScope, key_values
from perfctl.environments.variables import with_variables
from perfctl.errors import CommandTimeout, EnvironmentDied, EnvironmentNotMade, EnvironmentUnavailable
from perfctl.job import JobTimeout
from perfctl.model import Environment
from perfctl.shell import Completed, Process, Shell
from perfctl.shell.command import checked

# Run under the limits. `getconf` counts the CPUs of the host, not those it may use.
_PRINT_LIMITS = """
while read -r key value; do
  [ "$key" = Cpus_allowed_list: ] && echo "cpus=$value"
done </proc/self/status
echo "online=$(getconf _NPROCESSORS_ONLN)"
[ "$0" = nodes ] || exit 0
numactl --show | while read -r key value; do
  [ "$key" = membind: ] && echo "nodes=$value"
done
exit 0
"""


class NativeShell:
    """The host's own shell as an environment; without limits it cannot die by itself."""

    def __init__(
        self, host: Shell, environment: Environment, address: str, held: SystemdScope | None
    ) -> None:
        self._host = host
        self._environment = environment
        self._address = address
        self._scope = held
        self._is_wrapped = limits.is_limited(environment) or bool(environment.env)

    @property
    def name(self) -> str:
        """The host's name, and the environment's where it has limits or variables."""
        return f"{self._host.name}/{self._environment.name}" if self._is_wrapped else self._host.name

    @property
    def address(self) -> str:
        """The host's address on the test network."""
        return self._address

    def is_alive(self) -> bool:
        """Return whether its limits are still held; a host that has gone is HostUnreachable."""
        return self._scope is None or self._scope.is_active()

    def state_report(self) -> str:
        """Return the output of systemd-run, which holds the limits; '' without any."""
        return self._scope.state_report() if self._scope else ""

    @property
    def boot(self) -> None:
        """None: there is no guest."""
        return None

    @property
    def opening_s(self) -> Mapping[str, float]:
        """Nothing: the host is there already."""
        return {}

    @property
    def host_processes(self) -> str:
        """Those of its scope, or only those of the command."""
        return f"cgroup:{self._scope.unit}" if self._scope else ""

    @property
    def container_id(self) -> str:
        """'': it is no container."""
        return ""

    @property
    def host_network_folder(self) -> str:
        """The host's own network."""
        return "/proc/net"

    def artifacts(self) -> Mapping[str, bytes]:
        """Return nothing."""
        return {}

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        """Run `argv` on the host within the limits and with the variables.

        Raises OutOfMemory when the memory limit was reached, EnvironmentDied when the limits are gone.
        """
        if not self._is_wrapped:
            return self._host.run(argv, timeout_s=timeout_s, stdin=stdin)
        try:
            completed = self._host.run(self._wrapped(argv), timeout_s=timeout_s, stdin=stdin)
        except CommandTimeout as error:
            error.message = f"{argv[0]} did not end within {timeout_s:g} s"
            error.where = self.name
            if isinstance(error, JobTimeout):
                error.completed = replace(error.completed, argv=tuple(argv))
            raise
        if self._scope and completed.exit_code == 125 and scope.NOT_JOINED in completed.error_text:
            raise EnvironmentDied(f"its limits are gone: {completed.error_text}", where=self.name)
        own = replace(completed, argv=tuple(argv))
        if own.exit_code and self._scope and self._scope.has_run_out_of_memory():
            raise limits.OutOfMemory(self._environment, own, where=self.name)
        return own

    def spawn(self, argv: Sequence[str]) -> Process:
        """Start `argv` on the host in the background, within the limits and with the variables."""
        return self._host.spawn(self._wrapped(argv))

    def put(self, local: Path, remote: str, *, mode: int) -> None:
        """Copy a file to the host."""
        self._host.put(local, remote, mode=mode)

    def get(self, remote: str) -> bytes:
        """Return a file of the host."""
        return self._host.get(remote)

    def _wrapped(self, argv: Sequence[str]) -> Sequence[str]:
        if not self._is_wrapped:
            return argv
        own = with_variables(self._environment, checked(argv))
        bound = [*limits.affinity_argv(self._environment), *own]
        return self._scope.argv(bound) if self._scope else bound


class NativeDriver:
    """Opens the host itself. Without limits there is nothing to make and nothing to remove."""

    def __init__(
        self, environment: Environment, *, run_id: str, invocation_id: str, host_address: str
    ) -> None:
        self._environment = environment
        self._stem = name_stem(run_id, invocation_id)
        self._address = host_address

    def check(self, host: Shell) -> None:
        """Try the limits. Raises EnvironmentFailure where one would not hold."""
        with self.open(host):
            pass

    def describe(self, host: Shell) -> dict[str, str]:
        """Return the limits as a command under them reads them; nothing without any."""
        with ExitStack() as stack:
            return {f"limits.{key}": value for key, value in self._enter(host, stack)[1].items()}

    @contextmanager
    def open(self, host: Shell) -> Iterator[NativeShell]:
        """Give the host's shell, within the limits. Raises EnvironmentFailure where one does not hold."""
        with ExitStack() as stack:
            yield self._enter(host, stack)[0]

    def _enter(self, host: Shell, stack: ExitStack) -> tuple[NativeShell, dict[str, str]]:
        environment = self._environment
        if not limits.is_limited(environment):
            return NativeShell(host, environment, self._address, None), {}
        held = None
        found = {}
        if limits.needs_scope(environment):
            held = stack.enter_context(scope.opened(host, environment, new_name(self._stem)))
            found = held.read(environment)
        shell = NativeShell(host, environment, self._address, held)
        found |= _limits_in_force(shell, environment)
        wrong = limits.not_in_force(environment, found)
        if wrong:
            raise EnvironmentUnavailable(wrong, where=shell.name, hint="leave it out with --env")
        return shell, found


def _limits_in_force(shell: NativeShell, environment: Environment) -> dict[str, str]:
    """Return the limits as a command under them reads them. Raises EnvironmentFailure."""
    nodes = "nodes" if environment.cpuset_mems else "no nodes"
    done = shell.run(["sh", "-c", _PRINT_LIMITS, nodes], timeout_s=scope.CALL_TIMEOUT_S)
    if done.exit_code == 0:
        # numactl has blanks between nodes.
        return {key: ",".join(value.split()) for key, value in key_values(done.text).items()}
    reason = (done.error_text.splitlines() or [f"exit code {done.exit_code}"])[0]
    missing = done.exit_code == 127
    raise (EnvironmentNotMade if missing else EnvironmentUnavailable)(
        f"it cannot be bound to its CPUs and NUMA nodes: {reason}",
        where=shell.name,
        hint="install what is missing: perfctl provision" if missing else "leave it out with --env",
    )
