"""Check that the address ranges of containers and guests fit together, over the whole inventory."""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from perfctl.errors import Refused, UsageError
from perfctl.model import Host

_ADDRESS, _INTERFACE = "perf_test_address", "perf_test_interface"
_CONTAINERS, _GUESTS = "perf_bridge_fixed_cidr", "perf_bridge_guest_range"


@dataclass(frozen=True, slots=True)
class _Range:
    """A range of one host, and the variable that gives it."""

    host: str
    variable: str
    network: ipaddress.IPv4Network

    def __str__(self) -> str:
        return f"{self.variable} of {self.host} ({self.network})"


def check_ranges(hosts: Sequence[Host], extra_vars: Mapping[str, Any], concerned: Container[str]) -> None:
    """Check the ranges of all hosts that have a test NIC; `extra_vars` hold for the hosts `concerned`.

    Raises UsageError for what is no range or address, Refused for ranges that overlap (also the two of one
    host), that lie outside the test network, or that hold another host's address: two containers or virtual
    machines would get one address.
    """
    addresses: dict[str, ipaddress.IPv4Interface] = {}
    ranges: list[_Range] = []
    for host in hosts:
        variables = {**host.variables, **(extra_vars if host.name in concerned else {})}
        names = [name for name in (_CONTAINERS, _GUESTS) if variables.get(name)]
        if not variables.get(_INTERFACE) or not variables.get(_ADDRESS) or not names:
            continue
        if any("{{" in str(variables[name]) for name in (_ADDRESS, *names)):
            # Only Ansible can resolve it; the roles check it there as far as one host knows.
            continue
        addresses[host.name] = _address(host.name, variables)
        ranges += _ranges(host.name, variables, names)
    for item in ranges:
        _check_place(item, addresses)
    for one, other in combinations(ranges, 2):
        if one.network.overlaps(other.network):
            raise Refused(
                f"{one} and {other} overlap",
                hint="give each host ranges of its own: no two containers or guests may get one address",
            )


def _check_place(item: _Range, addresses: Mapping[str, ipaddress.IPv4Interface]) -> None:
    test_network = addresses[item.host].network
    if not item.network.subnet_of(test_network):
        raise Refused(
            f"{item.variable} {item.network} lies outside the test network {test_network}", where=item.host
        )
    # Docker leaves out the address of its bridge; for guests nothing does.
    taken = [
        name
        for name, address in addresses.items()
        if address.ip in item.network and (name != item.host or item.variable == _GUESTS)
    ]
    if taken:
        raise Refused(
            f"{item.variable} {item.network} holds the test address of {', '.join(taken)}", where=item.host
        )


def _address(host_name: str, variables: Mapping[str, Any]) -> ipaddress.IPv4Interface:
    try:
        return ipaddress.IPv4Interface(str(variables[_ADDRESS]))
    except ValueError as error:
        raise _wrong(host_name, _ADDRESS, error) from error


def _ranges(host_name: str, variables: Mapping[str, Any], names: Sequence[str]) -> Iterator[_Range]:
    for name in names:
        try:
            yield _Range(host_name, name, ipaddress.IPv4Network(str(variables[name])))
        except ValueError as error:
            raise _wrong(host_name, name, error) from error


def _wrong(host_name: str, variable: str, error: ValueError) -> UsageError:
    hint = "for example 10.77.0.11/16" if variable == _ADDRESS else "for example 10.77.101.0/24"
    return UsageError(f"{variable} is wrong: {error}", where=host_name, hint=hint)
