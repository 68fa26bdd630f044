"""Guests as plans: which CPUs they get, and the XML that libvirt gets. Pure."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from perfctl.environments import environment
from perfctl.environments.vm.domain import Disk, Domain, Nic, command_line, mac_address, tap_name
from perfctl.environments.vm.pinning import Pinning, Topology, cpulist, plan
from perfctl.errors import EnvironmentNotMade, EnvironmentUnavailable
from perfctl.model.environment import Accelerator
from tests.unit.vm_host import DESKTOP, RUN_ID

VM = environment("vm")

# --- pinning ------------------------------------------------------------------------------------------------

# Two sockets, each a NUMA node of four cores with two threads: 0-3 and 8-11, 4-7 and 12-15.
SERVER = "# CPU,Core,Socket,Node\n" + "".join(
    f"{cpu},{cpu % 8},{cpu % 8 // 4},{cpu % 8 // 4}\n" for cpu in range(16)
)


def planned(
    lscpu: str = SERVER, allowed: str = "", accelerator: Accelerator = "kvm", host="", **changes
) -> Pinning:
    return plan(Topology.parse(lscpu, allowed), replace(VM, **changes), accelerator, host=host)


@pytest.mark.parametrize(
    ("vcpus", "cpus", "emulator"),
    [
        (1, (0,), (1, 2, 3, 9, 10, 11)),
        (2, (0, 1), (2, 3, 10, 11)),
        (4, (0, 1, 2, 3), (8, 9, 10, 11)),
        (6, (0, 1, 2, 3, 8, 9), (10, 11)),
        (8, (0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)),
    ],
)
def test_cores_of_one_node_come_first_then_siblings_and_the_emulator_keeps_away(vcpus, cpus, emulator):
    pinning = planned(vcpus=vcpus)
    assert (pinning.vcpus, pinning.emulator, pinning.nodes) == (cpus, emulator, (0,))
    assert not pinning.is_emulator_shared


@pytest.mark.parametrize(
    ("changes", "kvm", "tcg"),
    [
        ({}, (0, 1), (0,)),
        ({"vcpus": 2}, (0, 1), (0, 1)),
        ({"vcpus": 1}, (0,), (0,)),
        ({"cpuset_cpus": "3,2"}, (3, 2), (3, 2)),
    ],
)
def test_an_emulated_guest_has_one_vcpu_unless_its_environment_says_otherwise(changes, kvm, tcg):
    assert planned(accelerator="kvm", **changes).vcpus == kvm
    assert planned(accelerator="tcg", **changes).vcpus == tcg


def test_emulated_guests_of_the_hosts_of_a_lab_are_on_different_cpus():
    first, second = (planned(DESKTOP, accelerator="tcg", host=f"lab-{n}").vcpus for n in (1, 2))
    assert {first, second} == {(0,), (1,)}
    assert planned(DESKTOP, accelerator="tcg", host="lab-3").vcpus == first
    on_kvm = {planned(accelerator="kvm", host=f"lab-{n}").vcpus for n in (1, 2)}
    assert on_kvm == {(0, 1)}
    assert {planned(accelerator="tcg", host=f"lab-{n}", cpuset_cpus="3").vcpus for n in (1, 2)} == {(3,)}


def test_one_cpu_is_enough_for_an_emulated_guest():
    assert planned("0,0,0,0\n", accelerator="tcg").vcpus == (0,)
    with pytest.raises(EnvironmentUnavailable, match="2 vCPUs do not fit"):
        planned("0,0,0,0\n", accelerator="kvm")


def test_on_a_host_without_other_cpus_the_emulator_is_shared_and_that_is_said():
    pinning = planned(DESKTOP)
    assert (pinning.vcpus, pinning.emulator) == ((0, 1), (0, 1))
    assert pinning.described() == {
        "pinning.vcpus": "0:0 1:1",
        "pinning.emulator": "0-1",
        "pinning.emulator_shared": "yes",
        "pinning.nodes": "0",
    }


def test_the_node_is_the_one_where_fewest_vcpus_share_a_core():
    # Of node 0 we may use both threads of one core, of node 1 four cores.
    pinning = planned(allowed="0,8,4-7", vcpus=2)
    assert (pinning.vcpus, pinning.nodes) == ((4, 5), (1,))


def test_memory_nodes_choose_the_cpus_too():
    pinning = planned(cpuset_mems="1", vcpus=2)
    assert (pinning.vcpus, pinning.nodes) == ((4, 5), (1,))


def test_what_the_environment_says_is_taken_as_it_is_and_in_its_order():
    pinning = planned(cpuset_cpus="9,1", vcpus=2, cpuset_mems="0-1", emulator_cpus="1,15")
    assert (pinning.vcpus, pinning.emulator, pinning.nodes) == ((9, 1), (1, 15), (0, 1))
    assert pinning.is_emulator_shared


def test_a_host_that_knows_no_nodes_has_one():
    assert planned("0,0,0,\n1,1,0,\n").nodes == (0,)
    assert planned("0,,,\n1,,,\n").vcpus == (0, 1)


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"vcpus": 9}, "9 vCPUs do not fit on one NUMA node: the largest has 8", "vcpus = 8"),
        ({"cpuset_mems": "7"}, "the largest has 0", "cpuset_cpus"),
        ({"cpuset_cpus": "3,16-17"}, "names CPU 16-17", "this host has 0-15"),
        ({"emulator_cpus": "99"}, "emulator_cpus 99 names CPU 99", "0-15"),
    ],
)
def test_cpus_that_the_host_has_not_make_it_unavailable(changes, message, hint):
    with pytest.raises(EnvironmentUnavailable, match=message) as caught:
        planned(**changes)
    assert hint in str(caught.value.hint)


def test_a_list_of_too_few_cpus_is_a_mistake_of_the_suite():
    with pytest.raises(EnvironmentNotMade, match="has 1 CPUs for 2 vCPUs") as caught:
        planned(cpuset_cpus="3", vcpus=2)
    assert "vcpus = 1" in str(caught.value.hint)


def test_cpus_that_are_not_ours_are_not_used():
    assert planned(allowed="2-3,12-14").vcpus == (12, 13)
    assert planned(allowed="2-3,12").vcpus == (2, 3)


@pytest.mark.parametrize(
    ("numbers", "text"), [((), ""), ((3,), "3"), ((0, 1, 2), "0-2"), ((8, 0, 1, 3), "0-1,3,8")]
)
def test_numbers_are_written_as_linux_writes_them(numbers, text):
    assert cpulist(numbers) == text


# --- the domain ---------------------------------------------------------------------------------------------

DOMAIN = Domain(
    name="perfctl-1-2-abcd",
    uuid="0a1b2c3d-0000-4000-8000-000000000001",
    run_id=RUN_ID,
    accelerator="tcg",
    memory_mib=2048,
    pinning=Pinning((2, 3), (0, 1, 5), (0,)),
    kernel="/vm/vmlinuz",
    initramfs="/vm/initramfs",
    command_line="console=ttyS0 perfctl.mtu=9000",
    console="/vm/console.log",
    disks=(Disk("vda", "/vm/root.qcow2", "qcow2"), Disk("vdb", "/vm/scratch.img", "raw")),
    nic=Nic("br1", "pfc0123456789", "52:50:0a:f1:01:81", 9000, False),
)


def tree(domain: Domain) -> ElementTree.Element:
    return ElementTree.fromstring(domain.xml())


def attributes(domain: Domain, path: str) -> dict[str, str]:
    found = tree(domain).find(path)
    assert found is not None, f"no {path}"
    return found.attrib


def test_a_domain_says_everything_that_was_asked_for():
    root = tree(DOMAIN)
    assert (root.attrib["type"], root.findtext("name"), root.findtext("memory")) == (
        "qemu",
        DOMAIN.name,
        "2048",
    )
    assert root.findtext("metadata/{urn:perfctl:domain}run") == RUN_ID
    assert [pin.attrib for pin in root.findall("cputune/vcpupin")] == [
        {"vcpu": "0", "cpuset": "2"},
        {"vcpu": "1", "cpuset": "3"},
    ]
    assert attributes(DOMAIN, "cputune/emulatorpin") == {"cpuset": "0-1,5"}
    assert attributes(DOMAIN, "numatune/memory") == {"mode": "strict", "nodeset": "0"}
    assert root.findtext("os/cmdline") == DOMAIN.command_line
    assert attributes(DOMAIN, "os/type")["machine"] == "q35"
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        assert root.findtext(event) == "destroy"
    assert attributes(DOMAIN, "devices/serial/target")["type"] == "isa-serial"
    assert attributes(DOMAIN, "devices/interface/mtu") == {"size": "9000"}
    assert attributes(DOMAIN, "devices/interface/rom") == {"enabled": "no"}
    assert attributes(DOMAIN, "devices/interface/driver") == {"name": "qemu"}
    assert attributes(DOMAIN, "devices/memballoon") == {"model": "none"}
    assert [disk.attrib["dev"] for disk in root.findall("devices/disk/target")] == ["vda", "vdb"]
    for absent in ("memoryBacking", "seclabel", "devices/graphics", "devices/sound", "devices/video"):
        assert root.find(absent) is None


def test_the_accelerator_decides_type_and_cpu():
    assert attributes(DOMAIN, "cpu")["mode"] == "maximum"
    assert attributes(DOMAIN, "cpu/feature") == {"policy": "disable", "name": "la57"}
    kvm = replace(DOMAIN, accelerator="kvm")
    assert tree(kvm).attrib["type"] == "kvm"
    assert attributes(kvm, "cpu")["mode"] == "host-passthrough"
    assert tree(kvm).find("cpu/feature") is None


def test_fields_of_disks_and_memory_and_vhost():
    nic = Nic("br1", "pfc1", "52:50:00:00:00:01", 1500, True)
    changed = replace(
        DOMAIN, hugepages=True, disk_cache="none", disk_io="native", nic=nic, owner="+64055:+106"
    )
    assert attributes(changed, "devices/disk/driver") == {
        **{"name": "qemu", "type": "qcow2", "discard": "unmap"},
        **{"cache": "none", "io": "native"},
    }
    assert tree(changed).find("memoryBacking/hugepages") is not None
    assert attributes(changed, "devices/interface/driver") == {"name": "vhost"}
    assert attributes(changed, "seclabel") == {"type": "static", "model": "dac", "relabel": "no"}
    assert tree(changed).findtext("seclabel/label") == "+64055:+106"


def test_a_guest_without_disks_and_network_is_a_probe():
    root = tree(replace(DOMAIN, disks=(), nic=None))
    assert root.find("devices/disk") is None
    assert root.find("devices/interface") is None


def test_what_looks_like_xml_is_text():
    odd = replace(DOMAIN, command_line="a<b> & 'c' \"d\"", kernel="/x/<&'>")
    assert tree(odd).findtext("os/cmdline") == "a<b> & 'c' \"d\""
    assert tree(odd).findtext("os/kernel") == "/x/<&'>"


def test_names_of_devices_are_short_their_own_and_always_the_same():
    taps = {tap_name(f"perfctl-aaaaaaaa-bbbbbbbb-{number:04x}") for number in range(500)}
    assert len(taps) == 500
    assert all(tap.startswith("pfc") and len(tap) == 13 for tap in taps)
    assert tap_name("x") == tap_name("x")
    assert mac_address("10.241.1.129") == "52:50:0a:f1:01:81"
    # Locally administered, no group address.
    assert int(mac_address("255.255.255.255")[:2], 16) & 3 == 2


def test_the_kernel_is_told_what_init_reads():
    words = command_line(
        "tcg", address="10.1.0.9", prefix_length=16, mtu_bytes=9000, engine_range="10.1.0.12/30"
    ).split()
    assert {"console=ttyS0", "panic=1", "no_timer_check", "perfctl.address=10.1.0.9/16"} <= set(words)
    assert words[-1] == "perfctl.engine=10.1.0.12/30"
    # All lines until init begins, then errors only.
    assert "quiet" not in words and "sysctl.kernel.printk=4" in words
    plain = command_line("kvm", address="10.1.0.9", prefix_length=16, mtu_bytes=1500, engine_range=None)
    assert "perfctl.mtu=1500" in plain and "engine" not in plain
    # A real processor's TSC is what programs read the time from.
    assert "tsc=unstable" in words and "tsc=unstable" not in plain
