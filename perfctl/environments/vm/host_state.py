"""The state of a host and of a guest, from the output of `host.sh`. Pure."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perfctl.environments.vm.pinning import Topology
from perfctl.errors import EnvironmentDied, EnvironmentNotMade, EnvironmentUnavailable

PROVISION_HINT = "set perf_vm_host: true for the host in the inventory, then: perfctl provision"
_NEEDED_PROGRAMS = (
    ("virsh", "libvirt"),
    ("qemu-img", "qemu"),
    ("qemu-system-x86_64", "qemu"),
    ("ssh", "OpenSSH's client"),
    ("mkfs.ext4", "mkfs.ext4"),
)
_MOST_GUESTS = 512
"""More than any host has at a time: their addresses fit into one command."""
OVERHEAD_MIB = 192
"""The memory that qemu itself takes besides the guest's memory: measured 90 to 150 MiB with emulation."""


@dataclass(frozen=True, slots=True)
class Network:
    """The part of host.json that a guest's NIC needs."""

    bridge: str
    mtu_bytes: int
    prefix_length: int


@dataclass(frozen=True, slots=True)
class Remembered:
    """The result of an earlier probe of this host."""

    accelerator: str
    why: str


@dataclass(frozen=True, slots=True)
class HostState:
    """What `host.sh survey` found on a host."""

    sections: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> HostState:
        """Return the sections by name."""
        return cls(sections(text))

    def check(self, *, with_engine: bool) -> None:
        """Raise EnvironmentNotMade, with what to do, when something that a guest needs is missing."""
        programs = self.sections["programs"].split()
        for program, name in _NEEDED_PROGRAMS:
            if program not in programs:
                raise _not_set_up(f"there is no {name} here ({program} is missing)")
        if not self.sections["host"]:
            raise _not_set_up("this host is not set up for guests")
        if not self.versions.get("hypervisor"):
            lines = self.sections["libvirt"].replace("error: ", "").splitlines()
            raise EnvironmentNotMade(
                f"libvirt does not answer: {lines[-1] if lines else 'no output'}",
                hint="start it: systemctl start libvirtd",
            )
        absent = set(self.sections["unreadable"].split())
        if not with_engine:
            absent.discard("engine.ext4")
        if not self.image or absent:
            raise _not_set_up(f"there is no image for guests ({', '.join(sorted(absent)) or 'none built'})")

    def check_memory(self, memory_mib: int, *, hugepages: bool) -> None:
        """Raise EnvironmentUnavailable when the host does not have so much memory.

        Raises EnvironmentNotMade when others use too much of it now.
        """
        if hugepages:
            page_kib = self._kib("Hugepagesize")
            needed_mib, total_mib = memory_mib, self._kib("HugePages_Total") * page_kib // 1024
            free_mib = self._kib("HugePages_Free") * page_kib // 1024
            message = f"the guest needs {memory_mib} MiB in huge pages and {free_mib} MiB are free"
            hint = "reserve more on the host: sysctl vm.nr_hugepages=N"
        else:
            needed_mib, total_mib = memory_mib + OVERHEAD_MIB, self._kib("MemTotal") // 1024
            free_mib = self._kib("MemAvailable") // 1024
            message = f"the guest needs {memory_mib} MiB (and qemu {OVERHEAD_MIB}), the host has"
            message += f" {free_mib} MiB available"
            hint = "set a smaller memory_mib"
        if needed_mib > free_mib:
            kind = EnvironmentUnavailable if needed_mib > total_mib else EnvironmentNotMade
            raise kind(message, reason="out_of_memory", hint=hint)

    @property
    def network(self) -> Network:
        """Return the part of the test network that guests are on."""
        host = self._json("host")
        return Network(str(host["bridge"]), int(host["mtu_bytes"]), int(host["prefix_length"]))

    def guest_addresses(self, step: int) -> list[str]:
        """Return the second of every `step` addresses of the range for guests: each is one guest's own.

        Raises EnvironmentNotMade when the range is none.
        """
        try:
            found = ipaddress.IPv4Network(str(self._json("host").get("guest_range")), strict=False)
        except ValueError as error:
            raise _not_set_up(f"the range for guests cannot be read: {error}") from error
        first = int(found.network_address) + 1
        firsts = range(first, first + found.num_addresses // step * step, step)
        return [str(ipaddress.IPv4Address(number)) for number in firsts[:_MOST_GUESTS]]

    @property
    def image(self) -> str:
        """Return the folder of the image in use, '' without one."""
        return self.sections["image"]

    @property
    def manifest(self) -> dict[str, Any]:
        """Return the manifest of the image."""
        return self._json("manifest")

    @property
    def topology(self) -> Topology:
        """Return the CPUs that guests may use."""
        return Topology.parse(self.sections["topology"], self.sections["allowed"])

    @property
    def devices(self) -> tuple[str, ...]:
        """Return which of kvm and vhost-net are there: existence, not use."""
        return tuple(self.sections["devices"].split())

    @property
    def versions(self) -> dict[str, str]:
        """Return the versions of 'hypervisor' (qemu) and 'daemon' (libvirt)."""
        text = self.sections["libvirt"]
        patterns = {
            "hypervisor": r"^Running hypervisor: \S+ (\S+)",
            "daemon": r"^Running against daemon: (\S+)",
        }
        found = {name: re.search(pattern, text, re.MULTILINE) for name, pattern in patterns.items()}
        return {name: match[1] for name, match in found.items() if match}

    @property
    def owner(self) -> str:
        """Return the user and group that libvirt runs qemu as, '+UID:+GID'; '' where that is not known."""
        return self.sections["owner"]

    @property
    def boot(self) -> str:
        """Return what marks a remembered probe as one of this boot of the host and of this qemu."""
        return f"{self.sections['boot']} {self.versions.get('hypervisor', '')}"

    @property
    def remembered(self) -> Remembered | None:
        """Return the result of the last probe, if it was in this boot of the host and with this qemu."""
        lines = self.sections["accelerator"].splitlines()
        if len(lines) != 3 or lines[0] != self.boot:
            return None
        return Remembered(lines[1], lines[2])

    def _json(self, section: str) -> dict[str, Any]:
        try:
            content = dict(json.loads(self.sections[section]))
        except (ValueError, TypeError, RecursionError) as error:
            raise _not_set_up(f"{section}.json cannot be read: {error}") from error
        return content

    def _kib(self, key: str) -> int:
        match = re.search(rf"^{key}: +(\d+)", self.sections["memory"], re.MULTILINE)
        return int(match[1]) if match else 0


@dataclass(frozen=True, slots=True)
class GuestState:
    """What `host.sh state` found of one guest."""

    sections: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> GuestState:
        """Return the sections by name."""
        return cls(sections(text))

    @property
    def console(self) -> str:
        """Return the end of its console."""
        return self.sections.get("console", "")

    @property
    def last_line(self) -> str:
        """Return the last line of its console, '(empty)' without one."""
        return (self.console.splitlines() or ["(empty)"])[-1].strip()

    @property
    def is_running(self) -> bool:
        """Return whether libvirt has it running."""
        return self.sections["domain"].startswith("running")

    def death(self) -> EnvironmentDied | None:
        """Return what ended the guest, None while it runs."""
        panic = re.search(r"^.*(Kernel panic.*)$", self.console, re.MULTILINE)
        if panic:
            return self._died("guest_panicked", f"the guest's kernel panicked: {panic[1].strip()}")
        if self.sections.get("stall"):
            return stalled(self.sections["stall"], self.console)
        domain = self.sections["domain"]
        if domain.startswith("paused") and "I/O error" in domain:
            return self._died(
                "disk_full", "qemu stopped the guest: an I/O error on its disk (the host's disk is full?)"
            )
        if self.is_running:
            return None
        if domain.startswith("paused"):
            return self._died("environment_died", f"libvirt has the guest {domain}")
        if self._is_out_of_memory():
            killed = self.sections["kernel"].splitlines() or ["no message in its log"]
            return self._died("out_of_memory", f"the host's kernel OOM-killed qemu: {killed[-1].strip()}")
        last = (self.sections["libvirt"].splitlines() or [domain])[-1]
        return self._died("environment_died", f"the guest's qemu has ended: {last}")

    def _is_out_of_memory(self) -> bool:
        # The kernel's log names the process; where it cannot be read, its counter moved while the guest ran.
        if self.sections["kernel"]:
            return True
        has_ended_itself = "shutting down, reason=shutdown" in self.sections["libvirt"]
        return not has_ended_itself and int(self.sections["oom"] or 0) > 0

    def _died(self, reason: str, message: str) -> EnvironmentDied:
        return EnvironmentDied(message, reason=reason, artifacts=console_artifact(self.console))


def sections(text: str) -> dict[str, str]:
    """Return the text of each section `== NAME`, stripped."""
    pieces = re.split(r"^== (\w+)\n", text, flags=re.MULTILINE)
    return {name: body.strip() for name, body in zip(pieces[1::2], pieces[2::2], strict=True)}


def stalled(line: str, console: str) -> EnvironmentDied:
    """Return the error for a guest whose kernel reports in `line` that a CPU makes no progress."""
    return EnvironmentDied(
        f"the guest's kernel stalled and the guest was ended: {line.strip()}",
        reason="guest_stalled",
        artifacts=console_artifact(console),
    )


def console_artifact(console: str) -> dict[str, bytes]:
    """Return a console as the artifact of an error; an empty one is kept too."""
    return {"console": console.encode("utf-8", "backslashreplace")}


def _not_set_up(message: str) -> EnvironmentNotMade:
    return EnvironmentNotMade(message, hint=PROVISION_HINT)
