"""Files and outputs as they come from hosts, and the facts that are in them."""

from __future__ import annotations

import gzip
from collections.abc import Sequence

import pytest

from perfctl.facts import REGISTRY, parsers
from perfctl.facts.raw import RawFacts, RawFile, RawOutput, RawProgram
from perfctl.facts.reading import fingerprint, host_specs
from perfctl.facts.registry import FactSpec
from perfctl.facts.sources import File
from perfctl.model import Fact, FactState
from tests.captured_facts import PARSED, content_of, expected_of, raw_of

CPU = "/sys/devices/system/cpu"
ROWS = {spec.name: spec for spec in host_specs(peers=["127.0.0.1"])}


def found(name: str, raw: RawFacts) -> str | dict[str, str]:
    """Return the text of a fact in what was read; its state where it is not present."""
    (fact,) = fingerprint([ROWS[name]], raw).facts
    return fact.value if fact.state is FactState.PRESENT else {"state": fact.state.value}


def files(texts: dict[str, str]) -> tuple[RawFile, ...]:
    return tuple(RawFile(path, text.encode()) for path, text in texts.items())


def read(path: str, content: bytes | None = None, state: FactState = FactState.PRESENT) -> RawFacts:
    return RawFacts({path: (RawFile(path, content, state),)})


def output(name: str, code: int | None, stdout: bytes = b"", stderr: bytes = b"") -> str | dict[str, str]:
    """Return the text of a fact that a command with this output has, or its state."""
    key = ROWS[name].source.request.commands[0].key
    return found(name, RawFacts({}, outputs={key: RawOutput(code, stdout, stderr)}))


# --- captured ----------------------------------------------------------------------------------------------


def test_there_are_captured_files_and_outputs():
    assert len(PARSED) >= 35
    assert {name for case in PARSED for name in expected_of(case)} <= set(ROWS)


@pytest.mark.parametrize("case", PARSED)
def test_what_is_in_a_captured_file_or_output(case):
    raw = raw_of(case)
    assert {name: found(name, raw) for name in expected_of(case)} == expected_of(case)


# --- one file ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [FactState.MISSING, FactState.DENIED])
def test_a_file_that_cannot_be_read_says_why(state):
    assert found("cpu.boost", read(f"{CPU}/cpufreq/boost", None, state)) == {"state": state.value}


def test_a_file_without_a_word_is_empty_and_not_missing():
    assert found("cpu.isolated", read(f"{CPU}/isolated", b"")) == ""
    assert found("cpu.isolated", read(f"{CPU}/isolated", b"\n")) == ""


@pytest.mark.parametrize("text", ["#rows 9\n#end", " \n\n ", "a\rb\x0bc\x85d\u2028e", "=x present"])
def test_a_text_stays_as_it_is(text):
    assert found("engine.daemon_json", read("/etc/docker/daemon.json", text.encode() + b"\n")) == text


def test_bytes_that_are_no_text_stay_visible():
    assert found("engine.daemon_json", read("/etc/docker/daemon.json", b"\xc3\xa9\xff")) == "é\\xff"


def test_a_label_ends_before_its_byte_0():
    path = "/proc/self/attr/current"
    assert found("lsm.current", read(path, b"docker-default (enforce)\n\0")) == "docker-default (enforce)"
    # Not every grep tells the error of a kernel where no security module answers.
    assert found("lsm.current", read(path, b"")) == {"state": "missing"}
    assert found("lsm.current", read(path, None, FactState.DENIED)) == {"state": "denied"}


def test_a_field_that_is_not_there_is_missing():
    assert found("task.seccomp", read("/proc/self/status", b"Name:\tx\nSeccomp_filters:\t1\n")) == {
        "state": "missing"
    }


def test_the_own_control_group_counts_and_the_roots_where_it_has_none():
    raw = {
        "/proc/self/cgroup": files({"/proc/self/cgroup": "0::/own.slice/x\n"}),
        "/sys/fs/cgroup/cpu.max": files({"/sys/fs/cgroup/cpu.max": "max 100000\n"}),
    }
    there = ["/sys/fs/cgroup/cgroup.controllers"]
    assert found("cgroup.cpu_max", RawFacts(raw, there=there)) == "max 100000"
    own = "/sys/fs/cgroup/./own.slice/x/cpu.max"
    raw[own] = files({own: "50000 100000\n"})
    assert found("cgroup.cpu_max", RawFacts(raw, there=there)) == "50000 100000"
    assert found("cgroup.version", RawFacts(raw, there=there)) == "2"


