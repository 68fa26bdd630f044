"""A guest as libvirt's XML. Pure: the parts of a domain in, its text out."""

from __future__ import annotations

import functools
import hashlib
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from perfctl.environments.vm.pinning import Pinning, cpulist
from perfctl.model.environment import Accelerator, DiskCache, DiskIo

if TYPE_CHECKING:
    import jinja2

MACHINE = "q35"
METADATA = "urn:perfctl:domain"
"""The XML namespace of perfctl's metadata in a domain."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A virtio disk: an image file on the host."""

    target: str
    path: str
    format: Literal["qcow2", "raw"]


@dataclass(frozen=True, slots=True)
class Nic:
    """A virtio NIC on a bridge of the host."""

    bridge: str
    tap: str
    mac: str
    mtu_bytes: int
    has_vhost: bool


@dataclass(frozen=True, slots=True)
class Domain:
    """Everything that is in a guest's XML."""

    name: str
    uuid: str
    run_id: str
    accelerator: Accelerator
    memory_mib: int
    pinning: Pinning
    kernel: str
    initramfs: str
    command_line: str
    console: str
    disks: tuple[Disk, ...] = ()
    nic: Nic | None = None
    hugepages: bool = False
    disk_cache: DiskCache | None = None
    disk_io: DiskIo | None = None
    owner: str = ""
    """The user and group that qemu runs as, '+UID:+GID'; its files are theirs already. '': libvirt chowns."""
    machine: str = field(default=MACHINE, init=False)

    @property
    def cpu_mode(self) -> str:
        """Return libvirt's CPU mode: the host's own CPU, or all that the emulation can do."""
        return "host-passthrough" if self.accelerator == "kvm" else "maximum"

    @property
    def type(self) -> str:
        """Return libvirt's domain type."""
        return "kvm" if self.accelerator == "kvm" else "qemu"

    def xml(self) -> str:
        """Return the domain as libvirt's XML."""
        return _template().render(domain=self, cpulist=cpulist, namespace=METADATA)


@functools.cache
def _template() -> jinja2.Template:
    import jinja2  # imported only where a guest is made

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(Path(__file__).with_name("domain.xml.j2").read_text(encoding="utf-8"))


def tap_name(domain: str) -> str:
    """Return the name of a domain's tap device: it fits into the kernel's 15 characters."""
    return f"pfc{hashlib.sha256(domain.encode()).hexdigest()[:10]}"


def mac_address(address: str) -> str:
    """Return the MAC of an IPv4 address: the same one always, locally administered, no group address."""
    return ":".join(f"{byte:02x}" for byte in (0x52, 0x50, *ipaddress.IPv4Address(address).packed))


def command_line(
    accelerator: Accelerator, *, address: str, prefix_length: int, mtu_bytes: int, engine_range: str | None
) -> str:
    """Return the kernel's command line that the guest's init reads."""
    words = [
        probe_command_line(accelerator),
        f"perfctl.address={address}/{prefix_length}",
        f"perfctl.mtu={mtu_bytes}",
        "perfctl.hostname=guest",
    ]
    if engine_range:
        words.append(f"perfctl.engine={engine_range}")
    return " ".join(words)


def probe_command_line(accelerator: Accelerator) -> str:
    """Return the kernel's command line of a guest that only has to start its first program."""
    return " ".join([*_KERNEL_OPTIONS, *(_EMULATED_OPTIONS if accelerator == "tcg" else ())])


# The kernel prints what it does until its first program begins, and from then on errors only (`quiet` would
# have it so from the start): one that hangs differs from one that is slow, and no line of it runs into one
# of init's. An emulated timer may be late under load, which the kernel takes for a broken one. The last
# options leave out self-tests and devices that the guest does not have: half a second of an emulated boot,
# nothing that a benchmark sees.
_KERNEL_OPTIONS = (
    *("console=ttyS0", "sysctl.kernel.printk=4", "panic=1", "no_timer_check"),
    *("cryptomgr.notests", "i8042.noaux", "i8042.nokbd", "8250.nr_uarts=1", "random.trust_cpu=on"),
)
# Emulated on a busy host the kernel may measure a TSC of 414 MHz where it ticks 2,596 million times a second.
# Its clock then runs six times too fast, and what took four seconds counts as a lockup of twenty-six. The PM
# timer keeps the time of such guests anyway.
_EMULATED_OPTIONS = ("tsc=unstable",)
