"""Keys: UUIDv7 for what happens once, content hashes for what is the same everywhere."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import os
import time
import uuid
from functools import lru_cache
from pathlib import Path
from typing import Any


def new_id() -> str:
    """Return a UUIDv7 (RFC 9562, 5.7) as text: sorts by creation time, so indexes grow at their end."""
    unix_ms = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (unix_ms & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | (random >> 62 & 0xFFF) << 64
    value |= 0b10 << 62 | random & ((1 << 62) - 1)
    return str(uuid.UUID(int=value))


_AS_THEY_ARE = frozenset({str, int, float, bool, type(None)})


@lru_cache(maxsize=1024)
def _field_names(kind: type) -> tuple[str, ...] | None:
    """Return the names of a dataclass's fields, None for any other class."""
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


def _plain(value: Any) -> Any:
    if type(value) in _AS_THEY_ARE:
        return value
    kind: Any = type(value)
    names = _field_names(kind)
    if names is not None:
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(_plain(item) for item in value)
    if isinstance(value, Path):
        return str(value)
    return value


def is_deeper(value: Any, levels: int) -> bool:
    """Return whether lists and mappings are nested in each other more than `levels` deep.

    Whatever goes through a value by recursion relies on it: Python's own limit is no error of a user's.
    """
    inner: list[Any] = [[value]]
    for _ in range(levels + 1):
        items = (item for one in inner for item in (one.values() if isinstance(one, dict) else one))
        inner = [item for item in items if isinstance(item, (dict, list))]
        if not inner:
            return False
    return True


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def canonical_json(value: Any) -> str:
    """Return `value` (dataclasses, enums, dicts, lists) as JSON with sorted keys and no spaces."""
    text = _ENCODER.encode(_plain(value))
    # Bytes of a path that are no UTF-8 are lone surrogates, which only an escape can carry.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def content_hash(value: Any) -> str:
    """Return the sha256 (hex) of `canonical_json(value)`: the same content has the same key anywhere."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