def test_control_groups_of_version_1_have_a_path_for_each_controller():
    own = "/sys/fs/cgroup/cpu/docker/1"
    lines = "4:memory:/\n3:cpuset:/y\n2:cpuacct,cpu:/docker/1\n0::/z\n"
    raw = {
        "/proc/self/cgroup": files({"/proc/self/cgroup": lines}),
        f"{own}/cpu.shares": files({f"{own}/cpu.shares": "512\n"}),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": files({"x": "4096\n"}),
    }
    read_there = RawFacts(raw, there=["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory"])
    assert found("cgroup.cpu_weight", read_there) == "512"
    assert found("cgroup.memory_max", read_there) == "4096"
    assert found("cgroup.cpuset_cpus_effective", read_there) == {"state": "missing"}
    assert found("cgroup.version", read_there) == "1"
    assert found("cgroup.version", RawFacts({})) == {"state": "missing"}


@pytest.mark.parametrize("packed", [True, False])
def test_the_kernels_configuration_is_read_packed_or_not(packed):
    text = b"# CONFIG_HZ_100 is not set\nCONFIG_HZ=250\nCONFIG_PREEMPT_NONE=y\nCONFIG_NET=y\nCONFIG_HZX=1\n"
    path = "/proc/config.gz" if packed else "/boot/config-{release}"
    raw = read(path, gzip.compress(text) if packed else text)
    assert found("kernel.config", raw) == "# CONFIG_HZ_100 is not set\nCONFIG_HZ=250\nCONFIG_PREEMPT_NONE=y"
    assert found("kernel.config", read(path, b"\x1f\x8b damaged")) == {"state": "missing"}
    assert found("kernel.config", read("/boot/config-{release}", None, FactState.DENIED)) == {
        "state": "denied"
    }


def test_mounts_leave_out_what_is_no_storage_and_an_overlays_layers():
    lines = (
        "overlay / overlay rw,relatime,lowerdir=/l1:/l2,upperdir=/u 0 0",
        "proc /proc proc rw 0 0",
        "/dev/vda1 /data xfs rw,noatime 0 0",
        "overlay /var/lib/docker/overlay2/1/merged overlay rw,lowerdir=/x 0 0",
        "srv:/x /mnt nfs4 rw 0 0",
    )
    assert parsers.mounts(lines).split("\n") == [
        "overlay / overlay rw,relatime",
        "/dev/vda1 /data xfs rw,noatime",
        "srv:/x /mnt nfs4 rw",
    ]


def test_what_else_is_mounted_is_listed_but_for_the_kernels_own():
    lines = (
        "/dev/vda1 / ext4 rw 0 0",
        "proc /proc proc rw 0 0",
        "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0",
        "tmpfs /var/tmp tmpfs rw 0 0",
        "sshfs#far: /mnt/far\\040away fuse.sshfs rw 0 0",
        "overlay /var/lib/docker/overlay2/1/merged overlay rw,lowerdir=/x 0 0",
    )
    assert parsers.other_mounts(lines).split("\n") == [
        "tmpfs /var/tmp",
        "fuse.sshfs /mnt/far\\040away",
        "overlay /var/lib/docker/overlay2/1/merged",
    ]


# --- many files --------------------------------------------------------------------------------------------

GOVERNOR = f"{CPU}/cpu[0-9]*/cpufreq/scaling_governor"


def governors(values: dict[int, str]) -> RawFacts:
    paths = sorted((f"{CPU}/cpu{number}/cpufreq/scaling_governor", value) for number, value in values.items())
    return RawFacts({GOVERNOR: files({path: f"{value}\n" for path, value in paths})})


def test_equal_cpus_are_one_line_however_many():
    assert found("cpu.freq.governor", governors(dict.fromkeys(range(256), "performance"))) == (
        "performance: 0-255"
    )


def test_cpus_that_differ_are_told_apart():
    values = {0: "performance", 1: "performance", 2: "powersave", 10: "performance", 11: "performance"}
    assert found("cpu.freq.governor", governors(values)) == "performance: 0-1,10-11\npowersave: 2"


