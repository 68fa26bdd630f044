"""The guest image: what is in it, that it boots, is made once, and what is said when it cannot be made.

Guests are booted by qemu itself with a network of its own, so what fails here is the image and not libvirt.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab import LabAtHand

pytestmark = pytest.mark.lab("third")

IMAGE = "perfctl/perf-tools:latest"
VM = "/var/lib/perfctl/vm"
TRY = "/srv/perfctl-image-test"
"""Where these tests make images of their own."""
BENCHMARKS = ("/usr/bin/sysbench", "/usr/bin/netperf", "/usr/bin/netserver")


@dataclass(frozen=True)
class OnHost:
    """A host of the lab."""

    lab: LabAtHand
    name: str

    def sh(self, script: str, *arguments: str, timeout_s: float = 60) -> str:
        """Run a script, which must succeed, and return its output."""
        return self.lab.inside(self.name, "sh", "-euc", script, "test", *arguments, timeout_s=timeout_s)

    def recipe_argv(self, mode: str, **changes: str) -> list[str]:
        """Return the command that runs the recipe in a folder of its own, in a session of its own."""
        variables = {
            "VM_DIR": TRY,
            "IMAGE": IMAGE,
            "GUEST_PACKAGES": "docker.io iptables kmod",
            "KERNEL": "auto",
            "KERNEL_PACKAGE": "linux-image-cloud-amd64",
            "FREE_MB": "1024",
            "ENGINE": "no",
            "ENGINE_FREE_MB": "4096",
            "WORK_DIR": "",
            "KEEP": "2",
            **changes,
        }
        assigned = [f"{name}={value}" for name, value in variables.items()]
        command = ["setsid", "--wait", "sh", f"{VM}/recipe/image.sh", mode]
        return ["docker", "exec", self.name, "env", *assigned, *command]

    def recipe(self, mode: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run the recipe to its end."""
        return subprocess.run(
            self.recipe_argv(mode, **changes), capture_output=True, text=True, timeout=600, check=False
        )


@pytest.fixture(scope="module")
def host(third_host: LabAtHand) -> OnHost:
    """Return the lab's third host, provisioned."""
    return OnHost(third_host, third_host.hosts[0])


@pytest.fixture(scope="module")
def manifest(host: OnHost) -> dict[str, Any]:
    """Return what the image in use says of itself."""
    read: dict[str, Any] = json.loads(host.sh(f"cat {VM}/image/manifest.json"))
    return read


# -- a booted guest ------------------------------------------------------------------------------------

_BOOT = f"""
rm -rf {TRY}-guest
mkdir -p {TRY}-guest
cd {TRY}-guest
image=$(readlink -f {VM}/image)
for name in root engine; do qemu-img create -q -f qcow2 -F raw -b "$image/$name.ext4" "$name.qcow2"; done
truncate -s 256M scratch.img
mkfs.ext4 -q scratch.img
qemu-system-x86_64 -accel tcg -machine q35 -cpu max -m 1536 -nodefaults -display none -no-reboot -daemonize \\
    -pidfile {TRY}-guest/pid -serial file:console -kernel "$image/vmlinuz" -initrd "$image/initramfs" \\
    -drive if=virtio,file=root.qcow2,cache=unsafe -drive if=virtio,file=scratch.img,format=raw,cache=unsafe \\
    -drive if=virtio,file=engine.qcow2,cache=unsafe \\
    -netdev user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:2422-10.0.2.15:22 \\
    -device virtio-net-pci,netdev=net,host_mtu=9000 \\
    -append "console=ttyS0 panic=1 no_timer_check quiet perfctl.address=10.0.2.15/24 perfctl.mtu=9000 \\
perfctl.hostname=image-test perfctl.engine=10.0.2.128/28"
"""
_END = f"""
pid=$(cat {TRY}-guest/pid 2> /dev/null) || exit 0
if grep -aq {TRY}-guest "/proc/$pid/cmdline"; then kill -9 "$pid"; fi
"""


