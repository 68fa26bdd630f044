"""Refuse hosts whose Python is older than Ansible's modules can use, before Ansible fails on them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from perfctl.errors import Refused
from perfctl.playbook.host_python import ansible_core_version, lowest_python


def check_pythons(versions: Mapping[str, str]) -> None:
    """Check the version of Python of each host by its name; '' is one that could not be read: not checked.

    Raises Refused, with the versions found and needed, when one is too old. Nothing is changed on any host.
    """
    lowest = lowest_python()
    found = {host: _numbers(version) for host, version in versions.items()}
    too_old = [host for host, numbers in found.items() if lowest and numbers and numbers < lowest]
    if not too_old or not lowest:
        return
    listed = "; ".join(f"{host} has Python {versions[host]}" for host in too_old)
    raise Refused(
        f"{listed}: ansible-core {ansible_core_version()} needs {lowest[0]}.{lowest[1]} or newer on a host",
        where=", ".join(too_old),
        hint="no host was changed; install a newer Python there and name it in the inventory: "
        "ansible_python_interpreter",
    )


def _numbers(version: str) -> tuple[int, int] | None:
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else None
