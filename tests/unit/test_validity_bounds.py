"""Too good to be true: bounds from facts and counters, and values at, below and above them."""

from __future__ import annotations

import pytest

from perfctl.errors import DataError
from perfctl.model import Fact, FactState, Fingerprint
from perfctl.validity.bandwidth import memory_bandwidth
from perfctl.validity.bounds import (
    ALL_DISKS,
    Bound,
    claimed_bytes,
    device_bytes,
    judge_bound,
    line_rate,
    slowest,
)
from perfctl.validity.counters import CounterDelta, parse_counters
from perfctl.validity.finding import Severity
from tests.captured_facts import fingerprint_of

LINKS = """lo mtu=65536 tx_queue_len=1000
eth0 mtu=1500 tx_queue_len=1000 speed=10000 duplex=full DRIVER=ixgbe
eth1 mtu=9000 tx_queue_len=1000 speed=25000 duplex=full DRIVER=mlx5_core
eth2 mtu=1500 tx_queue_len=1000 speed=1000 duplex=full master=br0 DRIVER=igb
eth3 mtu=1500 tx_queue_len=1000 speed=-1 duplex=unknown DRIVER=igb
eth4 mtu=1500 speed=10000 duplex=full DRIVER=virtio_net
veth mtu=1500 speed=10000 duplex=full
tap0 mtu=1500 speed=10000 duplex=full master=br0
br0 mtu=1500 tx_queue_len=1000 DEVTYPE=bridge
br1 mtu=1500 tx_queue_len=1000 DEVTYPE=bridge
eth0.7 mtu=1500 speed=10000 lower=eth0 DEVTYPE=vlan
bond0 mtu=1500 speed=20000 lower=eth0,eth2 DEVTYPE=bond
bond1 mtu=1500 speed=20000 lower=eth0,eth3 DEVTYPE=bond
loop mtu=1500 lower=loop DEVTYPE=vlan"""


def facts(links: str | None = LINKS) -> Fingerprint:
    state = FactState.MISSING if links is None else FactState.PRESENT
    return Fingerprint((Fact("net.links", state, links or ""),))


def rate(interface: str) -> float | None:
    bound = line_rate(facts(), interface)
    return bound.value if bound else None


PAYLOAD = 1480 / 1538


@pytest.mark.parametrize(
    ("interface", "mbit_s"),
    [
        ("eth0", 10000 * PAYLOAD),
        ("eth1", 25000 * 8980 / 9038),
        ("eth0.7", 10000 * PAYLOAD),
        ("br0", 1000 * PAYLOAD),
        ("bond0", 11000 * PAYLOAD),
    ],
)
def test_a_wire_has_a_line_rate(interface, mbit_s):
    assert rate(interface) == pytest.approx(mbit_s)


@pytest.mark.parametrize("interface", ["lo", "eth3", "eth4", "veth", "tap0", "br1", "bond1", "loop", "none"])
def test_what_has_no_wire_has_no_line_rate(interface):
    assert rate(interface) is None


@pytest.mark.parametrize(
    "links", [None, "", "eth0", "eth0 mtu=x speed=y DRIVER=z", "eth0 mtu=9 speed=9 DRIVER=z"]
)
def test_links_that_were_not_read_bound_nothing(links):
    assert line_rate(facts(links), "eth0") is None


@pytest.mark.parametrize("case", ["host-with-docker", "virtual-machine"])
def test_real_hosts_of_software_have_no_line_rate(case):
    read = fingerprint_of(case)
    for interface in ("eth0", "eth1", "docker0", "lo"):
        assert line_rate(read, interface) is None


def test_no_path_is_faster_than_its_slowest_hop():
    fast, slow = line_rate(facts(), "eth1"), line_rate(facts(), "eth0")
    assert slowest([fast, None, slow]) == slow
    memory = memory_bandwidth([100.0] * 5, "GiB/s")
    assert slowest([fast, memory]) == fast
    assert slowest([memory, fast]) == fast
    assert slowest([None]) is None
    assert slowest([]) is None


# --- values against bounds ------------------

LINE = Bound("line_rate", 1000, "Mbit/s", "the wire of eth0", 0.01, "look")


@pytest.mark.parametrize(
    ("value", "unit"), [(0, "Mbit/s"), (999, "Mbit/s"), (1000, "Mbit/s"), (1010, "Mbit/s"), (1.01, "Gbit/s")]
)
def test_within_the_bound_and_its_tolerance(value, unit):
    assert judge_bound(value, unit, LINE) is None


@pytest.mark.parametrize(
    ("value", "unit", "limit"),
    [(1011, "Mbit/s", 1000), (1.011, "Gbit/s", 1), (126.4, "MB/s", 125), (121, "MiB/s", 119.20929)],
)
def test_above_the_bound_is_a_likely_artefact_in_the_values_own_unit(value, unit, limit):
    finding = judge_bound(value, unit, LINE)
    assert finding is not None
    assert finding.severity is Severity.ARTEFACT
    assert str(finding.severity) == "likely artefact"
    assert (finding.seen, finding.unit, finding.rule) == (value, unit, "line_rate")
    assert finding.limit == pytest.approx(limit)
    assert "the wire of eth0" in finding.sentence
    assert finding.hint == "look"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_what_is_no_rate_is_refused(value):
    with pytest.raises(DataError, match="cannot be compared with"):
        judge_bound(value, "Mbit/s", LINE)


