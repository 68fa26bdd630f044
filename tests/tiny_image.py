"""An image for tests without a registry or a build: programs of this machine and their libraries."""

from __future__ import annotations

import functools
import hashlib
import io
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

_PROGRAMS = (
    *(
        "sh",
        "cat",
        "chmod",
        "echo",
        "env",
        "false",
        "head",
        "ls",
        "mv",
        "rm",
        "sha256sum",
        "sleep",
        "stat",
        "true",
    ),
    *("awk", "grep", "sed", "getconf", "df", "dmesg", "seq", "nproc", "tail", "timeout", "wc"),
)
TAG = f"perfctl-test/tiny:{hashlib.sha256(' '.join(_PROGRAMS).encode()).hexdigest()[:12]}"
_PASSWD = "root:x:0:0:root:/root:/bin/sh\n"


@functools.cache
def tiny_image() -> str:
    """Return the tag of the image, made now when this machine's engine does not have it."""
    known = subprocess.run(["docker", "image", "inspect", TAG], capture_output=True, timeout=60, check=False)
    if known.returncode != 0:
        subprocess.run(
            ["docker", "import", "--change", "ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin", "-", TAG],
            input=_archive(),
            capture_output=True,
            timeout=120,
            check=True,
        )
    return TAG


def _archive() -> bytes:
    """Return a tar of the root file system."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in ("tmp", "proc", "sys", "dev", "etc", "root", "bin", "usr", "usr/bin"):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        _add(tar, "etc/passwd", _PASSWD.encode(), 0o644)
        libraries: set[str] = set()
        for program in _PROGRAMS:
            path = shutil.which(program, path="/bin:/usr/bin")
            assert path, f"this machine has no {program}"
            _add(tar, f"bin/{program}", Path(path).read_bytes(), 0o755)
            libraries |= _libraries(path)
        for library in sorted(libraries):
            _add(tar, library.lstrip("/"), Path(library).read_bytes(), 0o755)
    return buffer.getvalue()


def _libraries(program: str) -> set[str]:
    done = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=30, check=False)
    return set(re.findall(r"(/\S+) \(0x", done.stdout))


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    tar.addfile(info, io.BytesIO(content))
