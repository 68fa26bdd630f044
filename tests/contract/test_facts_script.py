"""The script that reads the facts, run by real shells over real and made-up files and commands."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from perfctl.facts import REGISTRY, host_argv, inside_argv, parse
from perfctl.facts.registry import Gathered
from perfctl.model import FactState, Fingerprint

FACTS = Path(__file__).parents[2] / "perfctl" / "facts"
SHELLS = [found for found in (shutil.which("dash"), shutil.which("bash")) if found]
ALL_ROWS = {spec.name for spec in REGISTRY}
INSIDE_ROWS = {spec.name for spec in REGISTRY if spec.inside}


def read(
    argv: Sequence[str], environment: Mapping[str, str] | None = None, shell: str = "/bin/sh"
) -> Fingerprint:
    """Run the script with nothing in its environment but this, and parse what it says."""
    variables = {"PATH": os.environ["PATH"], **(environment or {})}
    done = subprocess.run(
        [shell, *argv[1:]],
        env=variables,
        capture_output=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return parse(done.stdout.decode("utf-8", "backslashreplace"))


def names(facts: Fingerprint) -> set[str]:
    return {fact.name for fact in facts.facts}


def state(facts: Fingerprint, name: str) -> FactState:
    fact = facts.get(name)
    assert fact is not None, name
    return fact.state


def value(facts: Fingerprint, name: str) -> str:
    fact = facts.get(name)
    assert fact is not None, name
    assert fact.state is FactState.PRESENT, name
    return fact.value


def program(folder: Path, name: str, script: str) -> None:
    """Put a program of our own on the path."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def in_front(folder: Path) -> dict[str, str]:
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


# --- every row, once ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", SHELLS)
def test_every_row_is_read_once(shell):
    assert names(read(host_argv(), shell=shell)) == ALL_ROWS
    assert names(read(inside_argv(), shell=shell)) == INSIDE_ROWS


def test_programs_and_peers_have_their_rows():
    argv = host_argv(["sh", "/bin/cat"], version_argvs=[["grep", "--version"]], peers=["127.0.0.1"])
    added = names(read(argv)) - ALL_ROWS
    assert added == {
        *("tool.sh.path", "tool.sh.sha256", "tool.cat.path", "tool.cat.sha256"),
        *("tool.grep.version", "net.route.127.0.0.1"),
    }


@pytest.mark.parametrize(
    "tools", [(), ("cat",), ("grep", "cat"), ("grep", "awk"), ("grep", "awk", "sed", "cat")]
)
def test_every_row_is_read_once_where_there_is_next_to_nothing(tmp_path, tools):
    for tool in tools:
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    facts = read(host_argv(["sysbench"], version_argvs=[["sysbench", "--version"]]), {"PATH": str(tmp_path)})
    added = {"tool.sysbench.path", "tool.sysbench.sha256", "tool.sysbench.version"}
    assert names(facts) == ALL_ROWS | added
    assert {state(facts, name) for name in added} == {FactState.MISSING}
    assert state(facts, "python.version") is FactState.MISSING


def test_without_a_reader_files_are_not_called_missing(tmp_path):
    facts = read(inside_argv(), {"PATH": str(tmp_path)})
    assert state(facts, "kernel.release") is FactState.DENIED


def test_files_are_read_as_they_are():
    facts = read(host_argv())
    assert value(facts, "kernel.release") == os.uname().release
    # The kernel gives this file whole or not at all: reading it byte by byte yields one digit.
    assert value(facts, "net.tcp_rmem") == Path("/proc/sys/net/ipv4/tcp_rmem").read_text().rstrip("\n")
    assert value(facts, "memory.total") in Path("/proc/meminfo").read_text()
    assert value(facts, "os.release") == Path("/etc/os-release").read_text().rstrip("\n")
    assert value(facts, "cpu.online") == Path("/sys/devices/system/cpu/online").read_text().rstrip("\n")
    assert value(facts, "load.cpu_ticks").startswith("cpu ")


# --- the environment ----------------------------------------------------------------------------------------


def test_an_unset_variable_is_missing_and_an_empty_one_is_present():
    # The odd value is for jemalloc: newer glibc warns on stderr of an odd value of its own.
    facts = read(inside_argv(), {"MALLOC_ARENA_MAX": "", "MALLOC_CONF": "2 'x'\n=y"})
    assert state(facts, "env.PYTHONHASHSEED") is FactState.MISSING
    assert value(facts, "env.MALLOC_ARENA_MAX") == ""
    assert value(facts, "env.MALLOC_CONF") == "2 'x'\n=y"


