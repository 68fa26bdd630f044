"""Reach hosts over one persistent connection each, by ssh or on this machine. The only user of paramiko.

connect(host)  ->  SshShell | LocalShell
    config         the settings that `ssh -G` prints for the host: the user's ssh_config counts
    known_hosts    compare the host's key with the known one
    dial           socket, jump hosts, handshake, login
    shell          commands, background processes and streams over the connection
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from perfctl.model import Host
from perfctl.shell import Transport
from perfctl.shell.command import Elevation
from perfctl.shell.local import LocalShell
from perfctl.shell.open_files import allow_open_files

__all__ = ["Connect", "connect", "connecting", "import_paramiko", "way_to"]

Connect = Callable[[Host], Transport]
"""Returns the connection to a host, or raises as `connect` does."""

_MOST_AT_ONCE = 64


def connect(host: Host, *, timeout_s: float = 10.0) -> Transport:
    """Return a way to run commands on `host`, connected and logged in.

    Raises HostUnreachable (no answer, login refused), HostKeyMismatch (unknown or changed host key),
    UsageError (an ssh_config that ssh itself refuses). Where the login is root already, sudo is left out.
    """
    if host.connection == "local":
        become = host.become and os.geteuid() != 0
        return LocalShell(host.name, Elevation(become, host.become_password))
    import_paramiko()
    from perfctl.ssh.config import settings_for
    from perfctl.ssh.shell import SshShell

    settings = settings_for(host)
    become = host.become and settings.user != "root"
    elevation = Elevation(become, host.become_password)
    return SshShell(settings, elevation, timeout_s=timeout_s, python=host.python)


@contextmanager
def connecting(hosts: Sequence[Host]) -> Iterator[Connect]:
    """Begin to connect to the hosts, and give what waits for a host's connection and returns it.

    What is done in between costs no time of its own: nothing is sent to the hosts until somebody has asked
    for their connections. Who asks a second time, because the first one failed, has it tried anew. Those
    that nobody asks for are closed at the end. Raises UsageError where so many cannot be open.
    """
    allow_open_files(len(hosts))
    if any(host.connection != "local" for host in hosts):
        # Before the threads, which would take the time from each other.
        import_paramiko()
    asked: set[str] = set()
    with ThreadPoolExecutor(max(1, min(len(hosts), _MOST_AT_ONCE)), thread_name_prefix="connect") as pool:
        begun = {host.name: pool.submit(connect, host) for host in hosts}

        def ask(host: Host) -> Transport:
            if host.name in asked:
                return connect(host)
            asked.add(host.name)
            return begun[host.name].result()

        try:
            yield ask
        finally:
            for name, future in begun.items():
                if name not in asked and not future.cancel() and future.exception() is None:
                    future.result().close()


def import_paramiko() -> None:
    """Import paramiko, which takes 0.1 s: a run on this machine alone does without it.

    Where there is `invoke`, paramiko imports it for the `Match exec` of an ssh_config, which ssh itself reads
    here (`ssh -G`), and with it asyncio and unittest: most of its time. So it finds none.
    """
    modules: dict[str, Any] = sys.modules
    is_hidden = "paramiko" not in modules and modules.setdefault("invoke", None) is None
    try:
        import paramiko  # noqa: F401
    finally:
        if is_hidden:
            modules.pop("invoke", None)


def way_to(host: Host) -> str:
    """Return what a connection to `host` goes through, 'jump host NAME' or 'ProxyCommand ...'; '' for none.

    Raises UsageError (an ssh_config that ssh itself refuses).
    """
    if host.connection == "local":
        return ""
    from perfctl.ssh.config import settings_for

    return settings_for(host).way
