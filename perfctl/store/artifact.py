"""Raw bytes, kept once per content: zstd-compressed, by the sha256 of the uncompressed bytes."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass

import zstandard
from sqlalchemy import Connection, select

from perfctl.errors import DataError
from perfctl.store import tables as db


@dataclass(frozen=True, slots=True)
class Artifact:
    """Compressed bytes, ready to be stored."""

    sha256: str
    size_bytes: int
    content: bytes


_COMPRESSOR, _TURN = zstandard.ZstdCompressor(), threading.Lock()
"""One for all threads in turn: to make one takes longer than a short output, and each has a megabyte."""


def pack(data: bytes) -> Artifact | None:
    """Return `data` as it is stored, None for no bytes at all."""
    if not data:
        return None
    with _TURN:
        content = _COMPRESSOR.compress(data)
    return Artifact(hashlib.sha256(data).hexdigest(), len(data), content)


def unpack(sha256: str, size_bytes: int, content: bytes) -> bytes:
    """Return the bytes as they were. Raises DataError when they were pruned or do not match their hash."""
    if not content:
        raise DataError(f"the raw output {sha256} was pruned", hint="a backup from before still has it")
    try:
        data = zstandard.decompress(content, max_output_size=size_bytes)
    except zstandard.ZstdError as error:
        raise DataError(f"the artifact {sha256} cannot be unpacked: {error}") from error
    if len(data) != size_bytes or hashlib.sha256(data).hexdigest() != sha256:
        raise DataError(f"the artifact {sha256} is damaged: its content has another hash")
    return data


def read(connection: Connection, sha256: str) -> bytes:
    """Return the bytes with this hash. Raises DataError when there are none or they are damaged."""
    kept = db.artifact.c
    row = connection.execute(select(kept.size_bytes, kept.content).where(kept.sha256 == sha256)).first()
    if row is None:
        raise DataError(f"there is no artifact {sha256}")
    return unpack(sha256, *row)
