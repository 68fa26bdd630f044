"""Compare a host's key with the known_hosts files of sshd(8), read strictly."""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import hmac
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from perfctl.errors import HostKeyMismatch
from perfctl.ssh.config import SshSettings


class KeyState(Enum):
    """Whether the files have a key."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: a host, and a key that it has."""

    source: Path
    line: int
    marker: str
    patterns: tuple[str, ...]
    key_type: str
    key: bytes

    def names(self, host: str) -> bool:
        """Return whether the line is about `host` (a name, or `[name]:port`)."""
        named = False
        for pattern in self.patterns:
            if pattern.startswith("|1|"):
                named = named or _hash_matches(pattern, host)
            elif pattern.startswith("!"):
                if _matches(pattern[1:], host):
                    return False
            else:
                named = named or _matches(pattern, host)
        return named


def read_entries(files: Iterable[Path]) -> list[Entry]:
    """Return the lines of all files that exist, in order; unreadable lines are passed over, as ssh does."""
    entries = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            entry = _parse_line(path, number, line)
            if entry is not None:
                entries.append(entry)
    return entries


def known_key_types(settings: SshSettings) -> list[str]:
    """Return the types of the host's known keys; a server that is offered these first shows one of them."""
    entries = read_entries((*settings.user_known_hosts, *settings.global_known_hosts))
    return [entry.key_type for entry in entries if not entry.marker and entry.names(settings.known_as)]


def find_key(entries: Sequence[Entry], host: str, key_type: str, key: bytes) -> tuple[KeyState, Entry | None]:
    """Return whether a key is known, and the line that decides it."""
    mine = [entry for entry in entries if entry.names(host)]
    for entry in mine:
        if entry.marker == "@revoked" and entry.key == key:
            return KeyState.REVOKED, entry
    plain = [entry for entry in mine if not entry.marker]
    for entry in plain:
        if entry.key == key:
            return KeyState.KNOWN, entry
    if plain:
        same_type = [entry for entry in plain if entry.key_type == key_type]
        return KeyState.CHANGED, (same_type or plain)[0]
    return KeyState.UNKNOWN, None


def check_host_key(settings: SshSettings, key_type: str, key: bytes) -> None:
    """Raise HostKeyMismatch unless the key is known.

    A new key is accepted, and noted in the first user file, only where the user's own configuration has
    `StrictHostKeyChecking accept-new` or `no`; a changed one only with `no`.
    """
    entries = read_entries((*settings.user_known_hosts, *settings.global_known_hosts))
    state, entry = find_key(entries, settings.known_as, key_type, key)
    if state is KeyState.KNOWN:
        return
    if state is KeyState.UNKNOWN:
        if settings.strict == "yes":
            raise _unknown(settings, key_type, key)
        _remember(settings, key_type, key)
        return
    if state is KeyState.CHANGED and settings.strict == "no":
        return
    assert entry is not None  # only UNKNOWN comes without a line
    raise _mismatch(settings, state, entry, key_type, key)


def sha256_fingerprint(key: bytes) -> str:
    """Return the fingerprint as ssh-keygen prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def _unknown(settings: SshSettings, key_type: str, key: bytes) -> HostKeyMismatch:
    file = _own_file(settings)
    if file is None:
        hint = "no file could list it: set UserKnownHostsFile in ssh_config or ansible_ssh_common_args"
    else:
        hint = f"compare the fingerprint, then: {_listing_command(settings, key_type, key, file)}"
    return HostKeyMismatch(
        f"its host key is not known ({key_type} {sha256_fingerprint(key)})", where=settings.name, hint=hint
    )


def _own_file(settings: SshSettings) -> Path | None:
    return next((path for path in settings.user_known_hosts if path != Path(os.devnull)), None)


def _listing_command(settings: SshSettings, key_type: str, key: bytes, file: Path) -> str:
    """Return the command that lists the host in a file, under the name by which it is looked for.

    ssh-keyscan goes through no jump host and knows no HostKeyAlias: there, the line itself is written.
    """
    into = shlex.quote(str(file))
    if settings.way or settings.host_key_alias:
        return f"echo {shlex.quote(_line(settings, key_type, key))} >> {into}"
    return f"ssh-keyscan -p {settings.port} {settings.hostname} >> {into}"


def _line(settings: SshSettings, key_type: str, key: bytes) -> str:
    return f"{settings.known_as} {key_type} {base64.b64encode(key).decode()}"


def _mismatch(
    settings: SshSettings, state: KeyState, entry: Entry, key_type: str, key: bytes
) -> HostKeyMismatch:
    fingerprint = f"{key_type} {sha256_fingerprint(key)}"
    if state is KeyState.REVOKED:
        return HostKeyMismatch(
            f"its host key is revoked by {entry.source}:{entry.line} ({fingerprint})", where=settings.name
        )
    source = shlex.quote(str(entry.source))
    return HostKeyMismatch(
        f"it shows another host key than {entry.source}:{entry.line} has ({fingerprint}): "
        "it was installed anew, or someone is in between",
        where=settings.name,
        hint=f"if it is the right machine: ssh-keygen -R '{settings.known_as}' -f {source} && "
        + _listing_command(settings, key_type, key, entry.source),
    )


def _remember(settings: SshSettings, key_type: str, key: bytes) -> None:
    if not settings.user_known_hosts:
        return
    file = settings.user_known_hosts[0]
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as stream:
            stream.write(f"{_line(settings, key_type, key)}\n")
    except OSError as error:
        raise HostKeyMismatch(
            f"its new host key cannot be noted in {file}: {error.strerror}", where=settings.name
        ) from error


def _parse_line(path: Path, number: int, line: str) -> Entry | None:
    fields = line.split()
    if not fields or fields[0].startswith("#"):
        return None
    marker = fields.pop(0) if fields[0].startswith("@") else ""
    if len(fields) < 3:
        return None
    try:
        key = base64.b64decode(fields[2], validate=True)
    except ValueError:
        return None
    return Entry(path, number, marker, tuple(fields[0].split(",")), fields[1], key)


def _matches(pattern: str, host: str) -> bool:
    # Only * and ? are special in known_hosts; fnmatch would also read the brackets of [host]:port.
    return fnmatch.fnmatchcase(host, pattern.lower().replace("[", "[[]"))


def _hash_matches(pattern: str, host: str) -> bool:
    try:
        _, _, salt, digest = pattern.split("|", 3)
        wanted = base64.b64decode(digest)
        found = hmac.new(base64.b64decode(salt), host.encode(), hashlib.sha1).digest()
    except ValueError:
        # Not of three parts, no base64.
        return False
    return hmac.compare_digest(wanted, found)
