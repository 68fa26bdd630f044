"""The report of provisioning for every host, and the error that it leads to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from perfctl.errors import HostUnreachable, PartialFailure, PerfctlError, PlaybookFailed, Refused
from perfctl.model import Host, Note
from perfctl.playbook import TaskFailure

_REFUSAL = re.compile(r"(?:^|[:;] )refused:(.*)")
"""What the roles write before a reason to refuse. "connection refused: ..." is somebody else's."""


class ProvisionState(StrEnum):
    """How provisioning ended on one host."""

    COMMITTED = "committed"
    """Provisioned."""
    CURRENT = "current"
    """Left alone: its stamp is current."""
    CHECKED = "checked"
    """Only checked (--check)."""
    UNDONE = "undone"
    """Taken back, as far as that can be done."""
    FAILED = "failed"
    REFUSED = "refused"
    """Refused before anything was changed."""
    STOPPED = "stopped"
    """Not finished, because another host was refused."""
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class HostReport:
    """One host: its state, how many tasks changed something (None: Ansible did not run), and why."""

    host: str
    state: ProvisionState
    changed: int | None = None
    message: str = ""
    task: str = ""


@dataclass(frozen=True, slots=True)
class ProvisionReport:
    """All hosts, in the inventory's order."""

    hosts: tuple[HostReport, ...]

    def having(self, *states: ProvisionState) -> list[HostReport]:
        """Return the hosts in one of these states."""
        return [report for report in self.hosts if report.state in states]

    def raise_for_failures(self) -> None:
        """Raise Refused, PlaybookFailed, HostUnreachable or PartialFailure unless every host is done."""
        if error := self._error():
            raise error

    def _error(self) -> PerfctlError | None:
        if refused := self.having(ProvisionState.REFUSED):
            where = ", ".join(report.host for report in refused)
            messages = dict.fromkeys(report.message for report in refused)
            lines = [f"{report.host}: {report.message}" for report in refused]
            text = "; ".join(lines if len(messages) > 1 else messages)
            return Refused(text, where=where, hint="no host was changed")
        failed, lost = self.having(ProvisionState.FAILED), self.having(ProvisionState.UNREACHABLE)
        if failed:
            others = [report.host for report in (*failed[1:], *lost)]
            first = failed[0]
            hint = f"also failed: {', '.join(others)}" if others else None
            return PlaybookFailed(first.message, where=f"{first.host}, task '{first.task}'", hint=hint)
        if lost and len(lost) == len(self.hosts):
            return HostUnreachable(lost[0].message, where=", ".join(report.host for report in lost))
        if lost:
            where = ", ".join(report.host for report in lost)
            return PartialFailure(
                f"not reached: {lost[0].message}", where=where, hint="the other hosts are done"
            )
        return None


def failed_host(failure: TaskFailure, changed: int) -> HostReport:
    """Return the report of a host on which a task failed or refused."""
    if failure.unreachable:
        return HostReport(failure.host, ProvisionState.UNREACHABLE, changed, failure.message, failure.task)
    reasons = [match.group(1) for match in map(_REFUSAL.search, failure.message.splitlines()) if match]
    if reasons:
        text = "; ".join(reason.strip() for reason in reasons)
        return HostReport(failure.host, ProvisionState.REFUSED, changed, text, failure.task)
    return HostReport(failure.host, ProvisionState.FAILED, changed, failure.message, failure.task)


def host_note(hosts: Sequence[Host], inventory: Sequence[str]) -> Note:
    """Return what is said before anything is done: which hosts are meant, and who says so."""
    source = ", ".join(inventory) or "no inventory, so this machine"
    return Note("info", "", f"{len(hosts)} host(s): {', '.join(host.name for host in hosts)} ({source})")
