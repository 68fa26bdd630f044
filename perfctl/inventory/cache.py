"""Cache the listing of an inventory until something that it was made from changes."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from perfctl.redaction import is_secret_name

_STATIC_SUFFIXES = ("", ".ini", ".yml", ".yaml", ".json")
_MAX_FILES = 2000
_MAX_FILE_BYTES = 4 << 20
_MAX_LISTINGS = 32
# What may hold or fetch a secret, or make the listing depend on more than the files read here.
_DYNAMIC = re.compile(rb"(?m)^\s*plugin\s*:|!vault|\$ANSIBLE_VAULT")
_DYNAMIC_SETTINGS = re.compile(r"plugins|vault|^\s*inventory\s*=", re.MULTILINE)


class _NotStaticError(Exception):
    """The listing depends on something that cannot be compared."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The two outputs of ansible-inventory."""

    stdout: str
    stderr: str


def key_for(program: str, arguments: Sequence[str], sources: Sequence[str]) -> str | None:
    """Return the cache key of a listing as it would be now; None when it must not be cached."""
    digest = hashlib.sha256()
    try:
        version = importlib.metadata.version("ansible-core")
        settings = {name: value for name, value in os.environ.items() if name.startswith("ANSIBLE_")}
        parts = [version, program, str(Path.cwd()), *arguments, json.dumps(settings, sort_keys=True)]
        digest.update("\0".join(parts).encode("utf-8", "surrogateescape"))
        for path in (*_settings_files(), *_files(sources)):
            _add(digest, path)
    except (_NotStaticError, OSError, importlib.metadata.PackageNotFoundError):
        return None
    return digest.hexdigest()


def load(key: str) -> Kept | None:
    """Return a cached listing, or None."""
    try:
        content = json.loads((_folder() / f"{key}.json").read_text(encoding="utf-8"))
        kept = Kept(content["stdout"], content["stderr"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return kept if isinstance(kept.stdout, str) and isinstance(kept.stderr, str) else None


def save(key: str, kept: Kept) -> None:
    """Cache a listing, readable by the user alone. A cache that cannot be written is no error."""
    folder = _folder()
    content = json.dumps({"stdout": kept.stdout, "stderr": kept.stderr})
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as stream:
            stream.write(content)
        Path(stream.name).replace(folder / f"{key}.json")
        _prune(folder)


def has_secret(value: Any) -> bool:
    """Return whether a listing holds a variable that is named like a secret, at any depth."""
    if isinstance(value, Mapping):
        return any(is_secret_name(str(key)) or has_secret(item) for key, item in value.items())
    if isinstance(value, list):
        return any(has_secret(item) for item in value)
    return False


def _folder() -> Path:
    return platformdirs.user_cache_path("perfctl") / "inventory"


def _prune(folder: Path) -> None:
    listings = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in listings[_MAX_LISTINGS:]:
        path.unlink(missing_ok=True)


def _add(digest: Any, path: Path) -> None:
    status = path.stat()
    if status.st_size > _MAX_FILE_BYTES:
        raise _NotStaticError
    content = path.read_bytes()
    if _DYNAMIC.search(content):
        raise _NotStaticError
    digest.update(f"\0{path}\0{status.st_mtime_ns}\0{len(content)}\0".encode("utf-8", "surrogateescape"))
    digest.update(content)


def settings_file(environ: Mapping[str, str]) -> Path | None:
    """Return the ansible.cfg that counts, None where there is none."""
    named = environ.get("ANSIBLE_CONFIG")
    candidates = [Path(named).expanduser(), Path(named).expanduser() / "ansible.cfg"] if named else []
    candidates += [Path("ansible.cfg"), Path.home() / ".ansible.cfg", Path("/etc/ansible/ansible.cfg")]
    return next((path for path in candidates if path.is_file()), None)


def _settings_files() -> Iterator[Path]:
    """Yield the ansible.cfg that counts. Raises _NotStaticError when it brings in plugins."""
    path = settings_file(os.environ)
    if path is not None:
        if _DYNAMIC_SETTINGS.search(path.read_text(encoding="utf-8", errors="replace")):
            raise _NotStaticError
        yield path


def _files(sources: Sequence[str]) -> list[Path]:
    """Return every file that the listing is made from. Raises _NotStaticError."""
    files: list[Path] = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            files += _below(path)
        elif path.is_file():
            files += [path, *_below(path.parent / "group_vars"), *_below(path.parent / "host_vars")]
        else:
            raise _NotStaticError
    for path in files:
        is_program = os.access(path, os.X_OK)
        if is_program or path.suffix not in _STATIC_SUFFIXES:
            raise _NotStaticError
    if len(files) > _MAX_FILES:
        raise _NotStaticError
    return files


def _below(folder: Path) -> list[Path]:
    if not folder.is_dir():
        # group_vars may also be a single file: all.yml lies in a folder, `group_vars` itself never is one.
        return []
    return sorted(path for path in folder.rglob("*") if path.is_file())