@pytest.mark.parametrize("unit", ["transactions/s", "bytes", "ms", ""])
def test_units_of_different_things_are_refused(unit):
    with pytest.raises(DataError, match="cannot be compared with"):
        judge_bound(1, unit, LINE)


def test_a_unit_that_nobody_knows_is_at_least_equal_to_itself():
    bound = Bound("memory_bandwidth", 10, "stars", "a test", 0, "")
    assert judge_bound(10, "stars", bound) is None
    assert judge_bound(11, "stars", bound) is not None


def test_memory_bandwidth_is_a_sample_and_no_law():
    bound = memory_bandwidth([10_000.0] * 5, "MiB/s")
    assert bound is not None
    assert judge_bound(10_500, "MiB/s", bound) is None
    finding = judge_bound(10_501, "MiB/s", bound)
    assert finding is not None
    assert finding.sentence == (
        "10,501 MiB/s is more than the fastest of 5 native measurements of this host's memory allows,"
        " 10,000 MiB/s"
    )


# --- what the device itself counted ---------

ROW = """==> /proc/net/dev <==
eth1: {} 2 0 0 0 0 0 0 {} 6 0 0 0 0 0 0

==> /proc/diskstats <==
 8 0 sda 1 0 {} 0 1 0 {} 0
"""


def counted(before: tuple[int, ...], after: tuple[int, ...]) -> CounterDelta:
    return parse_counters(ROW.format(*before).encode(), ROW.format(*after).encode())


def test_a_tool_cannot_have_moved_more_than_the_device_counted():
    delta = counted((0, 0, 0, 0), (10**6, 125 * 10**6, 2, 4))
    claimed = claimed_bytes(100, "Mbit/s", 10)
    assert claimed == 125 * 10**6
    sent = device_bytes(delta, "eth1", "sent")
    assert sent is not None
    assert judge_bound(claimed, "bytes", sent) is None
    received = device_bytes(delta, "eth1", "received")
    assert received is not None
    finding = judge_bound(claimed, "bytes", received)
    assert finding is not None
    assert finding.rule == "device_bytes"
    assert "what eth1 counted as received" in finding.sentence
    for disk, size in (
        (device_bytes(delta, "sda", "read"), 1024),
        (device_bytes(delta, "sda", "written"), 2048),
    ):
        assert disk is not None
        assert disk.value == size
        assert judge_bound(size * 2, "B", disk) is not None


def test_a_device_that_was_not_read_or_went_backwards_bounds_nothing():
    delta = counted((5, 5, 5, 5), (4, 9, 9, 4))
    assert device_bytes(delta, "eth1", "sent") is None
    assert device_bytes(delta, "sda", "read") is None
    assert device_bytes(delta, "eth9", "received") is None
    assert device_bytes(delta, "sdz", "written") is None


def test_claimed_bytes_are_of_a_rate():
    assert claimed_bytes(1, "GiB/s", 2) == 2**31
    for unit in ("bytes", "transactions/s"):
        with pytest.raises(DataError):
            claimed_bytes(1, unit, 1)


# ---- disks -----------------------------------------------------------------------------------------------


def disks(**read_kib: int) -> bytes:
    lines = [
        f" 8 0 {name} 1 0 {2 * kib} 0 1 0 {4 * kib} 0 0 0 0"
        for name, kib in ((name.replace("_", "-"), kib) for name, kib in read_kib.items())
    ]
    return "\n".join(["==> /proc/diskstats <==", *lines, ""]).encode()


NONE = dict.fromkeys(("sda", "sda1", "sda10", "nvme0n1", "nvme0n1p2", "dm_0", "md127", "loop3", "zram0"), 0)


def test_all_disks_are_the_whole_ones_that_hold_the_bytes():
    delta = parse_counters(disks(**NONE), disks(**dict.fromkeys(NONE, 100)))
    read, written = (device_bytes(delta, ALL_DISKS, way) for way in ("read", "written"))
    assert read is not None and written is not None
    assert (read.value, written.value) == (200 * 1024, 400 * 1024)
    assert read.source == "what the disks counted as read"
    one = device_bytes(delta, "sda1", "read")
    assert one is not None and one.value == 100 * 1024


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (disks(**NONE), b""),
        (disks(**NONE), b"==> x <=="),
        (disks(**NONE), disks(sdb=5)),
        (disks(loop0=0), disks(loop0=9)),
        (disks(sda=1, nvme0n1=1), disks(sda=0, nvme0n1=9)),
    ],
)
def test_disks_that_were_not_read_or_went_backwards_bound_nothing(before, after):
    assert device_bytes(parse_counters(before, after), ALL_DISKS, "read") is None
