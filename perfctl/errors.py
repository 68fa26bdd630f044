"""The errors a user can meet. Each says what happened, where, and what to do; each has an exit code.

PerfctlError                  1   internal, or the system refuses
├── UsageError                2   the command line, the project file
│   ├── UnknownName           2   suite, environment, benchmark, host, run
│   └── SuiteError            2   a suite file with a wrong key, type or unit
├── PartialFailure            3   some hosts or invocations failed; the rest is kept
│   ├── PlaybookFailed        3   a task failed on a host
│   └── EnvironmentFailure    3   with the reason, and what is kept of it (a guest's console)
│       ├── EnvironmentUnavailable 3  the host or its kernel refuse this environment, because ...
│       ├── EnvironmentNotMade 3  something that it is made of or by is missing: image, runtime, tool, file
│       └── EnvironmentDied   3   a container or guest ended under the command that ran in it
├── HostError                 4   no host reachable or matched
│   ├── HostUnreachable       4
│   ├── HostKeyMismatch       4   the host is not the one we knew
│   └── NoHostMatched         4
├── RegressionFound           5   a gate was crossed
├── HostLeased                6   another holder measures or changes the host
├── Refused                   7   preflight or safety says no
│   └── DriftFound            7   a host is not as it was provisioned
├── DataError                 8   data or schema
│   ├── SchemaMismatch        8   the database is newer or older than this program
│   ├── DatabaseUnavailable   8   locked, read-only, not a database
│   │   ├── DatabaseMoved     8   moved, deleted, replaced or cut while it was written
│   │   └── DatabaseLost      8   its server cannot be reached, any more
│   └── QueryError            8   a query the database refused
├── CommandFailed             1   a command of ours on a host exited non-zero
├── OutputError               8   a benchmark's output could not be read
├── CommandTimeout          124   a command did not end in its time
└── Interrupted             130   Ctrl-C; what was measured is kept
"""

from __future__ import annotations

from collections.abc import Mapping


class PerfctlError(Exception):
    """Base of all errors shown to the user.

    `message` says what happened, `where` names the host, file or run, `hint` what to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message

    @property
    def with_hint(self) -> str:
        """The error in one line, with what to do where that is known."""
        return f"{self} (try: {self.hint})" if self.hint else str(self)


class UsageError(PerfctlError):
    """The command line or the project file asks for something that makes no sense."""

    exit_code = 2


class UnknownName(UsageError):
    """A suite, environment, benchmark, host or run of that name does not exist."""


class SuiteError(UsageError):
    """A suite file has a wrong key, type or unit."""


class PartialFailure(PerfctlError):
    """Some hosts or invocations failed; everything that worked is kept."""

    exit_code = 3


class PlaybookFailed(PartialFailure):
    """A task failed on a host; the message is the module's own."""


class EnvironmentFailure(PartialFailure):
    """An environment that is not there: `EnvironmentUnavailable`, `EnvironmentNotMade`, `EnvironmentDied`.

    `reason` is the name of a `perfctl.model.Reason`; `artifacts` is what is kept of it by name, e.g. the
    console of a guest.
    """

    default_reason = "environment_unavailable"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        artifacts: Mapping[str, bytes] | None = None,
        where: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.reason = reason or self.default_reason
        self.artifacts = dict(artifacts or {})


class EnvironmentUnavailable(EnvironmentFailure):
    """The host or its kernel refuse the environment: a privilege, device, module or accelerator is missing.

    Whoever measures a fleet of different hosts expects that; it is no failure of the run.
    """


class EnvironmentNotMade(EnvironmentFailure):
    """The environment was not made, and the suite or the provisioning can mend that.

    Its image, runtime, engine, a tool or a file is missing, the disk is full, or nobody knows why.
    """

    default_reason = "environment_not_made"


class EnvironmentDied(EnvironmentFailure):
    """The environment was made and then ended by itself; the message carries its last words."""

    default_reason = "environment_died"


class HostError(PerfctlError):
    """No host is reachable or matched."""

    exit_code = 4


class HostUnreachable(HostError):
    """The host does not answer, or the connection to it was lost."""


class HostTurnedAway(HostUnreachable):
    """The host refused the connection, or ended it before the login; it may take one a little later."""


class HostKeyMismatch(HostError):
    """The host's key is unknown or is not the one we knew."""


class NoHostMatched(HostError):
    """The inventory and --limit leave no host."""


class RegressionFound(PerfctlError):
    """A gate was crossed."""

    exit_code = 5


class HostLeased(PerfctlError):
    """Another holder measures or changes the host."""

    exit_code = 6


class Refused(PerfctlError):
    """Preflight or a safety rule says no; nothing was changed."""

    exit_code = 7


class DriftFound(Refused):
    """A host is not as it was provisioned."""


class DataError(PerfctlError):
    """The data or its schema is not what it must be."""

    exit_code = 8


class SchemaMismatch(DataError):
    """The database was written by another version of the schema."""


class DatabaseUnavailable(DataError):
    """The database is locked, read-only, or no database at all."""


class DatabaseMoved(DatabaseUnavailable):
    """The database at the path is no longer the file that was opened; nothing more is stored."""


class DatabaseLost(DatabaseUnavailable):
    """The server of the database cannot be reached; what was committed before is kept."""


class QueryError(DataError):
    """The database refused a query."""


class OutputError(DataError):
    """A benchmark's output is not what its workload reads.

    `reason` is the name of a `perfctl.model.Reason`.
    """

    def __init__(self, message: str, *, reason: str = "unparsable", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class CommandFailed(PerfctlError):
    """A command of ours (not a benchmark) exited non-zero."""


class CommandTimeout(PerfctlError):
    """A command did not end in its time."""

    exit_code = 124


class Interrupted(PerfctlError):
    """The user stopped us; what was measured is kept."""

    exit_code = 130
