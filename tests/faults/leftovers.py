"""What is there after a case and was not there before: on the hosts, and on this machine."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SETTLE_S = 15.0
"""For so long what is left is looked at again: an engine and systemd remove some things a little later."""
_AGAIN_S = 0.5
_TIMEOUT_S = 60
_AT_ONCE = 4

_OUR_PROCESSES = r"^(sysbench|netperf|netserver|ping)\b|perfctl"
_LISTINGS: dict[str, list[str]] = {
    "unit": ["systemctl", "list-units", "--all", "--plain", "--no-legend", "perfctl*"],
    "container": ["docker", "ps", "--all", "--format", "{{.Names}}"],
    "volume": ["docker", "volume", "ls", "--format", "{{.Name}}"],
    "network": ["docker", "network", "ls", "--format", "{{.Name}}"],
    "file": [
        *("find", "/dev/shm", "/tmp", "/var/tmp", "/var/lib/perfctl", "/root", "/srv", "-mindepth", "1"),
        *("-not", "-path", "*/systemd-private-*", "-not", "-path", "/root/.ansible"),
        *(
            "-not",
            "-path",
            "/root/.ansible/perfctl",
            "-not",
            "-name",
            "lease",
            "-not",
            "-name",
            "lease.until",
        ),
        *("-not", "-path", "/var/lib/perfctl/spool"),
    ],
    "file in /run": ["find", "/run", "-name", "*perfctl*", "-o", "-name", "*ansible*"],
    "process": ["ps", "-eo", "args="],
    "marked process": ["sh", "-c", "grep -lsaF PERFCTL_JOB= /proc/[0-9]*/environ"],
    "queueing discipline": ["tc", "qdisc", "show"],
    "packet filter rule": ["sh", "-c", "iptables -S && iptables -t nat -S"],
    "network namespace": ["ip", "netns", "list"],
    "link": ["ip", "-o", "link", "show"],
    "mount": ["cat", "/proc/mounts"],
}
_KEPT: dict[str, Callable[[str], str | None]] = {
    "unit": lambda line: line.split()[0],
    "process": lambda line: line if re.search(_OUR_PROCESSES, line) else None,
    "queueing discipline": lambda line: None if " veth" in line else line,
    "link": lambda line: line.split(":")[1].partition("@")[0].strip(),
    "mount": lambda line: line.split()[1],
}
"""What of a line says which thing it is; None: it is none of ours."""
_MAY_FAIL = ("file", "file in /run", "marked process")
"""`find` fails for what is removed meanwhile, `grep` where it finds nothing."""


def on_hosts(hosts: Sequence[str]) -> set[str]:
    """Return everything on the hosts that a run could leave there, each as 'HOST: kind name'."""
    asked = [(host, kind) for host in hosts for kind in (*_LISTINGS, "lease")]
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return {item for found in pool.map(lambda each: _on_host(*each), asked) for item in found}


def _on_host(host: str, kind: str) -> set[str]:
    if kind == "lease":
        lease = output_of(host, ["cat", "/var/lib/perfctl/lease"], may_fail=True)
        holder = json.loads(lease.partition("\n")[2].strip() or "null")
        return {f"{host}: lease of {holder['purpose']} {holder['run_id']}"} if holder else set()
    keep = _KEPT.get(kind, str)
    lines = output_of(host, _LISTINGS[kind], may_fail=kind in _MAY_FAIL).splitlines()
    return {f"{host}: {kind} {name}" for line in lines if line.strip() and (name := keep(line.strip()))}


def here(marker: str, temporary: Path) -> set[str]:
    """Return processes with `marker` in their environment, and temporary files, on this machine.

    In /dev/shm only folders of playbooks whose process has ended are counted: others may run beside this.
    """
    found = {f"here: process {_arguments(pid)}" for pid in marked_processes(marker)}
    if temporary.exists():
        found |= {f"here: file {path}" for path in temporary.rglob("*")}
    for path in Path("/dev/shm").glob("perfctl-*"):
        if not _is_in_use(path):
            found.add(f"here: file {path}")
    return found


def marked_processes(marker: str) -> list[int]:
    """Return the ids of other processes that have the text in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if marker.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found


def has_process(marker: str, program: str) -> bool:
    """Return whether a marked process has this in its arguments."""
    return any(program in _arguments(pid) for pid in marked_processes(marker))


def left_over(look: Callable[[], set[str]], before: set[str], *, settle_s: float = SETTLE_S) -> list[str]:
    """Return what `look` finds and was not there before, as soon as that is nothing, or after `settle_s`."""
    deadline = time.monotonic() + settle_s
    while (left := look() - before) and time.monotonic() < deadline:
        time.sleep(_AGAIN_S)
    return sorted(left)


def output_of(host: str, argv: Sequence[str], *, may_fail: bool = False) -> str:
    """Return what a command prints in a host, not through ssh. Raises RuntimeError when it fails."""
    done = subprocess.run(
        ["docker", "exec", host, *argv], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode and not may_fail:
        raise RuntimeError(f"{host}: {' '.join(argv)} exited {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _arguments(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return f"{pid}, which has ended"


def _is_in_use(folder: Path) -> bool:
    """Return whether the process that made a private folder still holds its lock."""
    try:
        with (folder / "in-use").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        # Just made or just being removed; or not a playbook's.
        return False
    return False
