"""The commands for a host and for a guest: scripts, and OpenSSH's client between the two. Pure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from perfctl.shell.command import MARK, Elevation, command_line
from perfctl.shell.session import GRACE_S

FOLDER = "/var/lib/perfctl/vm"
"""Where `perfctl provision` puts what a host needs for guests, and where guests are while they are."""

CALL_TIMEOUT_S = 120.0
"""For what the host does itself (libvirt, overlays) under load."""

_CONNECT_TIMEOUT_S = 20


def _script(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="ascii")


_HOST = f"vm={FOLDER}\n{_script('host.sh')}"
_RUN = _script("run.sh")
_END = _script("end.sh")


@dataclass(frozen=True, slots=True)
class Guest:
    """The names of a guest on its host."""

    name: str
    uuid: str

    @property
    def folder(self) -> str:
        """Return the folder that is its own."""
        return f"{FOLDER}/guests/{self.name}"

    @property
    def console(self) -> str:
        """Return the file that its serial console goes to."""
        return f"{self.folder}/console.log"


def host_argv(verb: str, *arguments: str) -> list[str]:
    """Return the command that has the host do `verb` of host.sh."""
    return ["sh", "-c", _HOST, "perfctl-vm", verb, *arguments]


def link_argv(guest: Guest, address: str) -> list[str]:
    """Return the command that holds the connection to a guest which its commands go over."""
    return [*_ssh(guest), "-M", "-N", f"root@{address}"]


def run_argv(guest: Guest, address: str, token: str, argv: Sequence[str]) -> list[str]:
    """Return the host's command that runs `argv` in the guest; its output comes when it has ended.

    `end_argv` with the same token ends it. Raises UsageError for what no command line can carry.
    """
    return _in_guest(guest, address, ["/bin/sh", "-c", _RUN, MARK, token, *argv], token)


def spawn_argv(guest: Guest, address: str, token: str, argv: Sequence[str]) -> list[str]:
    """Return the host's command that runs `argv` in the guest, its output coming as it is written."""
    return _in_guest(guest, address, argv, token)


def end_argv(guest: Guest, address: str, token: str) -> list[str]:
    """Return the host's command that ends all that a token stands for; its output so far is printed."""
    # Whole seconds of the guest's clock: the first of them has begun already.
    grace = str(round(GRACE_S) + 1)
    return _in_guest(guest, address, ["/bin/sh", "-c", _END, MARK, token, grace], None)


def _in_guest(guest: Guest, address: str, argv: Sequence[str], token: str | None) -> list[str]:
    wrapped, _ = Elevation().wrap(argv)
    # The same search path as a job on the host has; the token is how the command is found again.
    variables = [f"PATH={_PATH}", *([f"PERFCTL_COMMAND={token};"] if token else [])]
    line = command_line(["env", *variables, *wrapped])
    return [*_ssh(guest), f"root@{address}", os.fsdecode(line)]


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _ssh(guest: Guest) -> list[str]:
    """Return the command of OpenSSH's client with all options that decide what it trusts and sends.

    Nothing of the host's own ssh settings counts. Without keep-alives nothing crosses an idle connection;
    a guest's end is seen by the host (host.sh, `link`).
    """
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "HostKeyAlias": "perfctl-guest",
        "UserKnownHostsFile": f"{FOLDER}/known_hosts",
        "GlobalKnownHostsFile": "/dev/null",
        "UpdateHostKeys": "no",
        "IdentitiesOnly": "yes",
        "IdentityFile": f"{FOLDER}/id_ed25519",
        "ConnectTimeout": str(_CONNECT_TIMEOUT_S),
        "ServerAliveInterval": "0",
        "TCPKeepAlive": "no",
        # Emulated processors compute these fastest.
        "KexAlgorithms": "curve25519-sha256",
        "Ciphers": "aes128-gcm@openssh.com,chacha20-poly1305@openssh.com",
        "LogLevel": "ERROR",
        "ControlPath": f"{guest.folder}/ssh",
    }
    words = ["ssh", "-F", "none", "-T", "-e", "none", "-a", "-x"]
    for name, value in options.items():
        words += ["-o", f"{name}={value}"]
    return words
