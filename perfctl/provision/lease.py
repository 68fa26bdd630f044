"""Lease the hosts while a playbook changes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from perfctl.errors import HostError
from perfctl.job import Claim
from perfctl.job.hosts import lease_hosts
from perfctl.job.lease import MARGIN_S
from perfctl.model import Host
from perfctl.ssh import connect


@contextmanager
def leased(hosts: Sequence[Host], purpose: str, timeout_s: float) -> Iterator[dict[str, HostError]]:
    """Hold the hosts for a playbook of that time limit; yield those that cannot be leased, with the reason.

    Raises HostLeased while another holder has one of them: nothing was changed on any then.
    """
    lost: dict[str, HostError] = {}
    # The playbooks become root, and so does their lease.
    as_root = [replace(host, become=True) for host in hosts]
    with lease_hosts(as_root, Claim.make(purpose), connect, lost, seconds=timeout_s + MARGIN_S):
        yield lost
