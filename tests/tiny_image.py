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
_PASSWD = "root:x:0:0:root:/root:/bin/sh\n"
RELEASE = "ID=tiny\n"
"""Its os-release, at the end of a link from the root."""


@functools.cache
def tiny_image(programs: tuple[str, ...] = _PROGRAMS) -> str:
    """Return the tag of the image, made now when this machine's engine does not have it."""
    content = f"{' '.join(programs)} {RELEASE}"
    tag = f"perfctl-test/tiny:{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    known = subprocess.run(["docker", "image", "inspect", tag], capture_output=True, timeout=60, check=False)
    if known.returncode != 0:
        subprocess.run(
            ["docker", "import", "--change", "ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin", "-", tag],
            input=_archive(programs),
            capture_output=True,
            timeout=120,
            check=True,
        )
    return tag


def _archive(programs: tuple[str, ...]) -> bytes:
    """Return a tar of the root file system."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in ("tmp", "proc", "sys", "dev", "etc", "root", "bin", "usr", "usr/bin", "usr/lib"):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        _add(tar, "etc/passwd", _PASSWD.encode(), 0o644)
        _add(tar, "usr/lib/os-release", RELEASE.encode(), 0o644)
        link = tarfile.TarInfo("etc/os-release")
        link.type, link.linkname = tarfile.SYMTYPE, "/usr/lib/os-release"
        tar.addfile(link)
        libraries: set[str] = set()
        for program in programs:
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