def test_a_second_wildcard_goes_before_the_text():
    paths = {f"{CPU}/cpu{cpu}/cpuidle/state{state}/disable": str(state) for cpu in (0, 1) for state in (0, 1)}
    raw = RawFacts({f"{CPU}/cpu[0-9]*/cpuidle/state*/disable": files(paths)})
    assert found("cpu.idle.disable", raw) == "state0=0: 0-1\nstate1=1: 0-1"


def test_disks_of_memory_are_no_disks():
    sizes = {f"/sys/block/{name}/size": "8\n" for name in ("ram0", "vda", "vdb", "zram0")}
    assert found("storage.size", RawFacts({"/sys/block/[!l]*/size": files(sizes)})) == "8: vda,vdb"


def test_of_files_that_cannot_be_read_one_that_is_refused_says_more():
    refused = RawFile("/sys/class/hwmon/hwmon0/temp1_input", None, FactState.DENIED)
    gone = RawFile("/sys/class/hwmon/hwmon1/temp1_input", None, FactState.MISSING)
    pattern = "/sys/class/hwmon/hwmon*/temp*_input"
    assert found("thermal.sensors", RawFacts({pattern: (gone, refused)})) == {"state": "denied"}
    assert found("thermal.sensors", RawFacts({pattern: (gone,)})) == {"state": "missing"}
    assert found("thermal.sensors", RawFacts({})) == {"state": "missing"}
    assert found("thermal.sensors", RawFacts({}, unread=FactState.DENIED)) == {"state": "denied"}


def test_processes_are_counted_by_name():
    names = ("sh", "qemu-x", "conmon", "qemu-x", "irqbalance2")
    comms = {f"/proc/{number}/comm": f"{name}\n" for number, name in enumerate(names)}
    raw = RawFacts({"/proc/[0-9]*/comm": files(comms)})
    assert found("load.neighbours", raw) == "qemu-x: 2\nconmon: 1"
    assert found("cpu.irqbalance", raw) == ""
    assert found("cpu.irqbalance", RawFacts({})) == {"state": "missing"}


def test_links_say_what_they_lie_on_but_bridges_whose_ports_come_and_go_do_not():
    net = "/sys/class/net"
    names = ("bond0", "br0", "eth0", "lo", "veth1")
    raw = RawFacts(
        {
            f"{net}/*/mtu": files({f"{net}/{name}/mtu": "1500\n" for name in names}),
            f"{net}/*/speed": files({f"{net}/{name}/speed": "10000\n" for name in ("br0", "eth0")}),
            f"{net}/*/uevent": files({f"{net}/br0/uevent": "DEVTYPE=bridge\nINTERFACE=br0\n"}),
            f"{net}/*/device/uevent": files({f"{net}/eth0/device/uevent": "DRIVER=igb\nPCI_ID=1\n"}),
        },
        there=[
            *(f"{net}/bond0/lower_eth0", f"{net}/bond0/lower_eth1", f"{net}/br0/lower_eth0"),
            *(f"{net}/br0/bridge", f"{net}/br0/brif/eth0", f"{net}/br0/brif/veth1"),
        ],
    )
    assert str(found("net.links", raw)).split("\n") == [
        "bond0 mtu=1500 lower=eth0,eth1",
        "br0 mtu=1500 DEVTYPE=bridge",
        "eth0 mtu=1500 speed=10000 master=br0 DRIVER=igb",
        "lo mtu=1500",
    ]


# --- /proc/cpuinfo -----------------------------------------------------------------------------------------