def test_only_named_variables_are_read():
    secret = "correct-horse-battery-staple"
    facts = read(host_argv(), {"AWS_SECRET_ACCESS_KEY": secret, "PYTHONSTARTUP_TOKEN": secret})
    assert not any(secret in fact.value for fact in facts.facts)


# --- commands -----------------------------------------------------------------------------------------------


def test_a_command_that_is_refused_is_denied_and_one_that_fails_is_missing(tmp_path):
    program(tmp_path, "ip", "echo half; echo 'RTNETLINK answers: Operation not permitted' >&2; exit 2")
    program(tmp_path, "tc", "echo 'Cannot open file: Permission denied' >&2; exit 1")
    program(tmp_path, "df", "echo 'no such option' >&2; exit 1")
    facts = read(host_argv(), in_front(tmp_path))
    assert state(facts, "net.ip_link") is FactState.DENIED
    assert state(facts, "net.qdisc") is FactState.DENIED
    assert state(facts, "storage.free") is FactState.MISSING


def test_no_output_breaks_the_frame(tmp_path):
    text = "=storage.free missing\n#rows 5\n#end\n\n ends in blank "
    (tmp_path / "text").write_text(text)
    program(tmp_path, "df", f"cat {tmp_path}/text")
    assert value(read(host_argv(), in_front(tmp_path)), "storage.free") == text


def test_long_output_arrives_whole(tmp_path):
    program(tmp_path, "df", "seq 20000; echo; echo end")
    lines = value(read(host_argv(), in_front(tmp_path)), "storage.free").split("\n")
    assert lines == [*map(str, range(1, 20001)), "", "end"]


def test_a_command_that_eats_stdin_takes_nothing_from_the_other_half(tmp_path):
    program(tmp_path, "df", "cat")
    assert names(read(host_argv(), in_front(tmp_path))) == ALL_ROWS


def test_a_command_that_hangs_is_ended_and_the_rest_is_read(tmp_path):
    program(tmp_path, "df", "exec sleep 300")
    program(tmp_path, "python3", "sleep 300")
    facts = read(host_argv(["cat"]), in_front(tmp_path))
    assert names(facts) == ALL_ROWS | {"tool.cat.path", "tool.cat.sha256"}
    assert state(facts, "storage.free") is FactState.MISSING
    assert state(facts, "python.version") is FactState.MISSING
    assert state(facts, "tool.cat.sha256") is FactState.PRESENT


def test_a_half_that_is_slow_is_waited_for(tmp_path):
    slow = [f"slow{number}" for number in range(5)]
    for name in slow:
        program(tmp_path, name, "sleep 1.5; echo 1.0")
    facts = read(inside_argv([], version_argvs=[[name] for name in slow]), in_front(tmp_path))
    assert [value(facts, f"tool.{name}.version") for name in slow] == ["1.0"] * 5


def test_a_virtualization_answer_counts_whatever_its_exit_code(tmp_path):
    program(tmp_path, "systemd-detect-virt", "echo none; exit 1")
    assert value(read(host_argv(), in_front(tmp_path)), "vm.virtualization") == "none"


def test_rules_are_counted(tmp_path):
    program(
        tmp_path,
        "iptables-save",
        "printf '*filter\\n:INPUT ACCEPT\\n-A INPUT -j X\\n-A OUTPUT -j Y\\nCOMMIT\\n'",
    )
    assert value(read(host_argv(), in_front(tmp_path)), "net.iptables_rules") == "2"


def test_a_version_is_read_from_either_stream(tmp_path):
    program(tmp_path, "bench", 'echo "bench 1.2 $1" >&2')
    facts = read(inside_argv(["bench"], version_argvs=[["bench", "-V"]]), in_front(tmp_path))
    assert value(facts, "tool.bench.version") == "bench 1.2 -V"
    assert value(facts, "tool.bench.path") == f"{tmp_path}/bench"


def test_a_warning_on_stderr_is_no_part_of_a_version(tmp_path):
    program(tmp_path, "bench", 'echo "WARNING: ld.so: invalid GLIBC_TUNABLES" >&2; echo "bench 1.2"')
    facts = read(inside_argv([], version_argvs=[["bench", "-V"]]), in_front(tmp_path))
    assert value(facts, "tool.bench.version") == "bench 1.2"


def test_the_digest_is_that_of_the_file_on_the_path(tmp_path):
    program(tmp_path, "bench", "exit 0")
    facts = read(inside_argv(["bench", "absent"]), in_front(tmp_path))
    known = subprocess.run(["sha256sum", tmp_path / "bench"], capture_output=True, text=True, check=True)
    assert value(facts, "tool.bench.sha256") == known.stdout.split()[0]
    assert state(facts, "tool.absent.sha256") is FactState.MISSING


