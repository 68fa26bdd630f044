"""Raw bytes, kept once per content: zstd-compressed, by the sha256 of the uncompressed bytes."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass

import zstandard

from perfctl.errors import DataError


@dataclass(frozen=True, slots=True)
class Artifact:
    """Compressed bytes, ready to be stored."""

    sha256: str
    size_bytes: int
    content: bytes


def pack(data: bytes) -> Artifact | None:
    """Return `data` as it is stored, None for no bytes at all."""
    if not data:
        return None
    return Artifact(hashlib.sha256(data).hexdigest(), len(data), zstandard.compress(data))


def unpack(sha256: str, size_bytes: int, content: bytes) -> bytes:
    """Return the bytes as they were. Raises DataError when they do not match their hash."""
    try:
        data = zstandard.decompress(content, max_output_size=size_bytes)
    except zstandard.ZstdError as error:
        raise DataError(f"the artifact {sha256} cannot be unpacked: {error}") from error
    if len(data) != size_bytes or hashlib.sha256(data).hexdigest() != sha256:
        raise DataError(f"the artifact {sha256} is damaged: its content has another hash")
    return data


def insert(connection: sqlite3.Connection, artifact: Artifact | None) -> str | None:
    """Store it unless it is there, and return its key."""
    if artifact is None:
        return None
    connection.execute(
        "INSERT INTO artifact (sha256, size_bytes, content) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (artifact.sha256, artifact.size_bytes, artifact.content),
    )
    return artifact.sha256


def read(connection: sqlite3.Connection, sha256: str) -> bytes:
    """Return the bytes with this hash. Raises DataError when there are none or they are damaged."""
    row = connection.execute(
        "SELECT size_bytes, content FROM artifact WHERE sha256 = ?", (sha256,)
    ).fetchone()
    if row is None:
        raise DataError(f"there is no artifact {sha256}")
    return unpack(sha256, *row)
