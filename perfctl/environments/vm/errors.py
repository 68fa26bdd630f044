"""Errors of guests: the output of a host's script as an error with its reason. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from perfctl.environments.vm.commands import Guest
from perfctl.environments.vm.host_state import PROVISION_HINT, GuestState, console_artifact, stalled
from perfctl.errors import EnvironmentDied, EnvironmentFailure, EnvironmentNotMade, EnvironmentUnavailable
from perfctl.shell import Completed

_NAME_TAKEN, _NO_ROOM, _NO_ADDRESS, _NOT_CREATED = 11, 12, 13, 14

_REFUSALS = (
    "Could not access KVM",
    "failed to initialize kvm",
    "failed to initialize KVM",
    "/dev/net/tun",
    "/dev/vhost-net",
    "Operation not permitted",
    "Operation not supported",
)
"""Messages of hosts and kernels that lack a privilege, device or module."""

_MEANINGS: tuple[tuple[str, str, str, str | None], ...] = (
    (
        "already exists with uuid",
        "name_taken",
        "the domain {name} exists and is not perfctl's; it is left alone",
        "end it with virsh destroy if nobody needs it, then: perfctl resume",
    ),
    (
        "Cannot allocate memory",
        "out_of_memory",
        "the host has too little memory for the guest ({reason})",
        "set a smaller memory_mib",
    ),
    (
        "cannot set up guest memory",
        "out_of_memory",
        "the host has too little memory for the guest ({reason})",
        "set a smaller memory_mib",
    ),
    (
        "No space left on device",
        "disk_full",
        "the host's disk is full ({reason})",
        "make room on the host, or set perf_vm_host_storage",
    ),
    (
        "Permission denied",
        "environment_not_made",
        "qemu may not read its files ({reason})",
        PROVISION_HINT,
    ),
)


class NoOutput(EnvironmentDied):
    """A guest printed nothing within the time in which its kernel starts, and was ended."""

    default_reason = "guest_silent"


def claim_error(guest: Guest, claimed: Completed) -> EnvironmentFailure:
    """Return the error for a guest that got no folder or address on the host."""
    if claimed.exit_code == _NAME_TAKEN:
        return EnvironmentNotMade(
            f"the guest {guest.name} exists already; it is left alone", reason="name_taken"
        )
    if claimed.exit_code == _NO_ADDRESS:
        return address_error(claimed.error_text.split())
    return _error_of_message(guest, claimed.error_text or f"exit code {claimed.exit_code}")


def address_error(holders: Sequence[str]) -> EnvironmentNotMade:
    """Return the error for a host on which these guests have all addresses."""
    users = ", ".join(holders) or "nobody: the range is too small"
    return EnvironmentNotMade(
        f"no guest address is free; they are used by {users}",
        hint="end dead runs (perfctl resume), or widen perf_bridge_guest_range (8 addresses a guest)",
    )


def start_error(guest: Guest, started: Completed, state: GuestState, timeout_s: int) -> EnvironmentFailure:
    """Return the error for a guest that did not come up, with its console."""
    why = started.text.splitlines()[-1] if started.text.startswith("why ") or "\nwhy " in started.text else ""
    _, _, reason = why.partition(" ")
    word, _, detail = reason.partition(" ")
    if not word:
        return _error_of_message(guest, started.error_text or f"exit code {started.exit_code}")
    kept = console_artifact(state.console)
    if word == "panicked":
        return EnvironmentDied(
            f"the guest's kernel panicked: {detail.strip()}", reason="guest_panicked", artifacts=kept
        )
    if word == "stalled":
        return stalled(detail, state.console)
    if word == "failed":
        return EnvironmentNotMade(f"the guest came up without what it needs: {detail}", artifacts=kept)
    if word == "no_output":
        last = f"; last line of its console: {state.last_line}" if state.console else ""
        return NoOutput(f"the guest printed nothing for {detail} s{last}", artifacts=kept)
    if word == "silent":
        cause = f": {detail}" if detail else f" within {timeout_s} s"
        return EnvironmentDied(
            f"the guest did not answer{cause}; last line of its console: {state.last_line}",
            reason="guest_silent",
            artifacts=kept,
        )
    return state.death() or EnvironmentDied("the guest has ended by itself", artifacts=kept)


def _error_of_message(guest: Guest, text: str) -> EnvironmentFailure:
    lines = [line.removeprefix("error: ") for line in text.splitlines() if line.strip()]
    # libvirt prints first that it failed, then why.
    why = lines[-1] if lines else "no output"
    if any(words in text for words in _REFUSALS):
        return EnvironmentUnavailable(f"the guest could not be made: {why}")
    for marker, reason, message, hint in _MEANINGS:
        if marker in text:
            return EnvironmentNotMade(message.format(name=guest.name, reason=why), reason=reason, hint=hint)
    return EnvironmentNotMade(f"the guest could not be made: {why}")
