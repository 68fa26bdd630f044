"""A PostgreSQL server of the tests' own: in a folder of its own, as an unprivileged user, with no cluster."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

PASSWORD = "quite-a-password"
_TIMEOUT_S = 60
_SETTINGS = {
    # It is thrown away: what was committed need not outlive this machine.
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "listen_addresses": "127.0.0.1",
    "autovacuum": "off",
}
_DURABLE = {"fsync": "on", "full_page_writes": "on", "autovacuum": "on"}


def _programs() -> Path:
    """Return the folder of the newest server that Debian's packages have installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise FileNotFoundError("there is no PostgreSQL server here: make test-packages installs it")
    return found[-1].parent


class PostgresqlServer:
    """A server that listens on a socket in its folder, for its superuser, and on a port of 127.0.0.1."""

    def __init__(self, *, is_durable: bool = False) -> None:
        """Choose a folder and a port. `is_durable`: what is committed outlives a power cut, as by default."""
        self._settings = _SETTINGS | (_DURABLE if is_durable else {})
        # The folders of pytest are closed to all others, and the path of a socket has 107 bytes at most.
        self._folder = Path(tempfile.mkdtemp(prefix="perfctl-postgresql-"))
        self._user = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        self._data, self._programs = self._folder / "data", _programs()
        self._databases = 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])

    def make(self) -> None:
        """Make its files and start it. Its superuser is `admin`; others need a password."""
        options = ["-U", "admin", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        self._run("initdb", "-D", str(self._data), *options)
        access = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (self._data / "pg_hba.conf").write_text(access)
        with (self._data / "postgresql.conf").open("a") as file:
            for name, value in {
                **self._settings,
                "port": str(self.port),
                "unix_socket_directories": str(self._folder),
            }.items():
                file.write(f"{name} = '{value}'\n")
        self.start()
        self.admin(f"CREATE ROLE perfctl LOGIN PASSWORD '{PASSWORD}'")

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", str(self._data), "-l", log, "-w", "-t", str(_TIMEOUT_S), "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; `immediate` is what a crash leaves behind."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", str(_TIMEOUT_S), "-m", mode, "stop")

    def remove(self) -> None:
        """Stop it and remove its folder."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self._folder)

    def admin(self, statement: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Return the rows of a superuser's statement."""
        with psycopg.connect(
            host=str(self._folder), port=self.port, user="admin", dbname=database, autocommit=True
        ) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def new_database(self, *, options: str = "OWNER perfctl") -> str:
        """Make an empty database and return its name."""
        self._databases += 1
        name = f"test_{self._databases}"
        self.admin(f"CREATE DATABASE {name} TEMPLATE template0 {options}")
        return name

    def url(self, database: str, *, user: str = "perfctl", password: str | None = PASSWORD) -> str:
        """Return the URL of a database."""
        secret = "" if password is None else f":{password}"
        return f"postgresql+psycopg://{user}{secret}@127.0.0.1:{self.port}/{database}"

    def _run(self, program: str, *arguments: str) -> None:
        command: Sequence[str] = [str(self._programs / program), *arguments]
        done = subprocess.run(
            command,
            cwd=self._folder,
            user=self._user.pw_uid if os.geteuid() == 0 else None,
            group=self._user.pw_gid if os.geteuid() == 0 else None,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=2 * _TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