def cpu_facts(content: bytes) -> dict[str, Fact]:
    """Return the facts of a /proc/cpuinfo by name."""
    rows = [
        spec for spec in REGISTRY if isinstance(spec.source, File) and spec.source.path == "/proc/cpuinfo"
    ]
    return {fact.name: fact for fact in fingerprint(rows, read("/proc/cpuinfo", content)).facts}


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (
            "s390x",
            {
                "cpu.vendor": ["IBM/S390: all"],
                "cpu.identity": ["version = FF,  identification = 1A2B38,  machine = 3931: 0-3"],
                "cpu.machine": ["3931: 0"],
                "cpu.mhz_static": ["5200: 0-1"],
            },
        ),
        (
            "power8",
            {
                "cpu.model": ["POWER8E (raw), altivec supported: 0-1,8"],
                "cpu.revision": ["2.1 (pvr 004b 0201): 0-1,8"],
                "cpu.machine": ["PowerNV: all", "PowerNV 8247-22L: all"],
                "cpu.mhz": ["2061.000000MHz: 0-1,8"],
            },
        ),
        (
            "armv7-old",
            {
                "cpu.vendor": ["0x41: all"],
                "cpu.model": ["ARMv7 Processor rev 0 (v7l): all"],
                "cpu.architecture": ["7: all"],
                "cpu.arm_part": ["0xc09: all"],
                "cpu.revision": ["0: all"],
                "cpu.machine": ["Freescale i.MX6: all"],
                "cpu.arm_features": ["swp half thumb fastmult vfp edsp neon vfpv3 : all"],
            },
        ),
        (
            "riscv",
            {
                "cpu.vendor": ["0x489: 0-1"],
                "cpu.model": ["sifive,u74-mc: 0-1"],
                "cpu.architecture": ["rv64imafdc: 0-1"],
                "cpu.arm_part": ["0x8000000000000007: 0-1"],
                "cpu.revision": ["0x20181004: 0-1"],
            },
        ),
    ],
)
def test_a_processor_without_a_model_name_is_named(machine, expected):
    rows = cpu_facts(content_of(f"cpuinfo-{machine}"))
    assert {name: rows[name].value.split("\n") for name in expected} == expected


DIFFERENT = [
    ("s390x", "machine = 3931", "machine = 8561"),
    ("s390x", "identification = 1A2B38", "identification = 1A2B39"),
    ("s390x", "cpu MHz static  : 5200", "cpu MHz static  : 4500"),
    ("power8", "POWER8E", "POWER9"),
    ("power8", "pvr 004b 0201", "pvr 004b 0202"),
    ("power8", "8247-22L", "8286-41A"),
    ("armv7-old", "0x41", "0x51"),
    ("armv7-old", "0xc09", "0xc0f"),
    ("armv7-old", "CPU revision\t: 0", "CPU revision\t: 4"),
    ("armv7-old", "Freescale i.MX6", "BCM2709"),
    ("arm64", "CPU implementer\t: 0x41", "CPU implementer\t: 0x48"),
    ("arm64", "CPU variant\t: 0x3", "CPU variant\t: 0x1"),
    ("arm64", "CPU part\t: 0xd0c", "CPU part\t: 0xd40"),
    ("arm64", "CPU revision\t: 1", "CPU revision\t: 2"),
    ("riscv", "0x489", "0x5b7"),
]


@pytest.mark.parametrize(("machine", "here", "there"), DIFFERENT)
def test_two_different_machines_never_look_alike(machine, here, there):
    text = content_of(f"cpuinfo-{machine}").decode()
    assert here in text
    one, two = cpu_facts(text.encode()), cpu_facts(text.replace(here, there).encode())
    assert any(one[name] != two[name] for name, fact in one.items() if fact.is_static)


# --- commands ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "stderr", "expected"),
    [
        (0, b"", "half\n done"),
        (0, b"Permission denied", "half\n done"),
        (2, b"RTNETLINK answers: Operation not permitted\n", {"state": "denied"}),
        (1, b"Cannot open: Permission denied\n", {"state": "denied"}),
        (1, b"no such option\n", {"state": "missing"}),
        (127, b"Permission denied", {"state": "missing"}),
        (137, b"Permission denied", {"state": "missing"}),
        (None, b"", {"state": "missing"}),
    ],
)
def test_what_the_end_of_a_command_says(code, stderr, expected):
    assert output("storage.free", code, b"half\n done\n\n", stderr) == expected


def test_a_virtualization_answer_counts_whatever_its_exit_code():
    assert output("vm.virtualization", 1, b"none\n") == "none"
    assert output("vm.virtualization", 1, b"", b"Failed\n") == {"state": "missing"}


def test_rules_are_counted():
    text = b"*filter\n:INPUT ACCEPT\n-A INPUT -j X\n-A OUTPUT -j Y -A\nCOMMIT\n"
    assert output("net.iptables_rules", 0, text) == "2"
    assert output("net.iptables_rules", 0, b"") == "0"
    assert output("net.iptables_rules", 4, b"", b"Permission denied (you must be root)") == {
        "state": "denied"
    }


