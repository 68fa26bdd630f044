"""Write what was rendered to a file: whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from perfctl.errors import UsageError


def write_new(path: Path, content: bytes, *, force: bool = False) -> int:
    """Write a file that is not there yet (with `force` one that may be) and return its size in bytes.

    It is written beside its place and renamed, so that there is never a half of it; of a link the file that
    it leads to is. Raises UsageError where the file exists, where a device or the like does, and where it
    cannot be written.
    """
    path = Path(os.path.realpath(path))
    try:
        if path.exists() and not path.is_file():
            # To be renamed onto /dev/stdout would be the end of it, for all programs.
            raise UsageError("it is no regular file", where=str(path), hint="-o FILE")
        if path.exists() and not force:
            raise UsageError("the file exists", where=str(path), hint="--force replaces it")
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            # A temporary file is for its owner alone; this one is as any other that is made here.
            Path(name).chmod(0o666 & ~_umask())
            # Two writers at once: without `force` the second must not replace what the first has made.
            if force:
                Path(name).replace(path)
            else:
                os.link(name, path)
        finally:
            Path(name).unlink(missing_ok=True)
    except FileExistsError as error:
        raise UsageError("the file exists", where=str(path), hint="--force replaces it") from error
    except OSError as error:
        raise UsageError(f"the file cannot be written: {error.strerror}", where=str(path)) from error
    return len(content)


def _umask() -> int:
    found = os.umask(0)
    os.umask(found)
    return found
