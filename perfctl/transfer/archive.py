"""One file with named parts, a manifest of their hashes, and at its end a hash of all that is before it.

The file is a zip archive, the manifest is what `sha256sum --check` reads. So it can be taken apart and
checked without perfctl, and a byte that changed is found wherever it is.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, BinaryIO
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

from perfctl.errors import DataError, UsageError

MANIFEST, SIGNATURE = "MANIFEST", "MANIFEST.sig"
_LINE = re.compile(r"([0-9a-f]{64})  (\S+)")
_SEAL_BYTES = 64
"""The hash stands at the end of the file, as the comment of the archive."""
_CHUNK_BYTES = 1 << 20
_OLDEST = (1980, 1, 1, 0, 0, 0)
"""No part has a time, so that the same parts make the same file."""
_DAMAGES = (BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError)
"""What zipfile raises for bytes that are not as they were."""


def require_free(path: Path, *, force: bool) -> None:
    """Raise UsageError when a file exists that nobody wants to replace."""
    if path.exists() and not force:
        raise UsageError("this file exists", where=str(path), hint="name another one, or --force")


def write_archive(
    path: Path,
    parts: Iterable[tuple[str, Iterable[bytes]]],
    *,
    force: bool,
    sign: Callable[[bytes], bytes] | None,
) -> None:
    """Write a file of parts, aside, and then give it its name; `sign` returns the signature of a manifest.

    Raises like `require_free`, and DataError when it cannot be written.
    """
    unfinished = None
    try:
        descriptor, unfinished = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "w+b") as file:
            with ZipFile(file, "w", ZIP_DEFLATED) as archive:
                manifest = "".join(_write_part(archive, *part) for part in parts).encode()
                _write_part(archive, MANIFEST, [manifest])
                if sign is not None:
                    _write_part(archive, SIGNATURE, [sign(manifest)])
                archive.comment = b"0" * _SEAL_BYTES
            seal = _hash_of_rest(file)
            file.seek(-_SEAL_BYTES, os.SEEK_END)
            file.write(seal)
            file.flush()
            os.fsync(file.fileno())
        require_free(path, force=force)
        Path(unfinished).rename(path)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror}", where=str(path)) from error
    finally:
        if unfinished is not None:
            Path(unfinished).unlink(missing_ok=True)


def _write_part(archive: ZipFile, name: str, chunks: Iterable[bytes]) -> str:
    """Write a part and return its line of the manifest."""
    info = ZipInfo(name, _OLDEST)
    info.compress_type = ZIP_DEFLATED
    info.external_attr = 0o600 << 16
    digest = hashlib.sha256()
    with archive.open(info, "w", force_zip64=True) as part:
        for chunk in chunks:
            digest.update(chunk)
            part.write(chunk)
    return f"{digest.hexdigest()}  {name}\n"


class Archive:
    """A file of parts that is read. Whoever uses the parts asks for `problems` first."""

    def __init__(self, path: Path) -> None:
        """Open it. Raises DataError for a file that is none, that was cut, or that cannot be read."""
        self.path = path
        try:
            self._zip = ZipFile(path)
        except _DAMAGES as error:
            text = error.strerror if isinstance(error, OSError) else "it is none, or its end is missing"
            hint = "copy it once more from where it was made"
            raise DataError(f"no bundle can be read: {text}", where=str(path), hint=hint) from error
        self.names = self._zip.namelist()
        """The parts, manifest and signature included, in their order."""

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of a part. Raises DataError, which names it, when it is damaged or not there."""
        try:
            with self._zip.open(name) as part:
                while chunk := part.read(_CHUNK_BYTES):
                    yield chunk
        except (*_DAMAGES, KeyError) as error:
            raise DataError(f"{name} is damaged or missing", where=str(self.path)) from error

    def content(self, name: str) -> bytes:
        """Return the bytes of a part. Raises DataError like `chunks`."""
        return b"".join(self.chunks(name))

    def lines(self, name: str) -> IO[bytes]:
        """Return the lines of a part, with their ends. For one without problems."""
        return self._zip.open(name)

    def problems(self) -> list[str]:
        """Return what is not as it was written, each with the name of the part; [] when all is well."""
        try:
            manifest = self._manifest()
        except DataError as error:
            return [error.message]
        others = Counter(self.names) - Counter([*manifest, MANIFEST, SIGNATURE])
        found = [f"{name} is not in the manifest" for name in others]
        for name, wanted in manifest.items():
            digest = hashlib.sha256()
            try:
                for chunk in self.chunks(name):
                    digest.update(chunk)
                if digest.hexdigest() != wanted:
                    found.append(f"{name} was changed: its content has another hash than in the manifest")
            except DataError as error:
                found.append(error.message)
        with self.path.open("rb") as file:
            if not found and _hash_of_rest(file) != self._zip.comment:
                found.append("a byte outside of all parts was changed")
        return found

    def _manifest(self) -> Mapping[str, str]:
        """Return the hash of each part by its name."""
        text = self.content(MANIFEST)
        lines = [_LINE.fullmatch(line.decode("ascii", "replace")) for line in text.splitlines()]
        if None in lines or not lines:
            raise DataError(f"{MANIFEST} is damaged", where=str(self.path))
        return {line[2]: line[1] for line in lines if line is not None}


def _hash_of_rest(file: BinaryIO) -> bytes:
    """Return the hash, in hexadecimal digits, of all bytes of a file but its last ones."""
    left = file.seek(0, os.SEEK_END) - _SEAL_BYTES
    file.seek(0)
    digest = hashlib.sha256()
    while left > 0 and (chunk := file.read(min(left, _CHUNK_BYTES))):
        digest.update(chunk)
        left -= len(chunk)
    return digest.hexdigest().encode()
