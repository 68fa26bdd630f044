"""What became of an execution. Failed, skipped and interrupted invocations are records too, never absent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from perfctl.model.environment import Accelerator
from perfctl.model.usage import ResourceUsage

SERVER_COUNTERS = ("server_counters_before", "server_counters_after")
"""Names of artifacts: the counters of the server's host just before the client's command and just after."""


TASK = "task"
"""Name of the artifact with what the kernel said of the measured command's launcher."""


class Status(StrEnum):
    """How an invocation ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"
    INTERRUPTED = "interrupted"


class Reason(StrEnum):
    """Why an invocation is not `ok`."""

    EXIT_NONZERO = "exit_nonzero"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    NO_OUTPUT = "no_output"
    UNPARSABLE = "unparsable"
    MISSING_METRIC = "missing_metric"
    UNIT_MISMATCH = "unit_mismatch"
    CONTRADICTION = "contradiction"
    TOOL_ERROR = "tool_error"
    TOOL_MISSING = "tool_missing"
    ENVIRONMENT_UNAVAILABLE = "environment_unavailable"
    ENVIRONMENT_NOT_MADE = "environment_not_made"
    ENVIRONMENT_DIED = "environment_died"
    GUEST_PANICKED = "guest_panicked"
    GUEST_SILENT = "guest_silent"
    GUEST_STALLED = "guest_stalled"
    DISK_FULL = "disk_full"
    OUT_OF_MEMORY = "out_of_memory"
    NAME_TAKEN = "name_taken"
    SERVER_NOT_READY = "server_not_ready"
    SPOOL_FULL = "spool_full"
    OUTPUT_CUT = "output_cut"
    SETUP_FAILED = "setup_failed"
    LABEL_MISMATCH = "label_mismatch"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class GuestBoot:
    """What the guest of an invocation really had, and how often it was booted until it came up."""

    accelerator: Accelerator
    vcpus: int
    attempts: int = 1

    @property
    def remark(self) -> str:
        """Return what the user is told of a guest that was booted more than once."""
        return f"a guest printed nothing and was ended; boot {self.attempts} came up and counts"


@dataclass(frozen=True, slots=True)
class InvocationRecord:
    """One execution inside a block, as it is stored.

    Times named `host_*` are CLOCK_MONOTONIC nanoseconds of the host that ran the benchmark;
    `started_at` is the controller's wall clock in Unix seconds.
    """

    id: str
    block_id: str
    environment: str
    replicate: int
    position: int
    status: Status
    reason: Reason | None
    detail: str
    argv: tuple[str, ...]
    exit_code: int | None
    started_at: float
    host_started_ns: int | None
    host_ended_ns: int | None
    stdout: bytes
    stderr: bytes
    counters_before: bytes
    """Text of /proc/stat, /proc/loadavg, /proc/pressure/* just before, as the job script read it."""
    counters_after: bytes
    fingerprint_id: str | None
    """Content hash of the fingerprint taken inside the environment."""
    accelerator: str | None = None
    """'kvm' or 'tcg' when it ran in a guest. Values of different accelerators are never compared."""
    vcpus: int | None = None
    """How many vCPUs its guest had."""
    boot_attempts: int | None = None
    """How often its guest was booted until it came up; all times are of the last boot."""
    artifacts: Mapping[str, bytes] = field(default_factory=dict)
    """What else is kept of it, by name: 'console', 'domain_xml', 'host_view', `SERVER_COUNTERS`."""
    validity: str | None = None
    """'valid', 'flagged' or 'invalid' by the counters around it; None where nobody judged."""
    validity_json: str | None = None
    """What was found, what could not be judged, and what the verdict rests on; None as `validity` is."""
    usage: ResourceUsage | None = None
    """What its command has used; None where there was no command, or nobody asked."""
