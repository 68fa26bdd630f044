"""Guests booted by a real libvirt: alive, dead, silent, refused, and always removed."""

from __future__ import annotations

import ipaddress
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from perfctl.environments import environment
from perfctl.environments.drivers import remove_all
from perfctl.environments.vm import GuestShell, VmDriver, left_behind
from perfctl.environments.vm.commands import FOLDER, Guest
from perfctl.environments.vm.domain import Domain
from perfctl.environments.vm.shell import DiskFull
from perfctl.errors import EnvironmentDied, EnvironmentNotMade, EnvironmentUnavailable
from perfctl.execute.network_path import NetworkPath, probe_paths
from perfctl.inventory import load_hosts
from perfctl.job import JobShell, JobTimeout
from perfctl.model import Environment, Host, new_id
from perfctl.ssh import connect
from tests.lab import LabAtHand
from tests.processes import wait_until

pytestmark = pytest.mark.lab("third")

VM = environment("vm")
TEST_RUN = new_id()


@contextmanager
def jobs_on(host: Host, run_id: str) -> Iterator[JobShell]:
    """Give a host's job shell as a run has it."""
    transport = connect(host)
    jobs = JobShell.start(transport, run_id, lifetime_s=1800)
    yield jobs
    jobs.stop()
    transport.close()


@pytest.fixture(scope="module")
def machine(third_host: LabAtHand) -> Host:
    """Return the lab's third host."""
    return load_hosts([str(third_host.inventory)])[0]


@pytest.fixture(scope="module")
def host(machine: Host) -> Iterator[JobShell]:
    """Return the host's job shell; no guest of this file is left at its end."""
    with jobs_on(machine, TEST_RUN) as jobs:
        yield jobs
        assert remove_all(jobs, TEST_RUN) == []
        assert left_behind(jobs, TEST_RUN) == []


@pytest.fixture(scope="module")
def guest(host: JobShell) -> Iterator[GuestShell]:
    """Return a guest that tests share; they leave it as it is."""
    with driver().open(host) as shell:
        yield shell


class Odd(VmDriver):
    """A driver whose guests can have another name or another XML than they should."""

    name: str | None = None
    change: Callable[[Domain], Domain] = staticmethod(lambda domain: domain)

    def _new_guest(self) -> Guest:
        guest = super()._new_guest()
        return replace(guest, name=self.name) if self.name else guest

    def _domain(self, *args, **kwargs) -> Domain:
        return self.change(super()._domain(*args, **kwargs))


def driver(what: Environment = VM, **settings) -> Odd:
    return Odd(what, run_id=TEST_RUN, invocation_id=new_id(), **settings)


def on_host(host: JobShell, *argv: str) -> str:
    done = host.run(argv, timeout_s=60)
    assert done.exit_code == 0, done.error_text
    return done.text


def guests(host: JobShell) -> list[str]:
    return [line for line in left_behind(host, TEST_RUN) if line.startswith(("domain", "folder"))]


# --- a guest that stands ------------------------------------------------------------------------------------


def test_a_guest_says_what_it_is_and_how_long_it_took(host, guest):
    settings = json.loads(on_host(host, "cat", f"{FOLDER}/host.json"))
    assert ipaddress.ip_address(guest.address) in ipaddress.ip_network(settings["guest_range"])
    assert guest.name == f"{host.name}/vm"
    assert guest.boot.accelerator in ("kvm", "tcg")
    assert 0 < guest.opening_s["kernel"] < guest.opening_s["ssh"]
    assert guest.is_alive()
    kept = guest.artifacts()
    assert b"perfctl: ssh" in kept["console"]
    assert TEST_RUN.encode() in kept["domain_xml"]


def test_a_command_is_a_job_of_the_host(guest):
    done = guest.run(["sh", "-c", "echo $PATH"], timeout_s=60)
    assert done.argv == ("sh", "-c", "echo $PATH")
    assert done.text == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
    assert done.started_ns is not None and done.ended_ns is not None and done.started_ns < done.ended_ns
    assert b"cpu " in done.counters_before