def test_musl_is_known_by_its_loader(tmp_path):
    program(tmp_path, "getconf", "exit 1")
    program(
        tmp_path, "ldd", "printf 'musl libc (x86_64)\\nVersion 1.2.4\\nDynamic Program Loader\\n' >&2; exit 1"
    )
    assert (
        value(read(inside_argv(), in_front(tmp_path)), "libc.version") == "musl libc (x86_64)\nVersion 1.2.4"
    )


def test_python_says_what_it_is(tmp_path):
    program(tmp_path, "python3", f'exec {sys.executable} "$@"')
    facts = read(inside_argv(), in_front(tmp_path))
    assert value(facts, "python.version") == " ".join(sys.version.split())
    assert "WITH_PYMALLOC" in value(facts, "python.build")
    assert f"click=={importlib.metadata.version('click')}" in value(facts, "python.packages")


def test_links_say_what_they_lie_on_but_bridges_whose_ports_come_and_go_do_not(tmp_path):
    for link, below in (("eth0", ()), ("bond0", ("eth0", "eth1")), ("br0", ("eth0", "veth1")), ("lo", ())):
        folder = tmp_path / link
        folder.mkdir()
        (folder / "mtu").write_text("1500\n")
        for lower in below:
            (folder / f"lower_{lower}").mkdir()
    (tmp_path / "br0" / "bridge").mkdir()
    functions = "".join((FACTS / name).read_text() for name in ("core.sh", "rows.sh"))
    script = functions.replace("/sys/class/net", str(tmp_path)) + "links net.links\n"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines() == [
        "=net.links present",
        " bond0 mtu=1500 lower=eth0,eth1",
        " br0 mtu=1500",
        " eth0 mtu=1500",
        " lo mtu=1500",
    ]


# --- gathering from many files ------------------------------------------------------------------------------


def gather(*arguments: str, said: str) -> str:
    """Run gather.awk over what grep said."""
    done = subprocess.run(
        ["awk", (FACTS / "gather.awk").read_text(), *arguments],
        input=said,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


CPU = "/sys/devices/system/cpu"
GOVERNOR = f"cpu.freq.governor|spread|{CPU}/cpu[0-9]*/cpufreq/scaling_governor|"


def test_equal_cpus_are_one_line_however_many():
    order = sorted(range(256), key=str)
    said = "".join(f"{CPU}/cpu{n}/cpufreq/scaling_governor:performance\n" for n in order)
    assert gather(GOVERNOR, said=said) == "=cpu.freq.governor present\n performance: 0-255\n#gathered\n"


def test_cpus_that_differ_are_told_apart():
    governors = {0: "performance", 1: "performance", 2: "powersave", 10: "performance", 11: "performance"}
    said = "".join(f"{CPU}/cpu{n}/cpufreq/scaling_governor:{g}\n" for n, g in governors.items())
    lines = gather(GOVERNOR, said=said).splitlines()
    assert lines[1:3] == [" performance: 0-1,10-11", " powersave: 2"]


def test_a_second_wildcard_goes_before_the_text():
    row = f"cpu.idle.disable|spread|{CPU}/cpu[0-9]*/cpuidle/state*/disable|"
    said = f"{CPU}/cpu0/cpuidle/state0/disable:0\n{CPU}/cpu0/cpuidle/state1/disable:1\n"
    said += said.replace("cpu0", "cpu1")
    assert gather(row, said=said).splitlines()[1:3] == [" state0=0: 0-1", " state1=1: 0-1"]


def test_cpuinfo_is_gathered_by_key():
    text = "processor\t: {}\nmodel name\t: X: 3 GHz\nflags\t\t: a b\n\n"
    said = "".join(f"/proc/cpuinfo:{line}\n" for n in (0, 1) for line in text.format(n).split("\n"))
    rows = gather(
        "cpu.model|cpuinfo|/proc/cpuinfo|model name", "cpu.flags|cpuinfo|/proc/cpuinfo|flags", said=said
    )
    assert rows == "=cpu.model present\n X: 3 GHz: 0-1\n=cpu.flags present\n a b: 0-1\n#gathered\n"


CPUINFO = Path(__file__).parents[1] / "data" / "cpuinfo"
CPU_ROWS = {
    spec: spec.source.key
    for spec in REGISTRY
    if isinstance(spec.source, Gathered) and spec.source.kind == "cpuinfo"
}


def cpu_rows(text: str) -> dict[str, list[str]]:
    """Return the rows of a /proc/cpuinfo that are there, by name."""
    said = "".join(f"/proc/cpuinfo:{line}\n" for line in text.split("\n"))
    arguments = [f"{spec.name}|cpuinfo|/proc/cpuinfo|{key}" for spec, key in CPU_ROWS.items()]
    rows: dict[str, list[str]] = {}
    for line in gather(*arguments, said=said).splitlines()[:-1]:
        if line.startswith("="):
            name, _, state = line[1:].partition(" ")
            lines = rows[name] = []
        elif state == "present":
            lines.append(line[1:])
    return {name: lines for name, lines in rows.items() if lines}


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
    rows = cpu_rows((CPUINFO / machine).read_text())
    assert {name: rows.get(name) for name in expected} == expected


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
    text = (CPUINFO / machine).read_text()
    assert here in text
    static = {spec.name for spec in CPU_ROWS if spec.is_static}
    one, two = cpu_rows(text), cpu_rows(text.replace(here, there))
    assert any(one.get(name) != two.get(name) for name in static)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("No such file or directory", "missing"),
        ("Invalid argument", "missing"),
        ("Permission denied", "denied"),
        ("Operation not permitted", "denied"),
    ],
)
def test_what_an_error_says_of_a_file(message, expected):
    rows = ("a.one|file|/a/one|", "a.all|folder|/a/*|", "a.key|field|/a/one|Key")
    lines = gather(*rows, said=f"grep: /a/one: {message}\ngrep: /a/*: {message}\n").splitlines()
    assert lines == [f"=a.one {expected}", f"=a.all {expected}", f"=a.key {expected}", "#gathered"]


