"""Run playbooks/verify.yml: read the hosts back and report what is not as it was provisioned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from perfctl.assets import default_inventory
from perfctl.errors import DriftFound, HostUnreachable, PartialFailure, PerfctlError, PlaybookFailed
from perfctl.inventory import load_hosts, register_secrets
from perfctl.model import Listener, ignore
from perfctl.playbook import TaskFailure, run_playbook
from perfctl.provision.layers import known_layers
from perfctl.ssh import way_to

_DRIFT = "drift:"
_TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True)
class Drift:
    """One thing on one host that is not as provisioned."""

    host: str
    what: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The hosts that are as provisioned, every drift, and the tasks that failed for another reason."""

    clean: tuple[str, ...]
    drifts: tuple[Drift, ...]
    failures: tuple[TaskFailure, ...]

    def raise_for_drift(self) -> None:
        """Raise DriftFound, PlaybookFailed, HostUnreachable or PartialFailure unless all is clean."""
        if self.drifts:
            hosts = ", ".join(dict.fromkeys(drift.host for drift in self.drifts))
            raise DriftFound(
                "\n".join(f"{drift.host}: {drift.what}" for drift in self.drifts),
                where=hosts,
                hint="put it right: perfctl provision --force",
            )
        failed = [failure for failure in self.failures if not failure.unreachable]
        if failed:
            raise PlaybookFailed(failed[0].message, where=f"{failed[0].host}, task '{failed[0].task}'")
        if self.failures:
            where = ", ".join(failure.host for failure in self.failures)
            if not self.clean:
                raise HostUnreachable(self.failures[0].message, where=where)
            raise PartialFailure(f"not reached: {self.failures[0].message}", where=where)


def verify(
    inventory: Sequence[str] = (),
    *,
    limit: str | None = None,
    extra_vars: Mapping[str, Any] | None = None,
    passthrough: Sequence[str] = (),
    listener: Listener = ignore,
) -> VerifyReport:
    """Read back the hosts of `inventory` (none: this machine) and return what differs. Changes nothing.

    Tools, engine, bridge (MTU, MAC, mark, address, ports, firewall), docker's drop-in and the flags of the
    running daemon, the image's layers on all hosts, and small and full frames between each ordered pair of
    hosts (around a ring beyond 30). Raises NoHostMatched, UsageError, CommandTimeout and PlaybookFailed (it
    could not start).
    """
    register_secrets(inventory, passthrough)
    result = run_playbook(
        "verify",
        inventory=tuple(inventory) or (str(default_inventory()),),
        limit=limit,
        extra_vars={**(extra_vars or {}), "perf_layers_known": known_layers()},
        passthrough=passthrough,
        listener=listener,
        timeout_s=_TIMEOUT_S,
    )
    drifts, others = [], []
    for failure in result.failures:
        found = [line for line in failure.message.splitlines() if _DRIFT in line]
        drifts += [Drift(failure.host, line.partition(_DRIFT)[2].strip()) for line in found]
        if not found:
            others.append(failure)
    clean = tuple(name for name, stats in result.hosts.items() if stats.succeeded)
    if any(failure.unreachable for failure in others):
        ways = _ways(inventory, limit, passthrough)
        others = [_with_way(failure, ways.get(failure.host, "")) for failure in others]
    return VerifyReport(clean, tuple(drifts), tuple(others))


def _ways(inventory: Sequence[str], limit: str | None, passthrough: Sequence[str]) -> dict[str, str]:
    """Return what the connection to each host goes through; nothing where the inventory cannot be read."""
    with suppress(PerfctlError):
        return {
            host.name: way_to(host) for host in load_hosts(inventory, limit=limit, passthrough=passthrough)
        }
    return {}


def _with_way(failure: TaskFailure, way: str) -> TaskFailure:
    """Add the jump host or ProxyCommand of a host that was not reached to the message of its failure."""
    if not (failure.unreachable and way):
        return failure
    return replace(failure, message=f"{failure.message} (connected through {way})")
