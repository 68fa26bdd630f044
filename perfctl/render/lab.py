"""`lab status`: the hosts of a lab."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from perfctl.lab import HostStatus
from perfctl.render.view import Column, View, columns


def lab_view(hosts: Iterable[HostStatus]) -> View:
    """Return the view of what every host of a lab is doing."""
    fields = [
        *columns("host", "release", "cgroup", "container"),
        Column("system", "systemd"),
        Column("address"),
        Column("test_address", "test address"),
        Column("ssh"),
    ]
    return View("lab_status", fields, [asdict(host) for host in hosts])
