"""Run playbooks/undo.yml: take back what provisioning made of the hosts, as far as that can be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from perfctl.assets import default_inventory
from perfctl.errors import UsageError
from perfctl.inventory import load_hosts
from perfctl.model import Event, Listener, Note, ignore
from perfctl.playbook import PlaybookResult, run_playbook
from perfctl.provision.lease import leased
from perfctl.provision.report import HostReport, ProvisionReport, ProvisionState, failed_host, host_note

UNDOABLE = ("vm",)
"""The tags of provisioning that can be undone."""
_TIMEOUT_S = 1800.0
_KEPT = "kept: "


def undo(
    inventory: Sequence[str] = (),
    *,
    limit: str | None = None,
    tags: Sequence[str] = (),
    purge_packages: bool = False,
    extra_vars: Mapping[str, Any] | None = None,
    check: bool = False,
    diff: bool = False,
    passthrough: Sequence[str] = (),
    listener: Listener = ignore,
) -> ProvisionReport:
    """Take back what provisioning made of the hosts of `inventory`; return a report of each.

    So far that is the host's part in virtual machines: the tag `vm`, which is also what no tags mean. What is
    left on purpose is the message of a host's report. Packages that perfctl installed for it are removed only
    with `purge_packages`. Raises UsageError (tags that cannot be undone), HostLeased, NoHostMatched,
    CommandTimeout and PlaybookFailed (the playbook could not start).
    """
    _check_tags(tags)
    kept: dict[str, list[str]] = {}

    def collect_kept(event: Event) -> None:
        if isinstance(event, Note) and _KEPT in event.text:
            found, others = _split_kept(event.text)
            kept.setdefault(event.where, []).extend(found)
            if not others:
                return
            # What is kept is in the report: a list of packages need not be printed twice.
            event = replace(event, text=others)
        listener(event)

    hosts = load_hosts(inventory, limit=limit, passthrough=passthrough)
    listener(host_note(hosts, inventory))
    # Ansible says itself which hosts it does not reach.
    with leased([] if check else hosts, "provision --undo", _TIMEOUT_S):
        result = run_playbook(
            "undo",
            inventory=tuple(inventory) or (str(default_inventory()),),
            limit=limit,
            tags=tags or UNDOABLE,
            extra_vars={**(extra_vars or {}), "perf_vm_host_purge_packages": purge_packages},
            check=check,
            diff=diff,
            passthrough=passthrough,
            listener=collect_kept,
            timeout_s=_TIMEOUT_S,
        )
    return ProvisionReport(
        tuple(_reports(result, kept, ProvisionState.CHECKED if check else ProvisionState.UNDONE))
    )


def _check_tags(tags: Sequence[str]) -> None:
    wanted = [name for tag in tags for name in tag.split(",")]
    others = [name for name in wanted if name not in UNDOABLE]
    if others:
        raise UsageError(
            f"cannot be undone yet: {', '.join(others)}",
            where="--tags",
            hint=f"so far --undo takes back what was made for virtual machines: --tags {UNDOABLE[0]}",
        )


def _split_kept(text: str) -> tuple[list[str], str]:
    """Return what is kept by the lines of a note, and the other lines."""
    lines = text.splitlines()
    kept = [line.removeprefix(_KEPT) for line in lines if line.startswith(_KEPT)]
    return kept, "\n".join(line for line in lines if not line.startswith(_KEPT))


def _reports(
    result: PlaybookResult, kept: Mapping[str, Sequence[str]], success: ProvisionState
) -> list[HostReport]:
    failures = {failure.host: failure for failure in result.failures}
    reports = []
    for name, stats in result.hosts.items():
        report = HostReport(name, success, stats.changed)
        if name in failures:
            report = failed_host(failures[name], stats.changed)
        elif name in kept:
            report = replace(report, message="kept " + "; kept ".join(kept[name]))
        reports.append(report)
    return reports
