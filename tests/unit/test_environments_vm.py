"""Guests without libvirt: topology and pinning, the domain's XML, what hosts say, and what becomes of it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from perfctl.environments import driver_for, environment, start_argv
from perfctl.environments.vm import VmDriver, check_path, left_behind, remove_all
from perfctl.environments.vm.domain import (
    Disk,
    Domain,
    Nic,
    command_line,
    mac_address,
    tap_name,
)
from perfctl.environments.vm.pinning import Pinning, Topology, cpulist, plan
from perfctl.environments.vm.survey import State, Survey
from perfctl.errors import CommandFailed, CommandTimeout, EnvironmentDied, EnvironmentUnavailable, UsageError
from perfctl.job import JobTimeout
from perfctl.shell import Completed, Process
from perfctl.shell.command import MARK

VM = environment("vm")
RUN_ID = "01990000-0000-7000-8000-00000000aaaa"
INVOCATION_ID = "01990000-0000-7000-8000-00000000bbbb"

# --- pinning ------------------------------------------------------------------------------------------------

# Two sockets, each a NUMA node of four cores with two threads: 0-3 and 8-11, 4-7 and 12-15.
SERVER = "# CPU,Core,Socket,Node\n" + "".join(
    f"{cpu},{cpu % 8},{cpu % 8 // 4},{cpu % 8 // 4}\n" for cpu in range(16)
)
DESKTOP = "0,0,0,0\n1,1,0,0\n"


def planned(lscpu: str = SERVER, allowed: str = "", **changes) -> Pinning:
    return plan(Topology.parse(lscpu, allowed), replace(VM, **changes))


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
        ({"cpuset_cpus": "3", "vcpus": 2}, "has 1 CPUs for 2 vCPUs", "vcpus = 1"),
        ({"emulator_cpus": "99"}, "emulator_cpus 99 names CPU 99", "0-15"),
    ],
)
def test_cpus_that_the_host_has_not_make_it_unavailable(changes, message, hint):
    with pytest.raises(EnvironmentUnavailable, match=message) as caught:
        planned(**changes)
    assert hint in str(caught.value.hint)


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
        address="10.1.0.9", prefix_length=16, mtu_bytes=9000, engine_range="10.1.0.12/30"
    ).split()
    assert {"console=ttyS0", "panic=1", "no_timer_check", "perfctl.address=10.1.0.9/16"} <= set(words)
    assert words[-1] == "perfctl.engine=10.1.0.12/30"
    plain = command_line(address="10.1.0.9", prefix_length=16, mtu_bytes=1500, engine_range=None)
    assert "perfctl.mtu=1500" in plain and "engine" not in plain


# --- what a host says ---------------------------------------------------------------------------------------

HOST_JSON = {
    **{"bridge": "br1", "mtu_bytes": 9000, "prefix_length": 16},
    **{"guest_range": "10.241.1.128/25", "uri": "qemu:///system"},
}
MANIFEST = {"image_id": "sha256:1", "kernel_release": "6.1.0", "kernel_source": "host", "recipe_version": "2"}
VERSION = """Compiled against library: libvirt 9.0.0
Using library: libvirt 9.0.0
Using API: QEMU 9.0.0
Running hypervisor: QEMU 7.2.22
Running against daemon: 9.0.0
"""
SECTIONS = {
    "host": json.dumps(HOST_JSON),
    "image": "/var/lib/perfctl/vm/images/abc",
    "manifest": json.dumps(MANIFEST),
    "unreadable": "",
    "programs": "virsh\nqemu-img\nqemu-system-x86_64\nssh\nmkfs.ext4",
    "libvirt": VERSION,
    "owner": "+64055:+106",
    "topology": DESKTOP,
    "allowed": "0-1",
    "memory": "MemAvailable:   8192000 kB\nHugePages_Free:      600\nHugepagesize:       2048 kB",
    "devices": "",
    "boot": "boot-1",
    "accelerator": "",
}


def survey_text(**changes: str) -> str:
    return "".join(f"== {name}\n{text}\n" for name, text in {**SECTIONS, **changes}.items())


def survey(**changes: str) -> Survey:
    return Survey.parse(survey_text(**changes))


def test_a_survey_is_read():
    found = survey()
    found.check(with_engine=True)
    assert (found.network.bridge, found.network.mtu_bytes) == ("br1", 9000)
    assert found.versions == {"hypervisor": "7.2.22", "daemon": "9.0.0"}
    assert found.manifest["kernel_source"] == "host"
    assert found.boot == "boot-1 7.2.22"


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"programs": "ssh"}, "no libvirt here", "perf_vm_host: true"),
        ({"programs": "virsh qemu-img ssh mkfs.ext4"}, "no qemu here", "perfctl provision"),
        ({"host": ""}, "not set up for guests", "perf_vm_host: true"),
        (
            {"libvirt": "error: failed to connect\nerror: No such file"},
            "does not answer: No such",
            "systemctl",
        ),
        ({"libvirt": ""}, "does not answer: it said nothing", "systemctl"),
        (
            {"image": "", "unreadable": "root.ext4\nvmlinuz"},
            r"no image for guests \(root.ext4, vml",
            "provision",
        ),
        ({"unreadable": "vmlinuz"}, r"no image for guests \(vmlinuz\)", "perfctl provision"),
        ({"unreadable": "engine.ext4"}, "engine.ext4", "perfctl provision"),
        ({"host": "{"}, "host.json cannot be read", "perfctl provision"),
    ],
)
def test_what_is_missing_is_said_with_what_to_do(changes, message, hint):
    with pytest.raises(EnvironmentUnavailable, match=message) as caught:
        found = survey(**changes)
        found.check(with_engine=True)
        assert found.network
    assert caught.value.reason == "environment_unavailable"
    assert hint in str(caught.value.hint)


def test_only_those_who_need_the_engine_need_its_disk():
    survey(unreadable="engine.ext4").check(with_engine=False)


@pytest.mark.parametrize(
    ("memory_mib", "hugepages", "message"),
    [
        (7900, False, "the host has 8000 MiB available"),
        (1300, True, "1200 MiB are free"),
    ],
)
def test_more_memory_than_there_is(memory_mib, hugepages, message):
    with pytest.raises(EnvironmentUnavailable, match=message) as caught:
        survey().check_memory(memory_mib, hugepages=hugepages)
    assert caught.value.reason == "out_of_memory"
    survey().check_memory(1024, hugepages=hugepages)


# --- what became of a guest ---------------------------------------------------------------------------------

RUNNING = {"domain": "running (booted)", "qemu": "77\nrunning", "oom": "0", "kernel": "", "libvirt": ""}
GONE = {**RUNNING, "domain": "error: failed to get domain 'x'", "qemu": "77"}
PANIC = "perfctl: kernel\n[  1.5] Kernel panic - not syncing: VFS: Unable to mount root fs\n[  1.6] CPU: 0"


def state(console: str = "perfctl: ssh", **sections: str) -> State:
    return State({**sections, "console": console})


def test_a_guest_that_runs_has_not_died():
    assert state(**RUNNING).death() is None


@pytest.mark.parametrize(
    ("found", "reason", "message"),
    [
        (state(PANIC, **GONE), "guest_panicked", "panicked: Kernel panic - not syncing: VFS"),
        (state(PANIC, **RUNNING), "guest_panicked", "Kernel panic"),
        (state(**{**RUNNING, "domain": "paused (I/O error)"}), "disk_full", "I/O error on its disk"),
        (state(**{**RUNNING, "domain": "paused (user)"}), "environment_died", "stands still: paused"),
        (
            state(**{**GONE, "kernel": "[9] Out of memory: Killed process 77 (qemu-system-x86)"}),
            "out_of_memory",
            "Killed process 77",
        ),
        (state(**{**GONE, "oom": "1"}), "out_of_memory", "for lack of memory"),
        (
            state(**{**GONE, "oom": "1", "libvirt": "shutting down, reason=shutdown"}),
            "environment_died",
            "reason=shutdown",
        ),
        (state(**GONE), "environment_died", "qemu has ended"),
    ],
)
def test_deaths_are_told_apart(found, reason, message):
    death = found.death()
    assert death is not None
    assert (death.reason, death.artifacts) == (reason, {"console": found.console.encode()})
    assert message in str(death)


# --- the driver ---------------------------------------------------------------------------------------------

Answer = Completed | BaseException | Callable[[Sequence[str], bytes], Completed]


def said(exit_code: int = 0, stdout: str = "", stderr: str = "") -> Completed:
    return Completed((), exit_code, stdout.encode(), stderr.encode(), started_ns=5, ended_ns=9)


def inside(exit_code: int = 0, stdout: str = "", stderr: str = "", ends: bool = True) -> Completed:
    """Return what ssh leaves behind for a command that ran in a guest."""
    end = f"{MARK}\n" if ends else ""
    return said(exit_code, f"{MARK}\n{stdout}", f"{MARK} 123\n{stderr}{end}")


class ScriptedHost:
    """A Shell that answers each verb of host.sh, and ssh, as told, and remembers what it was asked."""

    name = "h1"

    def __init__(self, **answers: Answer) -> None:
        self.asked: list[tuple[list[str], bytes]] = []
        self._answers: dict[str, Answer] = {
            "survey": said(stdout=survey_text()),
            "claim": said(stdout="10.241.1.129\n"),
            "start": said(stdout="kernel 1.50\nssh 4.25\n"),
            "state": said(stdout=state_text(RUNNING)),
            **answers,
        }

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        self.asked.append((list(argv), stdin))
        answer = self._answers.get(verb(argv), said())
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, Completed) else answer(argv, stdin)

    def spawn(self, argv: Sequence[str]) -> Process:
        raise NotImplementedError

    def put(self, local: Path, remote: str, *, mode: int) -> None:
        raise NotImplementedError

    def get(self, remote: str) -> bytes:
        return b"console of " + remote.encode()

    def verbs(self) -> list[str]:
        return [verb(argv) for argv, _ in self.asked]

    def arguments(self, wanted: str) -> list[str]:
        return next(argv for argv, _ in self.asked if verb(argv) == wanted)[5:]


def verb(argv: Sequence[str]) -> str:
    return argv[4] if list(argv[3:4]) == ["perfctl-vm"] else argv[0]


def state_text(sections: dict[str, str], console: str = "perfctl: ssh") -> str:
    return "".join(f"== {name}\n{text}\n" for name, text in {**sections, "console": console}.items())


def driver(name: str = "vm", **settings) -> VmDriver:
    return VmDriver(replace(environment(name), **settings), run_id=RUN_ID, invocation_id=INVOCATION_ID)


def test_three_calls_to_open_and_one_to_close():
    host = ScriptedHost()
    with driver().open(host) as guest:
        assert (guest.name, guest.address, guest.mtu_bytes) == ("h1/vm", "10.241.1.129", 9000)
        assert guest.accelerator == "tcg"
        assert guest.opening_s == {"kernel": 1.5, "ssh": 4.25}
        assert guest.domain.startswith("perfctl-0000aaaa-0000bbbb-")
        assert guest.host_processes == f"pidfile:/run/libvirt/qemu/{guest.domain}.pid"
    assert host.verbs() == ["survey", "claim", "start", "close"]
    name, identity = host.arguments("close")
    assert host.arguments("claim") == [guest.domain, RUN_ID, identity, tap_name(name), "8"]
    xml = next(stdin for argv, stdin in host.asked if verb(argv) == "start").decode()
    assert f"<uuid>{identity}</uuid>" in xml
    assert "perfctl.address=10.241.1.129/16" in xml
    start = host.arguments("start")
    assert start[:5] == [name, identity, "ssh", "180", "+64055:+106"]
    assert start[5] == "root.qcow2=/var/lib/perfctl/vm/images/abc/root.ext4"
    assert start[-3:] == ["-M", "-N", "root@10.241.1.129"]


def test_ssh_trusts_the_guests_key_only_and_reads_nobodys_settings():
    host = ScriptedHost()
    with driver().open(host):
        pass
    start = host.arguments("start")
    ssh = start[start.index("--") + 1 :]
    assert ssh[:3] == ["ssh", "-F", "none"]
    assert {
        *("BatchMode=yes", "StrictHostKeyChecking=yes", "HostKeyAlias=perfctl-guest"),
        *("UserKnownHostsFile=/var/lib/perfctl/vm/known_hosts", "GlobalKnownHostsFile=/dev/null"),
    } <= set(ssh)


def test_an_engine_gets_addresses_of_the_guests_own_eight():
    engine = VmDriver(VM, run_id=RUN_ID, invocation_id=INVOCATION_ID, with_engine=True)
    host = ScriptedHost()
    with engine.open(host):
        pass
    xml = next(stdin for argv, stdin in host.asked if verb(argv) == "start").decode()
    assert "perfctl.engine=10.241.1.132/30" in xml
    assert "engine.qcow2" in xml
    assert host.arguments("start")[2] == "engine"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("x"), CommandTimeout("slow")])
def test_removed_when_the_body_raises(error):
    host = ScriptedHost()
    with pytest.raises(type(error)), driver().open(host):
        raise error
    assert host.verbs() == ["survey", "claim", "start", "close"]


@pytest.mark.parametrize("step", ["claim", "start"])
def test_removed_when_a_step_does_not_come_back(step):
    host = ScriptedHost(**{step: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt), driver().open(host):
        pytest.fail("the body ran")
    assert host.verbs()[-1] == "close"


def test_a_failed_removal_is_an_error_that_names_what_is_left():
    host = ScriptedHost(close=said(1, stdout=" domain perfctl-1 folder /x\n"))
    with (
        pytest.raises(CommandFailed, match="domain perfctl-1 folder /x is left") as caught,
        driver().open(host),
    ):
        pass
    assert "virsh destroy perfctl-0000aaaa" in str(caught.value.hint)
    with pytest.raises(ValueError, match="first") as other, driver().open(host):
        raise ValueError("first")
    assert "is left" in other.value.__notes__[0]


@pytest.mark.parametrize(
    ("answers", "reason", "message"),
    [
        ({"claim": said(11)}, "name_taken", "left alone"),
        (
            {"claim": said(13, stderr="perfctl-1\nperfctl-2\n")},
            "environment_unavailable",
            "perfctl-1, perfctl-2",
        ),
        ({"claim": said(13)}, "environment_unavailable", "the range is too small"),
        ({"claim": said(12, stderr="echo: No space left on device")}, "disk_full", "host's disk is full"),
        (
            {
                "start": said(
                    14, stderr="error: x\nerror: operation failed: domain 'n' already exists with uuid u"
                )
            },
            "name_taken",
            "not ours",
        ),
        (
            {
                "start": said(
                    14, stderr="error: qemu: cannot set up guest memory 'pc.ram': Cannot allocate memory"
                )
            },
            "out_of_memory",
            "has not the memory",
        ),
        (
            {
                "start": said(
                    14, stderr="error: Failed to create\nerror: Unable to add bridge br1: No such device"
                )
            },
            "environment_unavailable",
            "Unable to add bridge br1",
        ),
        ({"start": said(12, stderr="mkfs: No space left on device")}, "disk_full", "host's disk is full"),
    ],
)
def test_what_the_host_refuses_is_unavailable_with_its_words(answers, reason, message):
    host = ScriptedHost(**answers)
    with pytest.raises(EnvironmentUnavailable, match=message) as caught, driver().open(host):
        pytest.fail("the body ran")
    assert (caught.value.reason, caught.value.where) == (reason, "h1/vm")
    assert host.verbs()[-1] == "close"


@pytest.mark.parametrize(
    ("why", "gone", "kind", "reason", "message"),
    [
        ("panicked [1] Kernel panic - x", GONE, EnvironmentDied, "guest_panicked", "Kernel panic - x"),
        (
            "silent",
            RUNNING,
            EnvironmentDied,
            "guest_silent",
            "within 180 s; its console said last: perfctl: ssh",
        ),
        ("silent No route to host", RUNNING, EnvironmentDied, "guest_silent", "answer: No route to host"),
        ("ended", GONE, EnvironmentDied, "environment_died", "qemu has ended"),
        ("ended", {**GONE, "oom": "2"}, EnvironmentDied, "out_of_memory", "lack of memory"),
        ("failed no br1", RUNNING, EnvironmentUnavailable, "environment_unavailable", "needs: no br1"),
    ],
)
def test_a_guest_that_does_not_come_up_says_why_with_its_console(why, gone, kind, reason, message):
    host = ScriptedHost(
        start=said(15, stdout=f"kernel 1.00\nwhy {why}\n"), state=said(stdout=state_text(gone))
    )
    with pytest.raises(kind, match=message) as caught, driver().open(host):
        pytest.fail("the body ran")
    assert (caught.value.reason, caught.value.where) == (reason, "h1/vm")
    assert caught.value.artifacts == {"console": b"perfctl: ssh"}
    assert host.verbs() == ["survey", "claim", "start", "state", "close"]


def test_checking_boots_as_far_as_the_kernel_and_leaves_nothing():
    host = ScriptedHost(start=said(stdout="kernel 1.00\n"))
    driver().check(host)
    assert host.verbs() == ["survey", "claim", "start", "close"]
    assert host.arguments("claim")[-1] == "0"
    assert host.arguments("start")[2] == "kernel"


def test_describing_makes_nothing():
    host = ScriptedHost()
    described = driver().describe(host)
    assert host.verbs() == ["survey"]
    assert described["accelerator.reason"] == "there is no /dev/kvm"
    assert (described["image.sha256"], described["vhost"]) == ("abc", "no")
    assert described["kernel.source"] == "host"
    assert "perfctl-" not in described["domain.xml"] and RUN_ID not in described["domain.xml"]


def test_a_list_of_cpus_is_as_many_vcpus():
    host = ScriptedHost()
    assert driver(cpuset_cpus="1", vcpus=None).describe(host)["pinning.vcpus"] == "0:1"


# --- the accelerator ----------------------------------------------------------------------------------------

KVM = survey_text(devices="kvm\nvhost-net")


def test_kvm_is_taken_when_a_probe_booted_and_vhost_with_it():
    host = ScriptedHost(survey=said(stdout=KVM), start=said(stdout="kernel 0.40\n"))
    described = driver().describe(host)
    assert (described["accelerator"], described["accelerator.reason"]) == (
        "kvm",
        "a probe guest booted with it",
    )
    assert (described["vhost"], described["cpu.mode"]) == ("yes", "host-passthrough")
    assert host.verbs() == ["survey", "claim", "start", "close", "remember"]
    assert host.arguments("remember") == ["boot-1 7.2.22\nkvm\na probe guest booted with it"]
    assert host.arguments("start")[3] == "15"


@pytest.mark.parametrize(
    ("started", "words"),
    [
        (said(15, stdout="why silent\n"), "did not answer within 15 s"),
        (said(14, stderr="error: failed to set MSR 0x10a to 0x0"), "failed to set MSR"),
    ],
)
def test_a_probe_that_does_not_boot_means_emulation_and_the_reason_is_kept(started, words):
    host = ScriptedHost(survey=said(stdout=KVM), start=started)
    described = driver().describe(host)
    assert (described["accelerator"], described["vhost"]) == ("tcg", "no")
    assert words in described["accelerator.reason"]
    assert words in host.arguments("remember")[0]
    assert host.verbs().count("close") == 1


@pytest.mark.parametrize(
    ("memory", "probes"),
    [
        ("boot-1 7.2.22\ntcg\nit hung", 0),
        ("boot-0 7.2.22\ntcg\nit hung", 1),
        ("boot-1 8.0.0\ntcg\nit hung", 1),
        ("half", 1),
    ],
)
def test_what_a_probe_found_counts_for_this_boot_and_this_qemu(memory, probes):
    text = survey_text(devices="kvm", accelerator=memory)
    host = ScriptedHost(survey=said(stdout=text), start=said(stdout="kernel 0.40\n"))
    assert driver().describe(host)["accelerator"] == ("kvm" if probes else "tcg")
    assert host.verbs().count("start") == probes


def test_emulation_that_is_asked_for_probes_nothing():
    host = ScriptedHost(survey=said(stdout=KVM))
    assert driver(accelerator="tcg").describe(host)["accelerator.reason"] == "the environment asks for it"
    assert host.verbs() == ["survey"]


def test_kvm_that_is_insisted_on_and_does_not_work_is_unavailable():
    with pytest.raises(EnvironmentUnavailable, match="there is no /dev/kvm") as caught:
        driver(accelerator="kvm").check(ScriptedHost())
    assert 'accelerator = "tcg"' in str(caught.value.hint)
    assert caught.value.where == "h1/vm"


# --- commands in a guest ------------------------------------------------------------------------------------


def ran(answer: Answer, **answers: Answer) -> Completed:
    with driver().open(ScriptedHost(ssh=answer, **answers)) as guest:
        return guest.run(["sysbench", "cpu", "run"], timeout_s=10)


@pytest.mark.parametrize("code", [0, 1, 127, 255])
def test_a_command_has_its_own_end_and_the_hosts_clock(code):
    done = ran(inside(code, "out\n", "err\n"))
    assert (done.exit_code, done.stdout, done.stderr) == (code, b"out\n", b"err\n")
    assert done.argv == ("sysbench", "cpu", "run")
    assert (done.started_ns, done.ended_ns) == (5, 9)


def test_the_measured_command_is_the_first_one_of_the_host():
    host = ScriptedHost(ssh=inside())
    with driver().open(host) as guest:
        before = len(host.asked)
        guest.run(["true"], timeout_s=10)
        assert host.verbs()[before:] == ["ssh"]


def test_a_command_that_never_began_means_a_dead_guest():
    gone = said(stdout=state_text(GONE))
    with pytest.raises(EnvironmentDied, match="qemu has ended") as caught:
        ran(said(255, stderr="ssh: connect to host: No route to host"), state=gone)
    assert caught.value.where == "h1/vm"
    assert "console" in caught.value.artifacts


def test_a_command_whose_guest_panicked_under_it():
    gone = said(stdout=state_text(GONE, PANIC.replace("\n", "\n")))
    with pytest.raises(EnvironmentDied) as caught:
        ran(inside(255, ends=False), state=gone)
    assert caught.value.reason == "guest_panicked"


def test_a_connection_that_breaks_though_the_guest_answers():
    answers = iter([inside(255, ends=False), inside(stdout="Filesystem x\n/dev/vda 9 4 5 9% /\n")])
    with pytest.raises(EnvironmentDied, match="connection to the guest broke") as caught:
        ran(lambda argv, stdin: next(answers))
    assert caught.value.reason == "guest_silent"
    assert set(caught.value.artifacts) == {"console", "domain_xml"}


DF = """Filesystem 1024-blocks Used Available Capacity Mounted on
/dev/vda 9 4 5 9% /
/dev/vdb 9 9 {} 99% /scratch
"""


def test_a_full_disk_is_why_a_command_failed():
    answers = iter([inside(1, stderr="dd: No space left on device\n"), inside(stdout=DF.format(0))])
    with pytest.raises(EnvironmentDied, match="disk is full: /scratch") as caught:
        ran(lambda argv, stdin: next(answers))
    assert caught.value.reason == "disk_full"
    assert getattr(caught.value, "completed").exit_code == 1  # noqa: B009
    answers = iter([inside(1, stderr="dd: No space left on device\n"), inside(stdout=DF.format(7))])
    assert ran(lambda argv, stdin: next(answers)).exit_code == 1


def test_a_command_that_the_guests_kernel_killed_for_memory():
    answers = iter([inside(137), inside(stdout="pgfault 9\noom_kill 1\n")])
    with pytest.raises(EnvironmentDied, match="2048 MiB") as caught:
        ran(lambda argv, stdin: next(answers))
    assert caught.value.reason == "out_of_memory"
    answers = iter([inside(137), inside(stdout="oom_kill 0\n")])
    assert ran(lambda argv, stdin: next(answers)).exit_code == 137


def test_a_timeout_ends_the_command_inside_and_keeps_what_it_said():
    late = JobTimeout("late", inside(), where="h1")
    answers: Iterator[Completed | BaseException] = iter(
        [late, inside(stdout="half\n", stderr="why\n", ends=False)]
    )
    host = ScriptedHost(ssh=lambda argv, stdin: raised(next(answers)))
    with driver().open(host) as guest, pytest.raises(JobTimeout) as caught:
        guest.run(["sleep", "60"], timeout_s=2)
    assert str(caught.value) == "h1/vm: sleep did not end within 2 s"
    assert (caught.value.completed.stdout, caught.value.completed.stderr) == (b"half\n", b"why\n")
    assert caught.value.completed.argv == ("sleep", "60")
    ended = [argv[-1] for argv, _ in host.asked if argv[0] == "ssh"][-1]
    assert "end_session" in ended and "PERFCTL_COMMAND=" not in ended.split("/bin/sh", 1)[0]


def raised(answer: Completed | BaseException) -> Completed:
    if isinstance(answer, BaseException):
        raise answer
    return answer


def test_a_guest_that_hangs_is_why_a_command_timed_out():
    slow = CommandTimeout("slow")
    with pytest.raises(EnvironmentDied, match="does not answer") as caught:
        ran(slow)
    assert caught.value.reason == "guest_silent"


def test_what_no_command_line_can_carry_is_refused():
    with driver().open(ScriptedHost()) as guest, pytest.raises(UsageError):
        guest.run(["a\0b"], timeout_s=1)


def test_last_words_of_the_living_and_the_dead():
    with driver().open(ScriptedHost(ssh=inside(stdout=DF.format(3)))) as guest:
        assert guest.is_alive()
        assert guest.last_words() == "the guest runs; console: perfctl: ssh"
        assert guest.artifacts()["console"].endswith(b"console.log")
    with driver().open(ScriptedHost(state=said(stdout=state_text(GONE, PANIC)))) as guest:
        assert not guest.is_alive()
        assert "Unable to mount root fs" in guest.last_words()


# --- the path -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "wanted"), [((0, 0), "ok"), ((0, 1), "mtu"), ((1,), "down")], ids=["ok", "mtu", "down"]
)
def test_a_path_that_is_down_is_told_from_a_wrong_mtu(codes, wanted):
    answers = iter(codes)
    words = "3 packets transmitted, 0 received\n"
    host = ScriptedHost(ping=lambda argv, stdin: said(next(answers), words))
    found = check_path(host, "10.0.0.9", 9000)
    assert (found.state, found.size_bytes) == (wanted, 8972)
    assert found.detail == words.strip()
    sizes = [argv[argv.index("-s") + 1] for argv, _ in host.asked]
    assert sizes == ["56", "8972"][: len(codes)]
    assert all(argv[argv.index("-M") + 1] == "do" for argv, _ in host.asked)


# --- composition and the reaper -----------------------------------------------------------------------------


def test_a_container_in_a_guest_is_opened_in_the_guest_and_both_are_removed():
    host = ScriptedHost(
        start=said(stdout="kernel 1.00\nssh 4.00\nengine 6.00\n"), ssh=inside(stdout="172.0.0.9 \n")
    )
    made = driver_for(
        environment("container-in-vm"), run_id=RUN_ID, invocation_id=INVOCATION_ID, host_address="10.0.0.1"
    )
    with made.open(host) as shell:
        assert shell.name == "h1/vm/container-in-vm"
        assert shell.accelerator == "tcg"
        assert shell.opening_s == {"kernel": 1.0, "ssh": 4.0, "engine": 6.0, "made": pytest.approx(6.0)}
        assert shell.opening_s["made"] > 6.0
        assert shell.host_processes.startswith("pidfile:")
        assert shell.address == "172.0.0.9"
        assert set(shell.artifacts()) == {"console", "domain_xml"}
    lines = [argv[-1] for argv, _ in host.asked if argv[0] == "ssh"]
    assert "docker run -d" in lines[0]
    assert "docker rm -f -v" in lines[-1]
    assert host.verbs()[-1] == "close"


def test_the_words_of_a_composed_environment_are_those_of_the_one_that_died():
    host = ScriptedHost(state=said(stdout=state_text(GONE, PANIC)), ssh=inside())
    made = driver_for(
        environment("container-in-vm"), run_id=RUN_ID, invocation_id=INVOCATION_ID, host_address="10.0.0.1"
    )
    with made.open(host) as shell:
        assert not shell.is_alive()
        assert "panicked" in shell.last_words()


def test_the_command_that_makes_a_guest_is_shown():
    assert start_argv(VM)[:2] == ["virsh", "create"]
    assert start_argv(environment("container-in-vm"))[:2] == ["docker", "run"]


def test_the_reaper_asks_for_its_own_run_and_says_what_is_left():
    host = ScriptedHost(reap=said(stdout="perfctl-0000aaaa-0000bbbb-1234\n"), left=said(stdout="tap pfc1\n"))
    assert remove_all(host, RUN_ID) == ["perfctl-0000aaaa-0000bbbb-1234"]
    assert host.arguments("reap") == ["perfctl-0000aaaa-", RUN_ID]
    assert left_behind(host, RUN_ID) == ["tap pfc1"]
    assert left_behind(host) == ["tap pfc1"]
    assert host.asked[-1][0][-2:] == ["perfctl-", ""]
    with pytest.raises(CommandFailed, match="domain x"):
        remove_all(ScriptedHost(reap=said(1, stderr="domain x")), RUN_ID)
