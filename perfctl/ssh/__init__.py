"""Reach hosts over one persistent connection each, by ssh or on this machine. The only user of paramiko.

connect(host)  ->  SshShell | LocalShell
    config         the settings that `ssh -G` prints for the host: the user's ssh_config counts
    known_hosts    compare the host's key with the known one
    dial           socket, jump hosts, handshake, login
    shell          commands, background processes and streams over the connection
"""

from __future__ import annotations

import os

from perfctl.model import Host
from perfctl.shell import Transport
from perfctl.shell.command import Elevation
from perfctl.shell.local import LocalShell

__all__ = ["connect", "way_to"]


def connect(host: Host, *, timeout_s: float = 10.0) -> Transport:
    """Return a way to run commands on `host`, connected and logged in.

    Raises HostUnreachable (no answer, login refused), HostKeyMismatch (unknown or changed host key),
    UsageError (an ssh_config that ssh itself refuses). Where the login is root already, sudo is left out.
    """
    if host.connection == "local":
        become = host.become and os.geteuid() != 0
        return LocalShell(host.name, Elevation(become, host.become_password))
    # paramiko costs 0.1 s to import: a run on this machine alone does without it.
    from perfctl.ssh.config import settings_for
    from perfctl.ssh.shell import SshShell

    settings = settings_for(host)
    become = host.become and settings.user != "root"
    elevation = Elevation(become, host.become_password)
    return SshShell(settings, elevation, timeout_s=timeout_s, python=host.python)


def way_to(host: Host) -> str:
    """Return what a connection to `host` goes through, 'jump host NAME' or 'ProxyCommand ...'; '' for none.

    Raises UsageError (an ssh_config that ssh itself refuses).
    """
    if host.connection == "local":
        return ""
    from perfctl.ssh.config import settings_for

    return settings_for(host).way
