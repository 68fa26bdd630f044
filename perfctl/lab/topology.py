"""The hosts and addresses of a lab, from its name, size and subnets alone."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from ipaddress import IPv4Network

from perfctl.errors import Refused, UsageError

DEFAULT_NAME = "lab"
DEFAULT_HOSTS = 2
DEFAULT_MANAGEMENT_SUBNET = "172.31.240.0/24"
DEFAULT_TEST_SUBNET = "10.241.0.0/16"
TEST_MTU_BYTES = 9000

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
_FIRST_ADDRESS = 10
"""Host 1 gets the address after this one; docker takes the first of a subnet for itself."""
_RANGE_PREFIX = 24
"""Each host has a range of this size inside the test subnet, half of it for its containers and half for its
guests."""


@dataclass(frozen=True, slots=True)
class LabRequest:
    """The options of a lab as the user gave them; None: as it is, or the default."""

    name: str = DEFAULT_NAME
    hosts: int | None = None
    light: bool | None = None
    management_subnet: str | None = None
    test_subnet: str | None = None


@dataclass(frozen=True, slots=True)
class LabSpec:
    """A lab that can exist: name and sizes are checked."""

    name: str
    hosts: int
    light: bool
    management_subnet: str
    test_subnet: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"no name for a lab: {self.name!r}",
                hint="use up to 32 small letters, digits and hyphens; hosts are called NAME-1, NAME-2, ...",
            )
        management = subnet(self.management_subnet)
        test = subnet(self.test_subnet)
        if management.overlaps(test):
            raise UsageError(f"the two subnets overlap: {management} and {test}")
        most = min(
            management.num_addresses - _FIRST_ADDRESS - 2,
            2 ** (32 - _RANGE_PREFIX) - _FIRST_ADDRESS - 2,
            2 ** max(0, _RANGE_PREFIX - test.prefixlen) - 1,
        )
        if not 1 <= self.hosts <= most:
            raise UsageError(
                f"{self.hosts} hosts do not fit into {management} and {test}: at most {max(0, most)} do",
                hint="use larger subnets; the test subnet needs a /24 for each host and one more",
            )


@dataclass(frozen=True, slots=True)
class LabHost:
    """One host of a lab; its container has the same name."""

    name: str
    management_address: str
    test_address: str
    """With the prefix length of the test subnet."""
    container_range: str
    """Where the containers on this host get their addresses."""
    guest_range: str
    """Where its virtual machines, and the containers in them, get theirs."""


def subnet(text: str) -> IPv4Network:
    """Return the IPv4 network. Raises UsageError."""
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise UsageError(
            f"no IPv4 subnet: {error}", hint="write it like 172.31.240.0/24, host bits zero"
        ) from error


def members(spec: LabSpec) -> tuple[LabHost, ...]:
    """Return the hosts: addresses from .11 on in both subnets, a /25 each for their containers and guests."""
    management, test = subnet(spec.management_subnet), subnet(spec.test_subnet)
    halves = _RANGE_PREFIX + 1
    half_size = 2 ** (32 - halves)
    return tuple(
        LabHost(
            name=f"{spec.name}-{number}",
            management_address=str(management[_FIRST_ADDRESS + number]),
            test_address=f"{test[_FIRST_ADDRESS + number]}/{test.prefixlen}",
            container_range=f"{test[2 * number * half_size]}/{halves}",
            guest_range=f"{test[(2 * number + 1) * half_size]}/{halves}",
        )
        for number in range(1, spec.hosts + 1)
    )


def resolve(request: LabRequest, existing: LabSpec | None) -> LabSpec:
    """Return what to build, from the request and what is there.

    More hosts can join a lab; nothing else changes.
    Raises UsageError for a request that cannot be met, Refused for one that would have to rebuild the lab.
    """
    if existing is None:
        return LabSpec(
            name=request.name,
            hosts=DEFAULT_HOSTS if request.hosts is None else request.hosts,
            light=bool(request.light),
            management_subnet=request.management_subnet or DEFAULT_MANAGEMENT_SUBNET,
            test_subnet=request.test_subnet or DEFAULT_TEST_SUBNET,
        )
    wanted = {key: value for key, value in asdict(request).items() if value is not None}
    spec = LabSpec(**(asdict(existing) | wanted))
    changed = [field.name for field in fields(LabSpec) if _differs(field.name, spec, existing)]
    if changed:
        raise Refused(
            f"the lab exists with {_settings(existing, changed)}, not {_settings(spec, changed)}",
            where=existing.name,
            hint="take it down first (`perfctl lab down`), or give the new one another --name",
        )
    return spec


def _differs(field: str, spec: LabSpec, existing: LabSpec) -> bool:
    if field == "hosts":
        return spec.hosts < existing.hosts
    return bool(getattr(spec, field) != getattr(existing, field))


def _settings(spec: LabSpec, names: list[str]) -> str:
    return ", ".join(f"{name} {getattr(spec, name)}" for name in names)
