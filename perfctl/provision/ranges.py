"""Do the containers' address ranges of a fleet fit together? Only the whole inventory can tell."""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Mapping, Sequence
from itertools import combinations
from typing import Any

from perfctl.errors import Refused, UsageError
from perfctl.model import Host

_RANGE, _ADDRESS, _INTERFACE = "perf_bridge_fixed_cidr", "perf_test_address", "perf_test_interface"


def check_ranges(hosts: Sequence[Host], extra_vars: Mapping[str, Any], concerned: Container[str]) -> None:
    """Check the ranges of all hosts that have a test NIC; `extra_vars` hold for the hosts `concerned`.

    Raises UsageError for what is no range or address, Refused for ranges that overlap, that lie outside the
    test network, or that hold another host's address: two containers would get one address.
    """
    ranges: dict[str, ipaddress.IPv4Network] = {}
    addresses: dict[str, ipaddress.IPv4Interface] = {}
    for host in hosts:
        variables = {**host.variables, **(extra_vars if host.name in concerned else {})}
        if not variables.get(_INTERFACE) or not variables.get(_ADDRESS) or not variables.get(_RANGE):
            continue
        if "{{" in f"{variables[_ADDRESS]}{variables[_RANGE]}":
            # Only Ansible can resolve it; the role checks its form there.
            continue
        addresses[host.name], ranges[host.name] = _read(host.name, variables)
    for host_name, network in ranges.items():
        if not network.subnet_of(addresses[host_name].network):
            raise Refused(
                f"{_RANGE} {network} lies outside the test network {addresses[host_name].network}",
                where=host_name,
            )
        taken = [name for name, address in addresses.items() if name != host_name and address.ip in network]
        if taken:
            raise Refused(f"{_RANGE} {network} holds the test address of {', '.join(taken)}", where=host_name)
    for one, other in combinations(ranges, 2):
        if ranges[one].overlaps(ranges[other]):
            raise Refused(
                f"{_RANGE} of {one} ({ranges[one]}) and of {other} ({ranges[other]}) overlap",
                hint="give each host a range of its own: two containers must not get one address",
            )


def _read(
    host_name: str, variables: Mapping[str, Any]
) -> tuple[ipaddress.IPv4Interface, ipaddress.IPv4Network]:
    try:
        address = ipaddress.IPv4Interface(str(variables[_ADDRESS]))
        return address, ipaddress.IPv4Network(str(variables[_RANGE]))
    except ValueError as error:
        raise UsageError(
            f"{_ADDRESS} or {_RANGE} is wrong: {error}",
            where=host_name,
            hint="for example 10.77.0.11/16 and 10.77.101.0/24",
        ) from error
