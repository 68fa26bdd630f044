"""The program as a user types it: a process, its exit code, its two streams, and the database it leaves."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.lab import LabAtHand

SHADOW = "/usr/local/bin/sysbench"
Break = Callable[[str], None]
"""Puts a program in place of `sysbench`: the text of a shell script."""

LOCAL = """\
all:
  hosts:
    here:
      ansible_connection: local
      # Tests that run beside each other on this machine would be refused.
      perf_state_dir: {folder}
"""

BRIEF = """\
[suite]
name = "brief"
description = "One short benchmark, for the tests."
baseline = "native"
environments = ["native"]
blocks = 2

[[benchmark]]
name = "cpu"
workload = "sysbench"
parameters = { test = "cpu", threads = 1, time_s = 1 }
"""


@dataclass
class Project:
    """A folder with an inventory, a suite and a database, and the program run in it."""

    folder: Path
    inventory_path: Path
    environ: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def database(self) -> Path:
        return self.folder / "results.db"

    @property
    def suite(self) -> str:
        return str(self.folder / "brief.toml")

    def argv(self, *arguments: str) -> list[str]:
        options = ["--db", str(self.database), "-i", str(self.inventory_path)]
        return [sys.executable, "-m", "perfctl", *options, *arguments]

    def perfctl(self, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*arguments),
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        # Tests may have been started in the background, where a shell has its children ignore Ctrl-C.
        return subprocess.Popen(
            ["env", "--default-signal=INT", *self.argv(*arguments)],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def write_inventory(self, text: str) -> None:
        """Give the project an inventory of its own."""
        self.inventory_path = self.folder / "hosts.yml"
        self.inventory_path.write_text(text)

    def invocation_count(self) -> int:
        """Return how many invocations are stored, 0 before there is a database; while a run writes, too."""
        if not self.database.exists():
            return 0
        try:
            with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True) as connection:
                (count,) = connection.execute("SELECT count(*) FROM invocation").fetchone()
                return int(count)
        except sqlite3.OperationalError:
            return 0

    def rows(self, sql: str) -> list[dict[str, Any]]:
        done = self.perfctl("query", sql, "--format", "json")
        assert done.returncode == 0, done.stderr
        rows: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
        return rows


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an inventory of this machine alone, which Ansible need read only once."""
    folder = tmp_path_factory.mktemp("local")
    (folder / "hosts.yml").write_text(LOCAL.format(folder=folder))
    return folder


@pytest.fixture
def project(tmp_path: Path, local: Path) -> Project:
    """Return a project whose only host is this machine."""
    made = Project(tmp_path, local / "hosts.yml")
    Path(made.suite).write_text(BRIEF)
    # Where tests run, other things run, too: what is fit to be measured is tested in its own place.
    made.environ["PERFCTL_FORCE"] = "1"
    made.environ["XDG_CACHE_HOME"] = str(local / "cache")
    return made


@pytest.fixture
def host(provisioned_lab: LabAtHand) -> str:
    return provisioned_lab.hosts[0]


@pytest.fixture
def on_host(project: Project, provisioned_lab: LabAtHand) -> Project:
    """Return a project whose inventory is the lab's."""
    project.inventory_path = provisioned_lab.inventory
    return project


@pytest.fixture
def shadow(provisioned_lab: LabAtHand, host: str) -> Iterator[Break]:
    """Return a function that puts another `sysbench` first on the host's PATH."""

    def put(script: str) -> None:
        write = 'printf "#!/bin/sh\\n%s\\n" "$1" > "$2" && chmod 755 "$2"'
        provisioned_lab.inside(host, "sh", "-c", write, "sh", script, SHADOW)

    yield put
    provisioned_lab.inside(host, "rm", "-f", SHADOW)


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    """Poll until `condition` holds, or fail with `what`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s for {what}"
        time.sleep(0.05)


def processes_with(text: str) -> list[int]:
    """Return the ids of other processes whose command line has `text`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in command and int(path.parent.name) != os.getpid():
            found.append(int(path.parent.name))
    return found


def end(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str, str]:
    """Send a signal, wait, and return exit code, stdout and stderr."""
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=90)
    return process.returncode, stdout, stderr
