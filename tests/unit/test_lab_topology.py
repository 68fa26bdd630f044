"""Addresses, limits and changes of a lab, from its settings alone."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from perfctl.errors import Refused, UsageError
from perfctl.lab.topology import LabRequest, LabSpec, members, resolve

SPEC = LabSpec("lab", 2, False, "172.31.240.0/24", "10.241.0.0/16")


def test_each_host_has_its_addresses_and_its_own_range():
    first, second = members(SPEC)
    assert (first.name, first.management_address, first.test_address) == (
        "lab-1",
        "172.31.240.11",
        "10.241.0.11/16",
    )
    assert (first.container_range, first.guest_range) == ("10.241.1.0/25", "10.241.1.128/25")
    assert second.management_address == "172.31.240.12"
    assert (second.container_range, second.guest_range) == ("10.241.2.0/25", "10.241.2.128/25")


@pytest.mark.parametrize(
    ("hosts", "management", "test"),
    [(40, "172.31.240.0/24", "10.241.0.0/16"), (3, "192.168.7.0/28", "10.8.0.0/22")],
)
def test_no_two_hosts_containers_or_guests_ever_share_an_address(hosts, management, test):
    spec = LabSpec("lab", hosts, True, management, test)
    everyone = members(spec)
    ranges = [
        IPv4Network(text) for member in everyone for text in (member.container_range, member.guest_range)
    ]
    own = [IPv4Interface(member.test_address).ip for member in everyone]
    assert len({member.management_address for member in everyone}) == hosts
    assert len(set(own)) == hosts
    assert all(address in IPv4Network(test) for address in own)
    assert all(range_.subnet_of(IPv4Network(test)) for range_ in ranges)
    assert not any(a.overlaps(b) for i, a in enumerate(ranges) for b in ranges[:i])
    assert not any(address in range_ for address in own for range_ in ranges)
    assert all(IPv4Address(member.management_address) in IPv4Network(management) for member in everyone)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "My Lab"}, "name"),
        ({"name": "-lab"}, "name"),
        ({"name": ""}, "name"),
        ({"hosts": 0}, "fit"),
        ({"hosts": 245}, "at most 244"),
        ({"test_subnet": "10.241.0.0/24"}, "at most 0"),
        ({"management_subnet": "172.31.240.0/29"}, "at most 0"),
        ({"management_subnet": "172.31.240.1/24"}, "host bits"),
        ({"test_subnet": "fd00::/64"}, "IPv4"),
        ({"test_subnet": "172.31.0.0/16"}, "overlap"),
    ],
)
def test_a_lab_that_cannot_be_is_refused(changes, words):
    settings = {
        "name": "lab",
        "hosts": 2,
        "light": False,
        "management_subnet": "172.31.240.0/24",
        "test_subnet": "10.241.0.0/16",
    }
    with pytest.raises(UsageError, match=words):
        LabSpec(**(settings | changes))


def test_a_new_lab_takes_the_defaults():
    assert resolve(LabRequest(), None) == SPEC
    assert {(member.release, member.cgroup) for member in members(SPEC)} == {("", "machine")}


def test_hosts_get_releases_and_control_groups_in_turn_and_keep_them_when_others_join():
    spec = resolve(LabRequest(hosts=3, releases=("12", "13"), cgroups=("v2", "machine")), None)
    dealt = [(member.release, member.cgroup) for member in members(spec)]
    assert dealt == [("12", "v2"), ("13", "machine"), ("12", "v2")]
    more = members(resolve(LabRequest(hosts=5), spec))
    assert more[:3] == members(spec)
    assert [member.release for member in more[3:]] == ["13", "12"]


@pytest.mark.parametrize(
    ("lab_request", "hosts"),
    [
        (LabRequest(releases=("13",)), 2),
        (LabRequest(releases=("11", "12", "13")), 3),
        (LabRequest(cgroups=("machine", "machine", "v2")), 3),
        (LabRequest(releases=("11", "12", "13"), hosts=4), 4),
    ],
)
def test_there_is_a_host_for_each_release(lab_request, hosts):
    assert resolve(lab_request, None).hosts == hosts


def test_releases_for_which_there_is_no_host_are_refused():
    with pytest.raises(UsageError, match="2 times --release, but 1 hosts: some would be left out"):
        resolve(LabRequest(releases=("12", "13"), hosts=1), None)


@pytest.mark.parametrize(
    ("lab_request", "words"),
    [(LabRequest(releases=("10",)), "--release cannot be '10'"), (LabRequest(cgroups=("v1",)), "--cgroup")],
)
def test_what_hosts_cannot_be_is_refused(lab_request, words):
    with pytest.raises(UsageError, match=words):
        resolve(lab_request, None)


def test_a_lab_that_is_there_keeps_what_is_not_asked_for():
    other = LabSpec("lab", 3, True, "172.31.9.0/24", "10.9.0.0/16")
    assert resolve(LabRequest(), other) == other
    assert resolve(LabRequest(light=True, hosts=3), other) == other


def test_hosts_can_join():
    assert resolve(LabRequest(hosts=5), SPEC).hosts == 5


@pytest.mark.parametrize(
    "lab_request",
    [
        LabRequest(hosts=1),
        LabRequest(light=True),
        LabRequest(test_subnet="10.9.0.0/16"),
        LabRequest(management_subnet="172.31.9.0/24"),
        LabRequest(releases=("13",)),
        LabRequest(cgroups=("v2",)),
    ],
)
def test_what_would_rebuild_the_lab_is_refused(lab_request):
    with pytest.raises(Refused) as caught:
        resolve(lab_request, SPEC)
    assert caught.value.exit_code == 7
    assert "perfctl lab down" in (caught.value.hint or "")


def test_a_release_that_differs_is_named():
    with pytest.raises(Refused, match="exists with releases as on this machine, not releases 12 13"):
        resolve(LabRequest(releases=("12", "13")), SPEC)