def test_a_command_that_timed_out_keeps_its_own_words(guest):
    with pytest.raises(JobTimeout) as caught:
        guest.run(["sh", "-c", "echo half; echo why >&2; sleep 60"], timeout_s=5)
    assert str(caught.value) == f"{guest.name}: sh did not end within 5 s"
    assert caught.value.completed.argv == ("sh", "-c", "echo half; echo why >&2; sleep 60")
    assert (caught.value.completed.stdout, caught.value.completed.stderr) == (b"half\n", b"why\n")


def test_it_has_the_size_the_disks_and_the_network_that_it_should(guest):
    assert guest.boot.vcpus == (2 if guest.boot.accelerator == "kvm" else 1)
    assert guest.run(["nproc"], timeout_s=60).text.strip() == str(guest.boot.vcpus)
    mounts = guest.run(["cat", "/proc/mounts"], timeout_s=60).text
    assert "/dev/vda / ext4" in mounts
    assert "/dev/vdb /scratch ext4" in mounts
    assert guest.run(["cat", "/sys/class/net/eth0/mtu"], timeout_s=60).text.strip() == str(guest.mtu_bytes)


def test_it_is_pinned_as_it_says(host, guest):
    described = driver().describe(host)
    pinned = on_host(host, "virsh", "--quiet", "vcpupin", guest.domain).split()
    assert (
        " ".join(f"{v}:{cpu}" for v, cpu in zip(pinned[::2], pinned[1::2], strict=True))
        == (described["pinning.vcpus"])
    )
    emulator = on_host(host, "virsh", "--quiet", "emulatorpin", guest.domain).split()
    assert emulator[-1] == described["pinning.emulator"]
    assert on_host(host, "virsh", "numatune", guest.domain).split()[-1] == described["pinning.nodes"]


def test_the_host_finds_its_processes(host, guest):
    kind, _, path = guest.host_processes.partition(":")
    assert kind == "pidfile"
    threads = on_host(host, "sh", "-c", 'cat "/proc/$(cat "$1")/task"/*/comm', "sh", path)
    assert [f"CPU {number}/" in threads for number in range(3)] == [
        number < guest.boot.vcpus for number in range(3)
    ]


def test_a_description_is_the_same_each_time(host):
    described = driver().describe(host)
    assert described == driver().describe(host)
    assert described["qemu.version"][0].isdigit() and described["libvirt.version"][0].isdigit()
    assert described["kernel.source"] in ("host", "distribution")
    assert described["accelerator"] in ("kvm", "tcg") and described["accelerator.reason"]
    assert described["cpu.mode"] == ("host-passthrough" if described["accelerator"] == "kvm" else "maximum")
    assert (described["machine.type"], len(described["image.sha256"])) == ("q35", 64)
    assert "<vcpupin vcpu='0'" in described["domain.xml"]


def test_large_frames_get_through_uncut(host, guest):
    bridge = on_host(host, "sh", "-c", "ip -4 -o address show dev br1 | awk '{print $4}'").partition("/")[0]
    nobody = str(ipaddress.ip_interface(f"{guest.address}/29").network[6])
    assert probe_paths(guest, {"host": bridge, "nobody": nobody}) == {
        "host": NetworkPath(guest.mtu_bytes, "ok"),
        "nobody": NetworkPath(guest.mtu_bytes, "down"),
    }


# --- a guest that does not ----------------------------------------------------------------------------------


def test_two_at_once_have_their_own_addresses_and_one_may_panic(host, guest):
    with pytest.raises(EnvironmentDied) as caught, driver().open(host) as other:
        assert other.address != guest.address
        assert probe_paths(guest, {"other": other.address})["other"] == NetworkPath(guest.mtu_bytes, "ok")
        other.run(["sh", "-c", "echo c >/proc/sysrq-trigger; sleep 60"], timeout_s=120)
    assert caught.value.reason == "guest_panicked"
    assert caught.value.where == guest.name
    assert b"Kernel panic - not syncing: sysrq triggered crash" in caught.value.artifacts["console"]
    assert guest.is_alive()
    assert guests(host) == [f"folder {guest.domain}", f"domain {guest.domain}"]


