"""Leases: while a run measures on a machine, no other run may.

A lease ends when it is released, when its time is over, or when the process that holds it is gone
(seen only from the same controller; from another one its time must run out).
"""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from perfctl.errors import HostLeased
from perfctl.model import Host, new_id


def holder() -> str:
    """Return this process's name: controller, boot, process id and start, so that no id is mistaken."""
    return f"{_controller()}/{os.getpid()}/{_process_start(os.getpid())}"


def _controller() -> str:
    boot_id = Path("/proc/sys/kernel/random/boot_id")
    boot = boot_id.read_text().strip() if boot_id.exists() else ""
    return f"{socket.gethostname()}/{boot}"


def _process_start(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # proc(5): field 2 is the name, which may hold spaces and brackets; 3 is the state, 22 the start.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def _is_gone(name: str) -> bool:
    controller, pid, start = name.rsplit("/", 2)
    return controller == _controller() and _process_start(int(pid)) != start


def machine_of(host: Host) -> str:
    """Return what two inventories' names for one machine have in common."""
    return "local" if host.connection == "local" else f"{host.address}:{host.port}"


def acquire(connection: sqlite3.Connection, run_id: str, hosts: Sequence[Host], ttl_s: float) -> str:
    """Lease all `hosts` or none, and return the lease's key. Raises HostLeased."""
    now = time.time()
    held = {
        machine: (lease_run, name, expires_at)
        for machine, lease_run, name, expires_at in connection.execute(
            "SELECT machine, run_id, holder, expires_at FROM lease"
        )
    }
    lease_id = new_id()
    for host in {machine_of(host): host for host in hosts}.values():
        other = held.get(machine_of(host))
        if other is not None and other[2] > now and not _is_gone(other[1]):
            raise HostLeased(
                f"the run {other[0]} is measuring there",
                where=host.name,
                hint=f"wait for it, or stop it; the lease ends by itself in {other[2] - now:.0f} s",
            )
        connection.execute(
            "INSERT INTO lease (machine, lease_id, run_id, host, holder, expires_at)"
            " VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (machine) DO UPDATE SET lease_id = excluded.lease_id, run_id = excluded.run_id,"
            " host = excluded.host, holder = excluded.holder, expires_at = excluded.expires_at",
            (machine_of(host), lease_id, run_id, host.name, holder(), now + ttl_s),
        )
    return lease_id


def release(connection: sqlite3.Connection, lease_id: str) -> None:
    """End a lease; one that is gone is fine."""
    connection.execute("DELETE FROM lease WHERE lease_id = ?", (lease_id,))
