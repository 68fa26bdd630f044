"""Hosts of a fleet, and pairs of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Host:
    """One machine of an inventory, with what is needed to reach it.

    Secrets (`become_password`) never appear in `repr`.
    """

    name: str
    address: str
    connection: Literal["ssh", "local"] = "ssh"
    port: int = 22
    user: str | None = None
    private_key: Path | None = None
    ssh_options: tuple[tuple[str, str], ...] = ()
    """(key, value) pairs of ssh_config(5) found in ansible_ssh_*_args, e.g. ("UserKnownHostsFile", "...")."""
    become: bool = False
    become_password: str | None = field(default=None, repr=False)
    python: str = "python3"
    """The interpreter on the host, for what perfctl runs there in Python."""
    state_dir: str | None = None
    """The folder on the host for perfctl's lease and spools; None: perfctl's own."""
    test_address: str | None = None
    """Address on the test network, without prefix length; network workloads use it. None: use `address`."""
    resource: str | None = None
    """Hosts that name the same resource (a shared machine, a switch) never measure at the same time."""
    groups: tuple[str, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def spool_root(self) -> str | None:
        """The folder on the host for the spools of runs; None: perfctl's own."""
        return f"{self.state_dir}/spool" if self.state_dir else None

    @property
    def network_address(self) -> str:
        """The address that network workloads on this host listen on and connect to."""
        return self.test_address or self.address


@dataclass(frozen=True, slots=True)
class Target:
    """Where a block runs: a host, or an ordered (client, server) pair of hosts, by name."""

    host: str
    peer: str | None = None

    @property
    def hosts(self) -> tuple[str, ...]:
        """The one host, or client and server."""
        return (self.host,) if self.peer is None else (self.host, self.peer)

    def __str__(self) -> str:
        return f"{self.host}->{self.peer}" if self.peer else self.host