# Root may use what is reserved too: down to the last block.
_FILL = """n=0
for size in 8G 4G 2G 1G 512M 256M 64M 16M 1M 64K 4K; do
  while n=$((n + 1)); fallocate -l $size /scratch/$n 2>/dev/null; do :; done
done
"""


def test_a_full_disk_is_told_and_then_a_killed_qemu(host):
    with pytest.raises(EnvironmentDied) as caught, driver().open(host) as shell:
        shell.run(["sh", "-c", _FILL], timeout_s=120)
        with pytest.raises(DiskFull) as full:
            shell.run(["dd", "if=/dev/zero", "of=/scratch/more", "bs=1M", "count=1"], timeout_s=60)
        assert full.value.reason == "disk_full"
        assert "/scratch" in str(full.value)
        assert full.value.completed.exit_code == 1
        assert not shell.is_alive()
        assert "disk is full" in shell.state_report()
        on_host(host, "sh", "-c", 'kill -9 "$(cat "$1")"', "sh", shell.host_processes.partition(":")[2])
        shell.run(["true"], timeout_s=60)
    assert caught.value.reason == "environment_died"
    assert "qemu has ended" in str(caught.value)
    assert "console" in caught.value.artifacts


def test_a_kernel_that_panics_on_its_way_up(host):
    odd = driver()
    odd.change = lambda domain: replace(domain, command_line=f"{domain.command_line} rdinit=/no/such/init")
    with pytest.raises(EnvironmentDied, match="Unable to mount root") as caught, odd.open(host):
        pytest.fail("the body ran")
    assert caught.value.reason == "guest_panicked"
    assert b"Kernel panic" in caught.value.artifacts["console"]


def test_a_guest_that_never_answers(host):
    odd = driver(boot_timeout_s=25)
    odd.change = lambda domain: replace(
        domain, command_line=domain.command_line.replace("perfctl.address=10.", "perfctl.address=192.")
    )
    with pytest.raises(EnvironmentDied, match="did not answer") as caught, odd.open(host):
        pytest.fail("the body ran")
    assert caught.value.reason == "guest_silent"
    assert "console" in caught.value.artifacts


def test_a_guest_that_has_no_time_to_begin_is_ended(host):
    before = left_behind(host, TEST_RUN)
    with pytest.raises(EnvironmentDied) as caught:
        driver(boot_timeout_s=0).check(host)
    assert caught.value.reason == "guest_silent"
    assert left_behind(host, TEST_RUN) == before


# --- a guest that cannot be ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"memory_mib": 100_000_000}, "out_of_memory", "the host has"),
        ({"hugepages": True, "memory_mib": 50_000}, "out_of_memory", "huge pages"),
        ({"vcpus": 4000}, "environment_unavailable", "do not fit on one NUMA node"),
        ({"cpuset_cpus": "7000-7001"}, "environment_unavailable", "names CPU 7000-7001"),
    ],
)
def test_what_the_host_has_not_is_said_before_anything_starts(host, changes, reason, words):
    before = left_behind(host, TEST_RUN)
    impossible = driver(replace(VM, **changes))
    with pytest.raises(EnvironmentUnavailable, match=words) as caught, impossible.open(host):
        pytest.fail("the body ran")
    assert caught.value.reason == reason
    assert caught.value.where == f"{host.name}/vm"
    assert left_behind(host, TEST_RUN) == before


