"""Bring hosts into the state that runs need, and read them back.

    provision      read the stamp of every host -> playbooks/provision.yml where it is stale -> report
    verify         playbooks/verify.yml -> what is not as provisioned
    build_layers   the image layer of a run's benchmarks alone
    undo           playbooks/undo.yml -> report

Ansible's second run costs as much as its first, so a host whose stamp is current is left
alone (`perfctl.provision.stamp`).
"""

from perfctl.provision.apply import provision
from perfctl.provision.build import build_layers
from perfctl.provision.report import HostReport, ProvisionReport, ProvisionState
from perfctl.provision.undo import undo
from perfctl.provision.verify import Drift, VerifyReport, verify

__all__ = [
    "Drift",
    "HostReport",
    "ProvisionReport",
    "ProvisionState",
    "VerifyReport",
    "build_layers",
    "provision",
    "undo",
    "verify",
]