@pytest.mark.parametrize(
    ("code", "stdout", "stderr", "expected"),
    [
        (0, b"".join(b"%d\n" % number for number in range(9)), b"", "4\n5\n6\n7\n8"),
        (0, b"1\nx debugfs access is restricted y\n2\n", b"", "1\n2"),
        (1, b"", b"dmesg: read kernel buffer failed: Operation not permitted\n", {"state": "denied"}),
        (None, b"", b"", {"state": "missing"}),
    ],
)
def test_the_end_of_the_kernels_log(code, stdout, stderr, expected):
    assert output("kernel.dmesg_tail", code, stdout, stderr) == expected


def test_musl_is_known_by_its_loader():
    text = b"musl libc (x86_64)\nVersion 1.2.4\nDynamic Program Loader\nUsage: x\n"
    ldd = {"ldd --version": RawOutput(1, b"", text)}
    assert found("libc.version", RawFacts({}, outputs=ldd)) == "musl libc (x86_64)\nVersion 1.2.4"
    getconf = {"getconf GNU_LIBC_VERSION": RawOutput(1), "ldd --version": RawOutput(0, b"ldd 1\n")}
    assert found("libc.version", RawFacts({}, outputs=getconf)) == {"state": "missing"}


def test_each_nic_is_under_its_name_and_one_that_is_refused_says_more_than_none():
    ran = {
        "ethtool -g eth1": RawOutput(0, b"Ring 1\n"),
        "ethtool -g eth0": RawOutput(0, b"Ring 0\n"),
        "ethtool -g eth2": RawOutput(80, b"", b"netlink error: Operation not supported\n"),
        "ethtool -c eth0": RawOutput(1, b"", b"netlink error: Operation not permitted\n"),
        "ethtool -c eth1": RawOutput(80, b"", b"not supported\n"),
        "ethtool -l eth0": RawOutput(None),
    }
    raw = RawFacts({}, outputs=ran)
    assert found("net.ethtool.rings", raw) == "eth0:\nRing 0\neth1:\nRing 1"
    assert found("net.ethtool.coalesce", raw) == {"state": "denied"}
    assert found("net.ethtool.channels", raw) == {"state": "missing"}
    assert found("net.ethtool.driver", raw) == {"state": "missing"}


def program_rows(raw: RawFacts) -> dict[str, str]:
    """Return the rows of one program and its version: text or state."""
    rows: Sequence[FactSpec] = host_specs(["bench"], version_argvs=[["bench", "-V"]])[len(REGISTRY) :]
    return {fact.name: fact.value or fact.state.value for fact in fingerprint(rows, raw).facts}


@pytest.mark.parametrize(
    ("ran", "version"),
    [
        (RawOutput(0, b"bench 1.2\n", b"WARNING: ld.so: invalid GLIBC_TUNABLES\n"), "bench 1.2"),
        (RawOutput(0, b"", b"bench 1.2 -V\n"), "bench 1.2 -V"),
        (
            RawOutput(0, b"bench 1.2 (gcc 12.2.0, x86_64 Linux 6.18.44-a)\n"),
            "bench 1.2 (gcc 12.2.0, x86_64 Linux)",
        ),
        (
            RawOutput(0, b"bench 1.2\nLinux h2 6.18.44-a #1 SMP x86_64\nfor Linux\n"),
            "bench 1.2\nLinux\nfor Linux",
        ),
        (RawOutput(1, b"bench 1.2\n", b"bad option\n"), "missing"),
        (RawOutput(1, b"Permission denied\n"), "denied"),
        (RawOutput(None), "missing"),
    ],
)
def test_a_version_is_read_from_either_stream(ran, version):
    raw = RawFacts({}, outputs={"version of bench": ran}, programs={"bench": RawProgram("/x/bench", "ab")})
    assert program_rows(raw) == {
        "tool.bench.path": "/x/bench",
        "tool.bench.sha256": "ab",
        "tool.bench.version": version,
    }


def test_a_program_that_cannot_be_read_has_no_digest():
    raw = RawFacts({}, programs={"bench": RawProgram("/x/bench")})
    assert program_rows(raw)["tool.bench.sha256"] == "denied"
    assert set(program_rows(RawFacts({})).values()) == {"missing"}
