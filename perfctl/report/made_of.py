"""What the environments of a run were made of: images, engines, kernels and tools, as read inside each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfctl.model import FactState
from perfctl.report.host_facts import FactValues

if TYPE_CHECKING:
    from perfctl.store import RunReader

_SHOWN = re.compile(
    r"tool\..+\.version|os\.release|kernel\.release|libc\.version"
    r"|environment\.(image\.(id|sha256|repo_digests)|accelerator|machine\.type|(qemu|libvirt)\.version"
    r"|engine\.(version|runtime|runc_commit|containerd_commit|storage_driver|security_options))"
)
"""Who measures the same again needs these; all other facts inside environments are in the database."""


@dataclass(frozen=True, slots=True)
class EnvironmentFact:
    """One fact inside an environment on the hosts where it could be read."""

    environment: str
    fact: FactValues


def environment_facts(
    stored: RunReader, environments: Sequence[str], hosts: Sequence[str]
) -> tuple[EnvironmentFact, ...]:
    """Return what is to be known of each environment, in the order of the environments, then by name."""
    found = []
    for environment in environments:
        values: dict[str, dict[str, str]] = {}
        for host in hosts:
            for fact in stored.facts(host, environment).facts:
                if fact.state is FactState.PRESENT and fact.value and _SHOWN.fullmatch(fact.name):
                    values.setdefault(fact.name, {})[host] = fact.value
        found += [EnvironmentFact(environment, FactValues(name, of)) for name, of in sorted(values.items())]
    return tuple(found)
