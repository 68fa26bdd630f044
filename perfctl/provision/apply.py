"""Run playbooks/provision.yml on the hosts that need it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perfctl.assets import default_inventory
from perfctl.errors import HostError, PerfctlError
from perfctl.inventory import load_hosts
from perfctl.model import Event, Host, Listener, Note, TaskEnded, ignore
from perfctl.playbook import HostStats, PlaybookResult, run_playbook
from perfctl.provision import stamp
from perfctl.provision.layers import host_layers
from perfctl.provision.lease import leased
from perfctl.provision.python import check_pythons
from perfctl.provision.ranges import check_ranges
from perfctl.provision.report import (
    HostReport,
    ProvisionReport,
    ProvisionState,
    failed_host,
    host_note,
)

_TIMEOUT_S = 3600.0
_TIMEOUT_PER_HOST_S = 60.0
_LAST_TASK = "Leave the stamp"
"""The playbook's last task; a host that reached it is done."""
_PARTIAL = ("-t", "--tags", "--skip-tags", "--start-at-task", "--step", "-C", "--check")


def provision(
    inventory: Sequence[str] = (),
    *,
    limit: str | None = None,
    tags: Sequence[str] = (),
    extra_vars: Mapping[str, Any] | None = None,
    check: bool = False,
    diff: bool = False,
    force: bool = False,
    passthrough: Sequence[str] = (),
    layers: Collection[str] = (),
    project_dir: Path | None = None,
    listener: Listener = ignore,
) -> ProvisionReport:
    """Bring the hosts of `inventory` (none: this machine) into the state that runs need.

    All of them get the image `layers`, and each host those that its `perf_suites` need, which are read from
    `project_dir`. Returns a report of each. Hosts whose stamp is current are left alone, unless `force`,
    `check`, or a partial run by `tags`, which neither reads nor leaves a stamp. Unless `check`, the others
    are leased meanwhile. A host that cannot be reached or fails does not stop the others; one that refuses
    stops all of them before anything is changed. Raises NoHostMatched, UsageError, a suite's UnknownName or
    SuiteError, HostLeased and Refused (a Python that is too old for Ansible, address ranges that do not fit
    together; nothing is changed), CommandTimeout and PlaybookFailed (the playbook could not start).
    """
    variables = dict(extra_vars or {})
    hosts = load_hosts(inventory, limit=limit, passthrough=passthrough)
    listener(host_note(hosts, inventory))
    is_partial = bool(tags) or check or any(item.split("=")[0] in _PARTIAL for item in passthrough)
    of_hosts = host_layers(hosts, variables, layers, project_dir)
    # What a run has asked for beside them does not make the host another than its stamp says.
    keys = stamp.keys(hosts, variables, passthrough, host_layers(hosts, variables, (), project_dir))
    stamps = stamp.read_stamps(hosts)
    job = _Job(hosts, keys, stamps, runs_everywhere=force or is_partial)
    if job.todo:
        check_pythons({name: stamps[name].python for name in job.todo})
        fleet = load_hosts(inventory, passthrough=passthrough) if limit else hosts
        check_ranges(fleet, variables, concerned=job.todo)
        leave = {} if is_partial else {h: {"key": keys[h], "boot_id": stamps[h].boot_id} for h in job.todo}
        stale = [name for name in job.todo if stamps[name].key and not stamps[name].is_current(keys[name])]
        timeout_s = _TIMEOUT_S + _TIMEOUT_PER_HOST_S * len(job.todo)
        todo = [host for host in hosts if host.name in job.todo]
        with leased([] if check else todo, "provision", timeout_s) as lost:
            job.lose(lost)
            if not job.todo:
                return job.report()
            result = run_playbook(
                "provision",
                inventory=tuple(inventory) or (str(default_inventory()),),
                limit=",".join(job.todo),
                tags=tags,
                extra_vars={
                    **variables,
                    "perf_provision_stamps": leave,
                    "perf_provision_stale": stale,
                    "perf_provision_layers": of_hosts,
                },
                check=check,
                diff=diff,
                passthrough=passthrough,
                listener=job.watch(listener),
                timeout_s=timeout_s,
            )
            job.take(result, ProvisionState.CHECKED if check else ProvisionState.COMMITTED)
            if not check:
                job.forget_failed(listener)
    return job.report()


@dataclass(slots=True)
class _Job:
    """The hosts to provision, and their reports."""

    hosts: Sequence[Host]
    keys: Mapping[str, str]
    stamps: Mapping[str, stamp.StampReading]
    runs_everywhere: bool
    finished: set[str] = field(default_factory=set)
    reports: dict[str, HostReport] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, reading in self.stamps.items():
            if reading.error is not None:
                self.lose({name: reading.error})
            elif reading.is_current(self.keys[name]) and not self.runs_everywhere:
                self.reports[name] = HostReport(name, ProvisionState.CURRENT)

    def lose(self, errors: Mapping[str, HostError]) -> None:
        """Report hosts as unreachable."""
        for name, error in errors.items():
            hint = f" ({error.hint})" if error.hint else ""
            self.reports[name] = HostReport(
                name, ProvisionState.UNREACHABLE, message=f"{error.message}{hint}"
            )

    @property
    def todo(self) -> list[str]:
        """The hosts without a report so far."""
        return [host.name for host in self.hosts if host.name not in self.reports]

    def watch(self, listener: Listener) -> Listener:
        """Return a listener that also collects the hosts that have finished."""

        def collect_finished(event: Event) -> None:
            if isinstance(event, TaskEnded) and event.task == _LAST_TASK and event.outcome != "failed":
                self.finished.add(event.host)
            listener(event)

        return collect_finished

    def take(self, result: PlaybookResult, success: ProvisionState) -> None:
        """Turn the playbook's result into reports."""
        failures = {failure.host: failure for failure in result.failures}
        for name in self.todo:
            changed = result.hosts.get(name, HostStats()).changed
            if name in failures:
                self.reports[name] = failed_host(failures[name], changed)
            elif name in self.finished:
                self.reports[name] = HostReport(name, success, changed)
            else:
                self.reports[name] = HostReport(
                    name, ProvisionState.STOPPED, changed, "another host was refused"
                )

    def forget_failed(self, listener: Listener) -> None:
        """Remove the stamps that are still current on hosts where a forced run has just failed."""
        for host in self.hosts:
            if self.reports[host.name].state is not ProvisionState.FAILED:
                continue
            if not self.stamps[host.name].is_current(self.keys[host.name]):
                continue  # the playbook has removed it
            with contextlib.suppress(PerfctlError):
                stamp.forget(host)
                continue
            listener(Note("warning", host.name, "its stamp could not be removed: use --force next time"))

    def report(self) -> ProvisionReport:
        """Return all reports in the inventory's order."""
        return ProvisionReport(tuple(self.reports[host.name] for host in self.hosts))