FOREIGN = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>"""


def test_a_domain_of_that_name_that_is_not_ours_is_left_alone(host):
    odd = driver()
    odd.name = f"perfctl-{TEST_RUN[-8:]}-foreign"
    definition = FOREIGN.format(name=odd.name)
    made = host.run(["virsh", "create", "/dev/stdin"], timeout_s=60, stdin=definition.encode())
    assert made.exit_code == 0, made.error_text
    try:
        with pytest.raises(EnvironmentNotMade, match="is not perfctl's") as caught, odd.open(host):
            pytest.fail("the body ran")
        assert caught.value.reason == "name_taken"
        assert odd.name not in remove_all(host, new_id())
        assert "running" in on_host(host, "virsh", "domstate", odd.name)
    finally:
        on_host(host, "virsh", "destroy", odd.name)


def test_a_host_without_libvirt(host):
    on_host(host, "mv", "/usr/bin/virsh", "/usr/bin/virsh.away")
    try:
        with pytest.raises(EnvironmentNotMade, match="no libvirt") as caught, driver().open(host):
            pytest.fail("the body ran")
        assert "perf_vm_host: true" in str(caught.value.hint)
        assert remove_all(host, new_id()) == []
    finally:
        on_host(host, "mv", "/usr/bin/virsh.away", "/usr/bin/virsh")


def test_a_host_without_an_image(host):
    on_host(host, "mv", f"{FOLDER}/image", f"{FOLDER}/image.away")
    try:
        with pytest.raises(EnvironmentNotMade, match="no image for guests") as caught:
            driver().check(host)
        assert "perfctl provision" in str(caught.value.hint)
    finally:
        on_host(host, "mv", f"{FOLDER}/image.away", f"{FOLDER}/image")


def test_kvm_counts_only_when_a_guest_has_booted_with_it(host):
    host.run(["rm", "-f", "/run/perfctl/accelerator"], timeout_s=60)
    described = driver().describe(host)
    has_device = host.run(["test", "-c", "/dev/kvm"], timeout_s=60).exit_code == 0
    if not has_device:
        assert (described["accelerator"], described["accelerator.reason"]) == ("tcg", "there is no /dev/kvm")
    else:
        assert "a probe guest" in described["accelerator.reason"]
        remembered = on_host(host, "cat", "/run/perfctl/accelerator").splitlines()
        assert remembered[1:] == [described["accelerator"], described["accelerator.reason"]]
    insisting = driver(replace(VM, accelerator="kvm"))
    if described["accelerator"] == "kvm":
        insisting.check(host)
    else:
        with pytest.raises(EnvironmentUnavailable, match="kvm does not work here"):
            insisting.check(host)
    forced = driver(replace(VM, accelerator="tcg")).describe(host)
    assert (forced["accelerator"], forced["accelerator.reason"]) == ("tcg", "the environment asks for it")


# --- always removed -----------------------------------------------------------------------------------------

_OPEN_AND_STAY = """
import sys, time
from perfctl.environments import environment
from perfctl.environments.drivers import driver_for
from perfctl.execute.network_path import NetworkPath, probe_paths
from perfctl.inventory import load_hosts
from perfctl.job import JobShell
from perfctl.model import new_id
from perfctl.ssh import connect
inventory, name, run_id = sys.argv[1:]
(host,) = load_hosts([inventory], limit=name)
jobs = JobShell.start(connect(host), run_id, lifetime_s=600)
driver = driver_for(environment("vm"), run_id=run_id, invocation_id=new_id(), host_address="192.0.2.1")
with driver.open(jobs) as shell:
    print("open", flush=True)
    shell.run(["sleep", "600"], timeout_s=600)
"""


@pytest.mark.parametrize("moment", ["folder", "domain", "open"])
def test_what_a_killed_controller_leaves_is_found_and_removed(machine, host, third_host, moment):
    run_id = new_id()
    argv = [sys.executable, "-c", _OPEN_AND_STAY, str(third_host.inventory), machine.name, run_id]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as opener:
        if moment == "open":
            assert opener.stdout is not None and opener.stdout.readline() == b"open\n"
        else:
            wait_until(lambda: f"{moment} " in "\n".join(left_behind(host, run_id)), moment, timeout_s=120)
        opener.send_signal(signal.SIGKILL)
    # What `perfctl resume` does: the dead controller's jobs end first, so that nothing is made any more.
    with jobs_on(machine, run_id) as later:
        assert len(remove_all(later, run_id)) == 1
        assert left_behind(later, run_id) == []
    running = on_host(host, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert f"guests/perfctl-{run_id[-8:]}" not in running


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_removed_when_the_body_raises(host, error):
    before = left_behind(host, TEST_RUN)
    with pytest.raises(error), driver().open(host) as shell:
        shell.spawn(["sleep", "1000"])
        raise error
    assert left_behind(host, TEST_RUN) == before
