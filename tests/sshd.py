"""A real sshd for the tests: on a free port of 127.0.0.1, with its own keys and settings, run by us."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from perfctl.model import Host

_PRIVILEGE_SEPARATION_DIR = Path("/run/sshd")


@dataclass
class Sshd:
    """A running sshd and what a client needs to reach it."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def key(self) -> Path:
        """The client's private key."""
        return self.folder / "client_key"

    @property
    def known_hosts(self) -> Path:
        """The file that knows this sshd."""
        return self.folder / "known_hosts"

    @property
    def host_key(self) -> str:
        """The public host key: type and base64."""
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    @property
    def config_file(self) -> Path:
        """An ssh_config that names nothing of the person who runs the tests."""
        return self.folder / "ssh_config"

    def host(self, name: str = "box", **changes: object) -> Host:
        """Return this sshd as an inventory host, with other fields as wanted."""
        made = Host(
            name,
            "127.0.0.1",
            port=self.port,
            user=getpass.getuser(),
            private_key=self.key,
            ssh_options=(
                ("ConfigFile", str(self.config_file)),
                ("UserKnownHostsFile", str(self.known_hosts)),
            ),
        )
        return replace(made, **changes)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def login_shell(self, command: str) -> Iterator[None]:
        """Let logins get `command -c LINE` as their shell (LINE is what the client sent), for a while."""
        keys = self.folder / "authorized_keys"
        before = keys.read_text()
        forced = f'SHELL={command.split()[0]} exec {command} -c "$SSH_ORIGINAL_COMMAND"'.replace('"', '\\"')
        keys.write_text(f'command="{forced}" {before}')
        try:
            yield
        finally:
            keys.write_text(before)

    def connections(self) -> list[int]:
        """Return the process ids of the sshd children that serve connections now."""
        return _sshd_children(self.process.pid)

    def drop_connections(self) -> None:
        """Cut every connection as a broken network or a killed sshd does: without a goodbye."""
        for pid in self.connections():
            # Since OpenSSH 9.8 root's connections, too, have a process of their own below that child.
            for own in (*_sshd_children(pid), pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(own, 9)


def _sshd_children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
            fields = rest.split()
            if int(fields[1]) == parent and fields[0] != "Z" and name.startswith("sshd"):
                found.append(int(path.parent.name))
    return found


@contextmanager
def running_sshd(folder: Path, *, max_startups: str = "100") -> Iterator[Sshd]:
    """Start sshd with its files in `folder`; it is gone afterwards."""
    program = shutil.which("sshd", path=os.pathsep.join(["/usr/sbin", "/sbin", os.environ["PATH"]]))
    assert program, "sshd is missing: apt-get install openssh-server (make test does it)"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("host_key", "client_key"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / name))
    shutil.copy(folder / "client_key.pub", folder / "authorized_keys")
    (folder / "trusted_keys").touch()
    port = _free_port()
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host_key\nPidFile none\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nUsePAM no\nPermitRootLogin prohibit-password\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nAllowTcpForwarding yes\n"
        f"MaxStartups {max_startups}\nTrustedUserCAKeys {folder}/trusted_keys\n"
    )
    (folder / "ssh_config").write_text("GlobalKnownHostsFile /dev/null\n")
    host_key = (folder / "host_key.pub").read_text().strip()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    if os.geteuid() == 0:
        # It stays, as after a start of ssh.service: the sshd of another worker may need it still.
        _PRIVILEGE_SEPARATION_DIR.mkdir(mode=0o755, exist_ok=True)
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen([program, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    sshd = Sshd(folder, port, process)
    try:
        _wait_until_it_listens(sshd)
        yield sshd
    finally:
        sshd.drop_connections()
        process.kill()
        process.wait(timeout=10)


def _wait_until_it_listens(sshd: Sshd) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", sshd.port), timeout=1).close()
            return
        except OSError:
            log = (sshd.folder / "sshd.log").read_text()
            assert sshd.process.poll() is None and time.monotonic() < deadline, log
            time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True, timeout=30)