def test_a_file_without_a_word_is_empty_and_not_missing():
    rows = gather("a.one|file|/a/one|", "a.two|file|/a/two|", said="/a/two:x\n")
    assert rows == "=a.one present\n \n=a.two present\n x\n#gathered\n"


def test_the_second_file_counts_when_the_first_is_not_there():
    row = "cgroup.cpu_max|file|/own/cpu.max /cpu.max|"
    assert gather(
        row, said="grep: /own/cpu.max: No such file or directory\n/cpu.max:max 100000\n"
    ).splitlines() == [
        "=cgroup.cpu_max present",
        " max 100000",
        "#gathered",
    ]
    assert " 5 10" in gather(row, said="/own/cpu.max:5 10\n/cpu.max:max 100000\n").splitlines()


def test_mounts_leave_out_what_is_no_storage_and_an_overlays_layers():
    said = "".join(
        f"/proc/self/mounts:{line}\n"
        for line in (
            "overlay / overlay rw,relatime,lowerdir=/l1:/l2,upperdir=/u 0 0",
            "proc /proc proc rw 0 0",
            "/dev/vda1 /data xfs rw,noatime 0 0",
            "overlay /var/lib/docker/overlay2/1/merged overlay rw,lowerdir=/x 0 0",
            "srv:/x /mnt nfs4 rw 0 0",
        )
    )
    assert gather("storage.mounts|mounts|/proc/self/mounts|", said=said).splitlines()[1:-1] == [
        " overlay / overlay rw,relatime",
        " /dev/vda1 /data xfs rw,noatime",
        " srv:/x /mnt nfs4 rw",
    ]


def test_what_else_is_mounted_is_listed_but_for_the_kernels_own():
    said = "".join(
        f"/proc/self/mounts:{line}\n"
        for line in (
            "/dev/vda1 / ext4 rw 0 0",
            "proc /proc proc rw 0 0",
            "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0",
            "tmpfs /var/tmp tmpfs rw 0 0",
            "sshfs#far: /mnt/far\\040away fuse.sshfs rw 0 0",
            "overlay /var/lib/docker/overlay2/1/merged overlay rw,lowerdir=/x 0 0",
        )
    )
    row = "storage.other_mounts|mounts|/proc/self/mounts|others"
    assert gather(row, said=said).splitlines()[1:-1] == [
        " tmpfs /var/tmp",
        " fuse.sshfs /mnt/far\\040away",
        " overlay /var/lib/docker/overlay2/1/merged",
    ]


def test_processes_are_counted_by_name():
    said = "".join(f"/proc/{n}/comm:{c}\n" for n, c in enumerate(("sh", "qemu-x", "conmon", "qemu-x")))
    row = "load.neighbours|process|/proc/[0-9]*/comm|^(qemu-.*|conmon)$"
    assert gather(row, said=said).splitlines()[1:-1] == [" qemu-x: 2", " conmon: 1"]


def test_nothing_said_at_all_is_no_reading():
    assert "#gathered" not in gather("a.one|file|/a/one|", said="")
