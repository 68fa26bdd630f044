"""Containers and virtual machines, of one host or of two, must never get one address."""

from __future__ import annotations

from typing import Any

import pytest

from perfctl.errors import Refused, UsageError
from perfctl.model import Host
from perfctl.provision.ranges import check_ranges


def _host(name: str, address: str, cidr: str, **more: Any) -> Host:
    variables = {
        "perf_test_interface": "eth1",
        "perf_test_address": address,
        "perf_bridge_fixed_cidr": cidr,
        **more,
    }
    return Host(name, "192.0.2.1", variables=variables)


FLEET = [
    _host("h1", "10.77.0.11/16", "10.77.101.0/24"),
    _host("h2", "10.77.0.12/16", "10.77.102.0/24"),
]
NAMES = ("h1", "h2")


def test_ranges_side_by_side_are_fine_and_overlapping_ones_are_refused() -> None:
    check_ranges(FLEET, {}, NAMES)  # raises nothing
    fleet = [FLEET[0], _host("h2", "10.77.0.12/16", "10.77.101.128/25")]
    with pytest.raises(
        Refused, match=r"cidr of h1 \(10.77.101.0/24\) and .* of h2 \(10.77.101.128/25\) over"
    ):
        check_ranges(fleet, {}, NAMES)


def _guests(one: str, other: str) -> list[Host]:
    return [
        _host("h1", "10.77.0.11/16", "10.77.101.0/25", perf_bridge_guest_range=one),
        _host("h2", "10.77.0.12/16", "10.77.102.0/25", perf_bridge_guest_range=other),
    ]


def test_ranges_of_guests_keep_out_of_all_others() -> None:
    check_ranges(_guests("10.77.101.128/25", "10.77.102.128/25"), {}, NAMES)  # raises nothing


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (
            "10.77.201.0/24",
            "10.77.201.128/25",
            "guest_range of h1 .* and perf_bridge_guest_range of h2 .* overl",
        ),
        (
            "10.77.101.0/24",
            "10.77.202.0/24",
            "fixed_cidr of h1 .* and perf_bridge_guest_range of h1 .* overlap",
        ),
        (
            "10.77.102.0/28",
            "10.77.202.0/24",
            "guest_range of h1 .* and perf_bridge_fixed_cidr of h2 .* overlap",
        ),
        ("10.78.1.0/24", "10.77.202.0/24", r"guest_range 10\.78\.1\.0/24 lies outside the test network"),
        ("10.77.0.0/28", "10.77.202.0/24", "holds the test address of h1, h2"),
    ],
)
def test_ranges_of_guests_that_do_not_fit_are_refused(one: str, other: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        check_ranges(_guests(one, other), {}, NAMES)


def test_a_range_outside_the_test_network_is_refused() -> None:
    with pytest.raises(Refused, match=r"outside the test network 10\.77\.0\.0/16"):
        check_ranges([_host("h1", "10.77.0.11/16", "10.78.1.0/24")], {}, NAMES)


def test_a_range_that_holds_another_hosts_address_is_refused() -> None:
    fleet = [_host("h1", "10.77.0.11/16", "10.77.0.0/25"), FLEET[1]]
    with pytest.raises(Refused, match="holds the test address of h2"):
        check_ranges(fleet, {}, NAMES)


def test_extra_variables_count_only_for_the_hosts_they_are_given_for() -> None:
    extra = {"perf_bridge_fixed_cidr": "10.77.102.0/24"}
    check_ranges(FLEET, extra, ("h2",))  # its own range
    with pytest.raises(Refused, match="overlap"):
        check_ranges(FLEET, extra, ("h1",))


def test_a_range_of_guests_counts_also_without_one_of_containers() -> None:
    with pytest.raises(Refused, match="overlap"):
        check_ranges(
            [_host("h1", "10.77.0.11/16", "", perf_bridge_guest_range="10.77.102.0/25"), FLEET[1]], {}, NAMES
        )
    with pytest.raises(UsageError, match="perf_bridge_guest_range is wrong"):
        check_ranges([_host("h1", "10.77.0.11/16", "", perf_bridge_guest_range="10.77.102")], {}, NAMES)


@pytest.mark.parametrize(("address", "cidr"), [("ten", "10.77.1.0/24"), ("10.77.0.1/16", "10.77.1.5/24")])
def test_what_is_no_range_is_named(address: str, cidr: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_ranges([_host("h1", address, cidr)], {}, NAMES)
    assert caught.value.where == "h1"


def test_hosts_without_a_test_network_and_templates_are_left_to_ansible() -> None:
    unresolved = _host("h2", "{{ address }}", "10.77.101.0/24")
    check_ranges([Host("h1", "192.0.2.1"), unresolved, FLEET[0]], {}, NAMES)  # raises nothing
    with pytest.raises(UsageError):
        check_ranges([_host("h2", "address", "10.77.101.0/24")], {}, NAMES)
