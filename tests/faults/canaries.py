"""Secrets that are used nowhere else, and the search for them."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml
import zstandard

from tests.faults.counting import is_made

_LOOK_EVERY_S = 0.2
_LARGEST_ARTIFACT_BYTES = 1 << 26

_SEARCH = ("grep", "--recursive", "--files-with-matches", "--no-messages", "--devices=skip", "-F", "-f", "-")
_SEARCHED = ("/var/lib/perfctl", "/tmp", "/var/tmp", "/dev/shm", "/run", "/root", "/var/log")

TOKEN_VARIABLE = "FAULTS_API_TOKEN"


def _value() -> str:
    return f"canary-{secrets.token_hex(12)}"


@dataclass(frozen=True)
class Canaries:
    """The values, each by where it is put; `folder` holds the files that have them rightly."""

    folder: Path
    values: dict[str, str]

    @classmethod
    def put(cls, folder: Path, inventory: Path) -> Canaries:
        """Write an inventory with secrets into `folder`: plain ones, one in a vault, and the vault's own."""
        folder.mkdir(parents=True, exist_ok=True)
        names = ("fleet_password", "ansible_become_password", "fleet_secret", "vault", TOKEN_VARIABLE)
        made = cls(folder, {name: _value() for name in names})
        hosts = yaml.safe_load(inventory.read_text())
        for name in ("fleet_password", "ansible_become_password"):
            hosts["all"]["vars"][name] = made.values[name]
        made.inventory.write_text(yaml.safe_dump(hosts))
        made.vault_password.write_text(made.values["vault"])
        (folder / "group_vars").mkdir(exist_ok=True)
        (folder / "group_vars" / "all.yml").write_text(made._encrypted("fleet_secret"))
        return made

    @property
    def inventory(self) -> Path:
        """The inventory with the secrets."""
        return self.folder / "hosts.yml"

    @property
    def vault_password(self) -> Path:
        """The file with the password of the vault."""
        return self.folder / "vault-password"

    @property
    def environ(self) -> dict[str, str]:
        """What commands get in their environment."""
        return {
            TOKEN_VARIABLE: self.values[TOKEN_VARIABLE],
            "ANSIBLE_VAULT_PASSWORD_FILE": str(self.vault_password),
        }

    def in_bytes(self, data: bytes, where: str) -> list[str]:
        """Return a sentence for each secret in `data`."""
        found = [name for name, value in self.values.items() if value.encode() in data]
        return [f"the secret {name} is in {where}" for name in found]

    def in_files(self, folder: Path) -> list[str]:
        """Return a sentence for each secret in a file below `folder` that may not have it."""
        found = []
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_relative_to(self.folder):
                with contextlib.suppress(OSError):
                    found += self.in_bytes(path.read_bytes(), str(path))
        return found

    def in_artifacts(self, database: Path) -> list[str]:
        """Return a sentence for each secret in the compressed artifacts of a database."""
        if not is_made(database):
            return []
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT sha256, content FROM artifact").fetchall()
        return [
            sentence
            for sha256, content in rows
            for sentence in self.in_bytes(
                zstandard.decompress(content, max_output_size=_LARGEST_ARTIFACT_BYTES), f"artifact {sha256}"
            )
        ]

    def on_host(self, host: str) -> list[str]:
        """Return a sentence for each file of a host with a secret, where perfctl and Ansible put files."""
        # By standard input: as arguments they would be found.
        done = subprocess.run(
            ["docker", "exec", "--interactive", host, *_SEARCH, *_SEARCHED],
            input="\n".join(self.values.values()),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return [f"a secret is on {host} in {path}" for path in done.stdout.splitlines()]

    def _encrypted(self, name: str) -> str:
        """Return a YAML line with a variable in a vault; neither value is an argument of a process."""
        argv = [str(Path(sys.executable).parent / "ansible-vault"), "encrypt_string"]
        argv += ["--vault-password-file", str(self.vault_password), "--stdin-name", name]
        done = subprocess.run(
            argv, input=self.values[name], capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout + "\n"


@dataclass
class ProcessWatch:
    """Looks at all processes of this machine and its lab for secrets, again and again, until it is stopped.

    Arguments are read of all processes; the environment of those in other process namespaces, which are the
    hosts': a controller has its own secrets there rightly.
    """

    canaries: Canaries
    found: set[str] = field(default_factory=set)
    looks: int = 0

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch until the block is left."""
        is_over = threading.Event()

        def watch() -> None:
            while not is_over.wait(_LOOK_EVERY_S):
                self.look()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def look(self, processes: Iterable[Path] | None = None) -> None:
        """Look once at all processes, or at these folders of /proc."""
        own = _namespace(Path("/proc/self"))
        self.looks += 1
        for path in processes or Path("/proc").glob("[0-9]*"):
            names = ["cmdline"] if _namespace(path) == own else ["cmdline", "environ"]
            for name in names:
                # Most have ended before they are read.
                with contextlib.suppress(OSError):
                    data = (path / name).read_bytes()
                    self.found.update(
                        self.canaries.in_bytes(data, f"the {name} of a process: {_program(data)}")
                    )


def _program(data: bytes) -> str:
    return os.fsdecode(data.partition(b"\0")[0])[:80]


def _namespace(path: Path) -> str:
    try:
        return str((path / "ns" / "pid").readlink())
    except OSError:
        return ""