@dataclass(frozen=True)
class Booted:
    """A guest that runs on the host."""

    host: OnHost

    def ssh(
        self, command: str, *options: str, key: str = f"{VM}/id_ed25519", timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the guest as the host does. Of an option given twice ssh takes the first."""
        usual = [
            *("-p", "2422", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
            *("-o", "HostKeyAlias=perfctl-guest", "-o", f"UserKnownHostsFile={VM}/known_hosts"),
            *("-o", "StrictHostKeyChecking=yes", "-o", "ControlMaster=auto", "-o", "ControlPersist=300"),
            *("-o", f"ControlPath={TRY}-guest/ssh"),
        ]
        return subprocess.run(
            ["docker", "exec", self.host.name, "ssh", *options, *usual, "root@127.0.0.1", command],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def run(self, command: str) -> str:
        """Run a command in the guest, which must succeed, and return its output."""
        done = self.ssh(command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def console(self) -> str:
        """Return what the guest has written to its console."""
        return self.host.sh(f"cat {TRY}-guest/console")

    def wait_for(self, text: str, timeout_s: float = 300) -> None:
        """Wait until the console shows a text."""
        deadline = time.monotonic() + timeout_s
        while text not in self.console():
            assert time.monotonic() < deadline, self.console()
            time.sleep(0.5)


@pytest.fixture(scope="module")
def guest(host: OnHost, manifest: dict[str, Any]) -> Iterator[Booted]:
    """Return a guest with an engine, which tests share."""
    assert manifest["engine_version"]
    host.sh(_BOOT)
    booted = Booted(host)
    try:
        booted.wait_for("perfctl: ssh")
        yield booted
    finally:
        host.sh(_END)
        host.sh(f"rm -rf {TRY}-guest")


def test_the_manifest_says_the_truth(host: OnHost, guest: Booted, manifest: dict[str, Any]) -> None:
    assert manifest["image_id"] == host.sh(f"docker image inspect -f '{{{{.Id}}}}' {IMAGE}").strip()
    assert manifest["kernel_release"] == guest.run("uname -r").strip()
    assert manifest["kernel_sha256"] == host.sh(f"sha256sum < {VM}/image/vmlinuz").split()[0]
    # The lab's hosts are containers: there is no kernel of their own that they could read.
    running = host.sh("uname -r").strip()
    assert manifest["kernel_source"] == "distribution"
    assert manifest["kernel_reason"] == f"there is no readable /boot/vmlinuz-{running}"
    loaded = {line.split()[0] for line in guest.run("cat /proc/modules").splitlines()}
    assert {
        path.rpartition("/")[2].partition(".")[0].replace("-", "_") for path in manifest["modules"]
    } <= loaded


def test_a_guest_has_the_same_bits_as_a_container(host: OnHost, guest: Booted) -> None:
    digests = guest.run(f"sha256sum {' '.join(BENCHMARKS)}")
    assert host.sh(f"docker run --rm {IMAGE} sha256sum {' '.join(BENCHMARKS)}") == digests
    # Capabilities that a container sees at a file, a guest sees as well: ping's on Debian 12, none on 13.
    capabilities = "getcap -r /usr/bin /usr/sbin 2> /dev/null | sort"
    assert guest.run(capabilities) == host.sh(f'docker run --rm {IMAGE} sh -c "{capabilities}"')


def test_a_guest_is_a_small_machine(guest: Booted) -> None:
    mounts = {line.split()[1]: line.split()[2] for line in guest.run("cat /proc/mounts").splitlines()}
    assert mounts["/"] == mounts["/scratch"] == "ext4"
    assert {"/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/run", "/tmp", "/sys/fs/cgroup"} <= set(mounts)
    assert guest.run("hostname").strip() == "image-test"
    assert guest.run("cat /sys/class/net/br1/mtu /sys/class/net/eth0/mtu") == "9000\n9000\n"
    assert "10.0.2.15/24" in guest.run("ip -o -4 address show br1")
    assert guest.run("ls /.dockerenv 2> /dev/null || echo none") == "none\n"
    assert guest.run("readlink /dev/fd /dev/stdin") == "/proc/self/fd\nfd/0\n"
    assert "perfctl: failed" not in guest.console()


def test_only_the_hosts_key_opens_it(guest: Booted) -> None:
    guest.run("true")
    guest.host.sh(f"ssh-keygen -q -t ed25519 -N '' -f {TRY}-guest/other-key")
    for options, key in (((), f"{TRY}-guest/other-key"), (("-l", "daemon"), f"{VM}/id_ed25519")):
        refused = guest.ssh("true", "-o", "ControlPath=none", *options, key=key)
        assert refused.returncode == 255
        assert "Permission denied (publickey)" in refused.stderr
    settings = guest.run("/usr/sbin/sshd -T -f /perfctl/sshd_config")
    assert "passwordauthentication no" in settings
    assert "kbdinteractiveauthentication no" in settings
    assert guest.run("cut -d: -f2 /etc/shadow | grep '^[$]' || echo none") == "none\n"


def test_pid_1_reaps_orphans_and_brings_sshd_back(guest: Booted) -> None:
    guest.run("sh -c 'sleep 0.2 & sleep 0.3 &' > /dev/null 2>&1; sleep 2")
    assert " Z" not in guest.run("ps -eo pid,stat --no-headers")
    before = guest.run("cat /run/sshd.pid")
    guest.run(f"kill {before.strip()}")
    after = guest.run("for try in $(seq 100); do sleep 0.2; cat /run/sshd.pid 2> /dev/null && break; done")
    assert after not in ("", before)


def test_a_container_runs_in_a_guest_with_the_same_image(
    guest: Booted, manifest: dict[str, Any], host: OnHost
) -> None:
    guest.wait_for("perfctl: engine")
    assert guest.run(f"docker image inspect -f '{{{{.Id}}}}' {IMAGE}").strip() == manifest["image_id"]
    inside = guest.run(
        f"docker run --rm {IMAGE} sh -c 'sha256sum {BENCHMARKS[0]}; ip -o -4 address show eth0'"
    )
    assert host.sh(f"docker run --rm {IMAGE} sha256sum {BENCHMARKS[0]}") in inside
    assert " 10.0.2.12" in inside or " 10.0.2.13" in inside


def test_a_guest_switches_itself_off(guest: Booted) -> None:
    guest.ssh("perfctl-poweroff", timeout_s=60)
    guest.wait_for("perfctl: poweroff", timeout_s=60)
    host = guest.host
    host.sh(
        f"for t in $(seq 300); do [ -e {TRY}-guest/pid ] || exit 0; sleep 0.1; done; exit 1", timeout_s=60
    )


def test_a_guest_without_its_disk_ends_with_a_reason_on_the_console(host: OnHost) -> None:
    said = host.sh(
        f"timeout 100 qemu-system-x86_64 -accel tcg -machine q35 -m 512 -nodefaults -display none -no-reboot "
        f"-serial stdio -kernel {VM}/image/vmlinuz -initrd {VM}/image/initramfs "
        "-append 'console=ttyS0 panic=1 no_timer_check quiet' < /dev/null",
        timeout_s=120,
    )
    assert "perfctl: kernel" in said
    assert "perfctl: failed: there is no root disk" in said
    assert "Kernel panic" in said


# -- made once -----------------------------------------------------------------------------------------


def test_a_second_time_nothing_is_changed(host: OnHost) -> None:
    only = ("--limit", host.name)
    done = host.lab.perfctl("provision", "--force", "--tags", "vm", *only, "--format", "json", timeout_s=600)
    assert done.returncode == 0, done.stderr
    assert {row["changed"] for row in json.loads(done.stdout)["rows"]} == {0}
    assert "guest image" not in host.lab.perfctl("verify", *only, timeout_s=300).stdout


def test_no_mounts_and_no_loop_devices_are_left(host: OnHost) -> None:
    host.sh("! grep -e perfctl-vm -e /var/lib/perfctl/vm /proc/mounts")
    assert "perfctl" not in host.sh("cat /sys/block/loop*/loop/backing_file 2> /dev/null || true")
    assert host.sh(f"ls -A {VM}/images | grep -vEx '[0-9a-f]{{64}}|[.]lock' || true") == ""
    assert host.sh("docker ps -aq --filter name=perfctl-vm-image; ls -d /run/perfctl-vm-image || true") == ""


def test_qemu_may_read_the_image_and_others_not(host: OnHost) -> None:
    read = f"--init-groups head -c 1 {VM}/image/root.ext4"
    host.sh(f"setpriv --reuid libvirt-qemu --regid $(id -g libvirt-qemu) {read} > /dev/null")
    host.sh(f"! setpriv --reuid nobody --regid nogroup {read} 2> /dev/null")


# -- made by hand, and not made ------------------------------------------------------------------------


@pytest.fixture
def own(host: OnHost) -> Iterator[OnHost]:
    """Return the host with a folder for images of this test alone, the kernel in it."""
    host.sh(
        f"rm -rf {TRY}; mkdir -p {TRY}; cp -a {VM}/guest_host_key* {VM}/id_ed25519.pub {TRY}/; "
        f"cp -al $(readlink -f {VM})/kernels {TRY}/"
    )
    yield host
    host.sh(f"rm -rf {TRY}")


def test_one_that_is_killed_leaves_nothing_that_counts_and_the_next_one_cleans_up(own: OnHost) -> None:
    started = subprocess.Popen(own.recipe_argv("make"))
    own.sh(
        f"for t in $(seq 600); do [ -e {TRY}/images/.work/root/usr ] && break; sleep 0.1; done; "
        f"kill -9 $(pgrep -f '^sh {VM}/recipe/image.sh make$')",
        timeout_s=90,
    )
    started.wait(timeout=60)
    assert own.sh(f"ls -A {TRY}/images | grep -vx .lock | sort | xargs").strip() == ".making .work"
    assert "drift: there is no guest image" in own.recipe("verify").stdout

    again = own.recipe("make")
    assert again.returncode == 0, again.stderr
    assert own.recipe("verify").stdout == ""
    key = own.sh(f"basename $(readlink {TRY}/image)").strip()
    assert own.sh(f"ls -A {TRY}/images").split() == [".lock", key]
    assert own.recipe("make").stdout == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"IMAGE": "perfctl/none:latest"},
            "this host has no image perfctl/none:latest: the role perf_image makes it",
        ),
        ({"KERNEL": "host"}, "no kernel for guests: there is no readable /boot/vmlinuz-"),
        (
            {"KERNEL_PACKAGE": "no-such-kernel"},
            "and no-such-kernel cannot be downloaded: E: Unable to locate package no-such-kernel",
        ),
        ({"KERNEL_PACKAGE": ""}, "and perf_vm_image_kernel_package is empty"),
        ({"ENGINE": "yes", "WORK_DIR": "/root"}, "which is on overlayfs: set perf_vm_host_storage"),
    ],
)
def test_what_is_missing_is_named(own: OnHost, changes: dict[str, str], words: str) -> None:
    done = own.recipe("make", **changes)
    assert done.returncode == 1
    assert done.stderr.startswith("no guest image: ")
    assert words in done.stderr
    own.sh(
        f"[ ! -e {TRY}/image ]; ! ls {TRY}/images/*/manifest.json 2> /dev/null; [ ! -e {TRY}/images/.making ]"
    )


def test_a_disk_without_room_is_refused_before_anything_is_written(own: OnHost) -> None:
    own.sh(
        f"mkdir {TRY}/small; mount -t tmpfs -o size=64m tmpfs {TRY}/small; "
        f"cp {TRY}/*.pub {TRY}/*key {TRY}/small"
    )
    try:
        own.sh(f"mkdir {TRY}/small/kernels; ln -s {TRY}/kernels/* {TRY}/small/kernels/")
        done = own.recipe("make", VM_DIR=f"{TRY}/small")
        assert done.returncode == 1
        assert "no guest image: an image needs " in done.stderr
        assert done.stderr.rstrip().endswith("MB are free")
    finally:
        own.sh(f"umount {TRY}/small")


def test_a_disk_that_runs_full_is_told_and_nothing_is_left(own: OnHost) -> None:
    # Room enough, but not for as many files.
    own.sh(f"mkdir {TRY}/small; mount -t tmpfs -o size=8g,nr_inodes=2000 tmpfs {TRY}/small")
    try:
        full = own.recipe("make", WORK_DIR=f"{TRY}/small")
        assert full.returncode == 1
        assert full.stderr.startswith("no guest image: the root file system cannot be unpacked: tar: ")
        assert "No space left on device" in full.stderr
        assert own.sh(f"ls -A {TRY}/small {TRY}/images").split() == [
            f"{TRY}/images:",
            ".lock",
            f"{TRY}/small:",
        ]
    finally:
        own.sh(f"umount {TRY}/small")
