"""Errors of guests: what a host's script printed, as an error with its reason. Pure."""

from __future__ import annotations

from perfctl.environments.vm.commands import Guest
from perfctl.environments.vm.host_state import PROVISION_HINT, GuestState, console_artifact, stalled
from perfctl.errors import EnvironmentDied, EnvironmentFailure, EnvironmentUnavailable
from perfctl.shell import Completed

_NAME_TAKEN, _NO_ROOM, _NO_ADDRESS, _NOT_CREATED = 11, 12, 13, 14

_MEANINGS: tuple[tuple[str, str, str, str | None], ...] = (
    (
        "already exists with uuid",
        "name_taken",
        "there is a domain {name} that is not ours; it is left alone",
        "virsh destroy it if nobody needs it, then: perfctl resume",
    ),
    (
        "Cannot allocate memory",
        "out_of_memory",
        "the host has not the memory for it ({said})",
        "set a smaller memory_mib",
    ),
    (
        "cannot set up guest memory",
        "out_of_memory",
        "the host has not the memory for it ({said})",
        "set a smaller memory_mib",
    ),
    (
        "No space left on device",
        "disk_full",
        "the host's disk is full ({said})",
        "make room on the host, or set perf_vm_host_storage",
    ),
    ("Permission denied", "environment_unavailable", "qemu may not read its files ({said})", PROVISION_HINT),
)


class NoOutput(EnvironmentDied):
    """A guest printed nothing for so long while its kernel should have started that it was ended."""

    default_reason = "guest_silent"


def claim_error(guest: Guest, claimed: Completed) -> EnvironmentUnavailable:
    """Return why the host gave the guest no folder or address."""
    if claimed.exit_code == _NAME_TAKEN:
        return EnvironmentUnavailable(
            f"there is a guest {guest.name} already; it is left alone", reason="name_taken"
        )
    if claimed.exit_code == _NO_ADDRESS:
        holders = ", ".join(claimed.error_text.split())
        return EnvironmentUnavailable(
            f"no address for guests is free; they are held by {holders or 'nobody: the range is too small'}",
            hint="end dead runs (perfctl resume), or widen perf_bridge_guest_range (8 addresses a guest)",
        )
    return _error_of_words(guest, claimed.error_text or f"exit code {claimed.exit_code}")


def start_error(guest: Guest, started: Completed, state: GuestState, timeout_s: int) -> EnvironmentFailure:
    """Return why the guest did not come up, with its console."""
    why = started.text.splitlines()[-1] if started.text.startswith("why ") or "\nwhy " in started.text else ""
    _, _, said = why.partition(" ")
    word, _, detail = said.partition(" ")
    if not word:
        return _error_of_words(guest, started.error_text or f"exit code {started.exit_code}")
    kept = console_artifact(state.console)
    if word == "panicked":
        return EnvironmentDied(
            f"the guest's kernel panicked: {detail.strip()}", reason="guest_panicked", artifacts=kept
        )
    if word == "stalled":
        return stalled(detail, state.console)
    if word == "failed":
        return EnvironmentUnavailable(f"the guest came up without what it needs: {detail}", artifacts=kept)
    if word == "no_output":
        last = f"; its console said last: {state.last_line}" if state.console else ""
        return NoOutput(f"the guest printed nothing for {detail} s{last}", artifacts=kept)
    if word == "silent":
        why_not = f": {detail}" if detail else f" within {timeout_s} s"
        return EnvironmentDied(
            f"the guest did not answer{why_not}; its console said last: {state.last_line}",
            reason="guest_silent",
            artifacts=kept,
        )
    return state.death() or EnvironmentDied("the guest has ended by itself", artifacts=kept)


def _error_of_words(guest: Guest, words: str) -> EnvironmentUnavailable:
    lines = [line.removeprefix("error: ") for line in words.splitlines() if line.strip()]
    # libvirt says first that it failed, then why.
    said = lines[-1] if lines else "nothing"
    for marker, reason, message, hint in _MEANINGS:
        if marker in words:
            return EnvironmentUnavailable(
                message.format(name=guest.name, said=said), reason=reason, hint=hint
            )
    return EnvironmentUnavailable(f"the guest could not be made: {said}")
