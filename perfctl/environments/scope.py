"""A systemd scope with limits, which the commands of a native environment join one after another.

One scope for all of them, as a container is one for all of its commands: the limits hold for their sum, and
what the first has left in the page cache counts as the second runs. A process that sleeps keeps it open; it
is a job like any other, so that ending a run's jobs ends the scope.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from perfctl.environments.limits import READ_GROUP, memory_bytes, oom_kills, scope_properties
from perfctl.errors import (
    CommandFailed,
    CommandTimeout,
    EnvironmentNotMade,
    EnvironmentUnavailable,
    PerfctlError,
)
from perfctl.model import Environment
from perfctl.shell import Completed, Process, Shell

CALL_TIMEOUT_S = 60.0
_START_TIMEOUT_S = 30.0

# $1 is the unit's name, the rest its settings. What the agent's own unit is stopped for, a lifetime that
# is over, must end the scope too: it is beside that unit, not in it. Without --collect, one that ran out
# of memory would stay on the host as a failed unit.
_KEEP = """
[ -d /run/systemd/system ] || { echo "systemd is not PID 1 on this host"; exit 1; }
for tool in systemd-run busctl; do
  command -v $tool >/dev/null || { echo "there is no $tool on this host"; exit 1; }
done
unit=$1
shift
server=$(grep -o 'perfctl-[A-Za-z0-9._-]*\\.service' /proc/self/cgroup | head -n 1)
[ -z "$server" ] || set -- -p "BindsTo=$server" -p "After=$server" "$@"
exec systemd-run --scope --quiet --collect --unit="$unit" "$@" sleep 2147483647
"""

NOT_JOINED = "perfctl: the scope cannot be joined"
# $0 is the unit's name. systemd moves the shell, which then becomes the command: no process stays around it.
_JOIN = f"""
busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager \\
  AttachProcessesToUnit ssau "$0" "" 1 $$ >&2 || {{ echo "{NOT_JOINED}" >&2; exit 125; }}
exec "$@"
"""

# $0 is the unit's name, $1 the memory limit in bytes.
_READ = f"""
group=$(systemctl show -p ControlGroup --value "$0")
limit=$1
{READ_GROUP}
exit 0
"""


class SystemdScope:
    """A scope that is active."""

    def __init__(self, host: Shell, unit: str, keeper: Process) -> None:
        self._host = host
        self._keeper = keeper
        self._events = ""
        self._oom_kills = 0
        self.unit = unit

    def argv(self, argv: Sequence[str]) -> list[str]:
        """Return the command that joins the scope and becomes `argv`."""
        return ["sh", "-c", _JOIN, self.unit, *argv]

    def read(self, environment: Environment) -> dict[str, str]:
        """Return the limits as the control group has them. Raises EnvironmentUnavailable."""
        argv = ["sh", "-c", _READ, self.unit, str(memory_bytes(environment))]
        done = self._host.run(argv, timeout_s=CALL_TIMEOUT_S)
        if done.exit_code:
            raise EnvironmentUnavailable(
                f"its limits cannot be read: {done.error_text}", where=f"{self._host.name}/{environment.name}"
            )
        found = key_values(done.text)
        self._events = found.pop("events", "")
        return found

    def is_active(self) -> bool:
        """Return whether it is still there: it ends with its keeper."""
        return self._keeper.is_running()

    def state_report(self) -> str:
        """Return the output of systemd-run."""
        return self._keeper.output()

    def has_run_out_of_memory(self) -> bool:
        """Return whether the kernel has OOM-killed a process in it since the last call."""
        before = self._oom_kills
        counted = self._host.run(["cat", self._events], timeout_s=CALL_TIMEOUT_S)
        self._oom_kills = oom_kills(counted.text)
        return self._oom_kills > before


@contextmanager
def opened(host: Shell, environment: Environment, name: str) -> Iterator[SystemdScope]:
    """Start a scope with the limits of `environment`; at the end stop it with all that is in it.

    Raises EnvironmentFailure with systemd's message, CommandTimeout.
    """
    unit = f"{name}.scope"
    options = [word for setting in scope_properties(environment) for word in ("-p", setting)]
    keeper = host.spawn(["sh", "-c", _KEEP, "sh", unit, *options])
    try:
        _await_active(host, environment, unit, keeper)
        yield SystemdScope(host, unit, keeper)
    except BaseException as error:
        try:
            _end(host, unit, keeper)
        except PerfctlError as failure:
            error.add_note(str(failure))
        raise
    _end(host, unit, keeper)


def _await_active(host: Shell, environment: Environment, unit: str, keeper: Process) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    where = f"{host.name}/{environment.name}"
    while host.run(["systemctl", "--quiet", "is-active", unit], timeout_s=CALL_TIMEOUT_S).exit_code:
        if not keeper.is_running():
            output = keeper.output().strip()
            is_missing = output.startswith("there is no ")
            raise (EnvironmentNotMade if is_missing else EnvironmentUnavailable)(
                f"CPU time and memory cannot be limited: {output or 'systemd-run failed'}",
                where=where,
                hint="limits need root and systemd as PID 1; leave the environment out with --env",
            )
        if time.monotonic() > deadline:
            raise CommandTimeout(f"systemd did not start {unit} within {_START_TIMEOUT_S:.0f} s", where=where)
        time.sleep(0.05)


def _end(host: Shell, unit: str, keeper: Process) -> None:
    # Also what has left the sessions of its jobs: nothing of one measurement is left for the next.
    try:
        stopped = host.run(["systemctl", "stop", unit], timeout_s=CALL_TIMEOUT_S)
    finally:
        keeper.stop()
    if _survives(stopped):
        raise CommandFailed(
            f"{unit} was not stopped: {stopped.error_text}",
            where=host.name,
            hint=f"stop it by hand: systemctl stop {unit}",
        )


def _survives(stopped: Completed) -> bool:
    gone = ("not loaded", "not found", "not been booted", "No such file")
    return stopped.exit_code != 0 and not any(words in stopped.error_text for words in gone)


def key_values(text: str) -> dict[str, str]:
    """Return the KEY=VALUE lines of a script's output."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key: value.strip() for key, mark, value in pairs if mark}
