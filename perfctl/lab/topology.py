"""The hosts of a lab and their addresses and releases, from its name, size and other settings alone."""

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
CODENAMES = {"11": "bullseye", "12": "bookworm", "13": "trixie"}
"""The Debian releases that hosts can have."""
CGROUPS = ("machine", "v2")
"""What hosts see as control groups: the machine's own tree, or only its hierarchy of version 2."""

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
    releases: tuple[str, ...] = ()
    """Debian releases, such as 13, which the hosts get in turn; (): as they are, or the machine's own."""
    cgroups: tuple[str, ...] = ()
    """Views of control groups, of CGROUPS, which the hosts get in turn; (): as they are, or machine."""


@dataclass(frozen=True, slots=True)
class LabSpec:
    """A lab that can exist: name, sizes and releases are checked."""

    name: str
    hosts: int
    light: bool
    management_subnet: str
    test_subnet: str
    releases: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()

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
        for option, given, known in (
            ("--release", self.releases, tuple(CODENAMES)),
            ("--cgroup", self.cgroups, CGROUPS),
        ):
            if unknown := [value for value in given if value not in known]:
                raise UsageError(f"{option} cannot be {unknown[0]!r}: it is one of {', '.join(known)}")
            if len(given) > self.hosts:
                raise UsageError(
                    f"{len(given)} times {option}, but {self.hosts} hosts: some would be left out",
                    hint=f"the hosts get them in turn: --hosts {len(given)} or more",
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
    release: str
    """Its Debian release, such as 13; '' for the machine's own."""
    cgroup: str
    """What it sees as control groups: one of CGROUPS."""


def subnet(text: str) -> IPv4Network:
    """Return the IPv4 network. Raises UsageError."""
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise UsageError(
            f"no IPv4 subnet: {error}", hint="write it like 172.31.240.0/24, host bits zero"
        ) from error


def members(spec: LabSpec) -> tuple[LabHost, ...]:
    """Return the hosts: addresses from .11 on in both subnets, a /25 each for their containers and guests.

    They get releases and views of control groups in turn, so that a host keeps its own when others join.
    """
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
            release=_in_turn(spec.releases, number, ""),
            cgroup=_in_turn(spec.cgroups, number, CGROUPS[0]),
        )
        for number in range(1, spec.hosts + 1)
    )


def _in_turn(values: tuple[str, ...], number: int, default: str) -> str:
    return values[(number - 1) % len(values)] if values else default


def resolve(request: LabRequest, existing: LabSpec | None) -> LabSpec:
    """Return what to build, from the request and what is there.

    More hosts can join a lab; nothing else changes.
    Raises UsageError for a request that cannot be met, Refused for one that would have to rebuild the lab.
    """
    if existing is None:
        fewest = max(DEFAULT_HOSTS, len(request.releases), len(request.cgroups))
        return LabSpec(
            name=request.name,
            hosts=fewest if request.hosts is None else request.hosts,
            light=bool(request.light),
            management_subnet=request.management_subnet or DEFAULT_MANAGEMENT_SUBNET,
            test_subnet=request.test_subnet or DEFAULT_TEST_SUBNET,
            releases=request.releases,
            cgroups=request.cgroups,
        )
    wanted = {key: value for key, value in asdict(request).items() if value not in (None, ())}
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
    return ", ".join(f"{name} {_setting(getattr(spec, name))}" for name in names)


def _setting(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(value) or "as on this machine"
    return str(value)
