"""A host that answers the driver of guests as it is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from perfctl.environments import environment
from perfctl.environments.vm import VmDriver
from perfctl.shell import Completed, Process
from perfctl.shell.command import MARK

RUN_ID = "01990000-0000-7000-8000-00000000aaaa"
INVOCATION_ID = "01990000-0000-7000-8000-00000000bbbb"
DESKTOP = "0,0,0,0\n1,1,0,0\n"
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
    "memory": "MemTotal: 16384000 kB\nMemAvailable:   8192000 kB\nHugePages_Total:     1024\n"
    "HugePages_Free:      600\nHugepagesize:       2048 kB",
    "devices": "",
    "boot": "boot-1",
    "accelerator": "",
}


def survey_text(**changes: str) -> str:
    return "".join(f"== {name}\n{text}\n" for name, text in {**SECTIONS, **changes}.items())


RUNNING = {"domain": "running (booted)", "qemu": "77\nrunning", "oom": "0", "kernel": "", "libvirt": ""}
GONE = {**RUNNING, "domain": "error: failed to get domain 'x'", "qemu": "77"}
PANIC = "perfctl: kernel\n[  1.5] Kernel panic - not syncing: VFS: Unable to mount root fs\n[  1.6] CPU: 0"


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
