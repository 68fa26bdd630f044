"""Run the checks that need no lab on Debian 13 with its Python 3.13 (make unit-trixie).

    python -m tests.trixie

mmdebstrap makes a minimal Debian 13 from this machine's own mirror, the Docker Engine runs it as a container
with a copy of the checkout, and `make` does there what it does on a new machine. Container and image are
removed at the end.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from perfctl.lab.engine import LabEngine, needs_sudo
from perfctl.lab.machine import debian_archive
from perfctl.shell.command import Elevation
from perfctl.shell.local import LocalShell

_REPOSITORY = Path(__file__).resolve().parents[1]
_SUITE = "trixie"
_NAME = f"perfctl-{_SUITE}-{os.getpid()}"
_CHECKOUT = "/checkout"
_CHECKS = (
    ("make", "venv"),
    ("make", "unit"),
    ("make", "lint"),
    (".venv/bin/python", "-m", "pytest", "tests/wheel"),
)
_TIMEOUT_S = 1800
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")


def main() -> int:
    """Run the checks and return the exit code of the first that fails, else 0."""
    if not LabEngine().answers():
        print("no Docker LabEngine answers; `perfctl lab up` starts one", file=sys.stderr)
        return 1
    with _image(), _container():
        for argv in _CHECKS:
            done = subprocess.run(
                ["docker", "exec", "--workdir", _CHECKOUT, _NAME, *argv], timeout=_TIMEOUT_S, check=False
            )
            if done.returncode:
                return done.returncode
    return 0


@contextmanager
def _image() -> Iterator[None]:
    archive = debian_archive(LocalShell(elevation=Elevation(become=needs_sudo()))).of(_SUITE)
    # /tmp may be mounted noexec, and a root file system is no use there.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        tar = f"{folder}/base.tar"
        options = ["--quiet", "--variant=minbase", "--include=ca-certificates,make"]
        keyring = "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg"
        _run(["mmdebstrap", *options, keyring, _SUITE, tar, *archive.sources], {"TMPDIR": folder})
        _run(["docker", "import", tar, _NAME])
    try:
        yield
    finally:
        _run(["docker", "image", "rm", _NAME])


@contextmanager
def _container() -> Iterator[None]:
    variables = {name: os.environ[name] for name in _PROXIES if name in os.environ} | _pip_variables()
    options: list[str] = []
    for name, value in variables.items():
        if Path(value).is_file():
            # Certificates and constraints. Not at their own path: packages are installed over it.
            variables[name] = f"/machine{value}"
            options.append(f"--volume={value}:/machine{value}:ro")
    # Without their values, which would be in the list of processes.
    options += [f"--env={name}" for name in variables]
    # One that is left over, since we were killed, ends and is removed by itself.
    _run(
        ["docker", "run", "--detach", "--rm", "--init", "--name", _NAME, *options, _NAME, "sleep", "2h"],
        variables,
    )
    try:
        _copy_checkout()
        yield
    finally:
        _run(["docker", "rm", "--force", _NAME])


def _pip_variables() -> dict[str, str]:
    """Return this machine's pip settings as environment variables, which win over files here, too."""
    listed = _run([sys.executable, "-m", "pip", "config", "list"]).splitlines()
    variables = {}
    for section in ("global.", "install.", ":env:."):
        for line in listed:
            if line.startswith(section):
                name, _, quoted = line.removeprefix(section).partition("=")
                value = " ".join(filter(_is_reached, ast.literal_eval(quoted).split()))
                variables[f"PIP_{name.replace('-', '_').upper()}"] = value
    return {name: value for name, value in variables.items() if value}


def _is_reached(word: str) -> bool:
    """Return whether a word of a setting means something in the container: folders of packages do not."""
    return not word.startswith(("/", "file:")) or Path(word).is_file()


def _copy_checkout() -> None:
    """Copy what Git knows or would add: no .venv, no .state, no caches."""
    listed = _run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for name in filter(None, listed.split("\0")):
                if (_REPOSITORY / name).exists():
                    tar.add(_REPOSITORY / name, f"{_CHECKOUT}/{name}", filter=_owned_by_root)
        file.seek(0)
        subprocess.run(["docker", "cp", "-", f"{_NAME}:/"], stdin=file, timeout=_TIMEOUT_S, check=True)


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def _run(argv: Sequence[str], variables: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        argv,
        cwd=_REPOSITORY,
        env=os.environ | (variables or {}),
        stdout=subprocess.PIPE,
        text=True,
        timeout=_TIMEOUT_S,
        check=True,
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
