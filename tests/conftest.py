"""The lab of the tests: two systemd hosts on this machine, brought up once and only when a test asks.

PERFCTL_TEST_KEEP_LAB=1 leaves it up at the end, so that the next run of the tests starts at once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from perfctl.lab import Wish, down, up

_REPOSITORY = Path(__file__).resolve().parents[1]
_PROJECT = _REPOSITORY / ".state" / "test-lab"
_WISH = Wish("perfctl-test", 2, False, "172.31.241.0/24", "10.242.0.0/16")
_PROVISION_TIMEOUT_S = 1500


@dataclass(frozen=True)
class LabAtHand:
    """A lab that is up: its inventory and the names of its hosts."""

    project_dir: Path
    inventory: Path
    hosts: tuple[str, ...]

    def perfctl(self, *arguments: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Run the program with this lab's project and inventory."""
        argv = [sys.executable, "-m", "perfctl", "--project", str(self.project_dir)]
        return subprocess.run(
            [*argv, "--inventory", str(self.inventory), *arguments],
            cwd=_REPOSITORY,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def inside(self, host: str, *argv: str, timeout_s: float = 60) -> str:
        """Run a command in a host, not through ssh, and return its output; it must succeed."""
        done = subprocess.run(
            ["docker", "exec", host, *argv], capture_output=True, text=True, timeout=timeout_s, check=False
        )
        assert done.returncode == 0, f"{host}: {argv}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> None:
    """See to it that a Docker Engine runs on this machine: the lab starts one where none does."""
    if shutil.which("docker"):
        answer = subprocess.run(["docker", "version"], capture_output=True, timeout=60, check=False)
        if answer.returncode == 0:
            return
    request.getfixturevalue("lab")


@pytest.fixture(scope="session")
def lab() -> Iterator[LabAtHand]:
    """Return a lab of two hosts that are as `perfctl lab up` leaves them, or provisioned already."""
    made = up(_PROJECT, _WISH)
    yield LabAtHand(_PROJECT, made.inventory, tuple(member.name for member in made.members))
    if os.environ.get("PERFCTL_TEST_KEEP_LAB") != "1":
        down(_PROJECT, _WISH.name)


@pytest.fixture(scope="session")
def provisioned_lab(lab: LabAtHand) -> LabAtHand:
    """Return the lab after `perfctl provision`."""
    done = lab.perfctl("provision", timeout_s=_PROVISION_TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return lab
