"""Bringing hosts into the state that runs need, and reading them back.

    provision   ask every host for its stamp -> playbooks/provision.yml where it is stale -> report
    verify      playbooks/verify.yml -> what is not as it was provisioned
    undo        playbooks/undo.yml -> report

Ansible's second run costs as much as its first, so a host whose stamp says that nothing has changed since is
left alone (`perfctl.provision.stamp`).
"""

from perfctl.provision.apply import provision
from perfctl.provision.report import HostReport, HostState, ProvisionReport
from perfctl.provision.undo import undo
from perfctl.provision.verify import Drift, VerifyReport, verify

__all__ = [
    "Drift",
    "HostReport",
    "HostState",
    "ProvisionReport",
    "VerifyReport",
    "provision",
    "undo",
    "verify",
]
