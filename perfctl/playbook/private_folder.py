"""Folders for one run of Ansible: for the user alone, in memory where that is possible, gone in the end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "perfctl-playbook-"
_LOCK = "in-use"
_MEMORY = Path("/dev/shm")


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """Yield a new folder that only the user can read; remove it at the end whatever happens.

    Those of processes that were killed are removed first.
    """
    remove_stale_folders()
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_parent()))
    try:
        # Held as long as this process lives, and by no child of it; it has its name only when it is held.
        with (path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (path / "lock").rename(path / _LOCK)
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def remove_stale_folders() -> None:
    """Remove the user's folders whose process has ended."""
    for path in _parent().glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if path.is_symlink() or path.stat().st_uid != os.geteuid():
                continue
            with (path / _LOCK).open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)


def _parent() -> Path:
    in_memory = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK)
    return _MEMORY if in_memory else Path(tempfile.gettempdir())


@contextlib.contextmanager
def never_on_disk(path: Path) -> Iterator[None]:
    """Have what is written to `path` meanwhile end in memory of this process that has no name.

    ansible-runner writes its whole environment to a file, and has no option that forbids it.
    """
    descriptor = os.memfd_create("perfctl")
    try:
        path.symlink_to(f"/proc/self/fd/{descriptor}")
        yield
    finally:
        os.close(descriptor)
