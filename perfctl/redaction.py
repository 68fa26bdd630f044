"""Secrets that this process knows, and how text is printed or stored without them.

The inventory, the vault and the environment register what is secret; whatever prints or stores text calls
`redact`. Raw outputs of benchmarks are stored as they are: no secret is ever passed to a benchmark, and a
replaced digit would be a wrong value.
"""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from perfctl.errors import UsageError

SHORTEST = 6
"""Characters of the shortest value that is searched for; a shorter one would be found in other words, too."""

_SECRET_NAME = re.compile(r"pass|secret|token|credential", re.IGNORECASE)
_SECRET_ENVIRONMENT_NAME = re.compile(r"pass|secret|token|key|credential", re.IGNORECASE)

_lock = threading.Lock()
_names: dict[str, str] = {}
"""Every form of every secret -> the name of its variable."""
_pattern: re.Pattern[str] | None = None


def is_secret_name(name: str) -> bool:
    """Return whether a variable of an inventory is secret by its name."""
    return bool(_SECRET_NAME.search(name))


def register(name: str, value: object) -> None:
    """Have `redact` replace `value` from now on; anything but a text of `SHORTEST` characters is ignored."""
    global _pattern
    if not isinstance(value, str):
        return
    # A message may quote a text of several lines line by line.
    pieces = {value, *(piece.strip() for piece in (value, *value.splitlines()))}
    with _lock:
        for form in (form for piece in pieces if _is_searchable(piece) for form in _forms(piece)):
            _names.setdefault(form, name)
        _pattern = None


def environment_secret(name: str, value: str, *, where: str) -> str:
    """Return the value of an environment variable that perfctl uses, registered if its name is secret.

    Raises UsageError for a secret that is too short to be searched for.
    """
    if _SECRET_ENVIRONMENT_NAME.search(name):
        # A line end at its end is no part of it where it is printed.
        if value and len(value.strip()) < SHORTEST:
            raise UsageError(
                f"the environment variable {name} has fewer than {SHORTEST} characters: it could not be kept"
                " out of messages",
                where=where,
                hint="use a longer secret, or another variable if it is none",
            )
        register(name, value)
    return value


def register_environment(environ: Mapping[str, str]) -> None:
    """Register the environment variables that are secret by their names, but for paths that exist."""
    for name, value in environ.items():
        # SSH_ASKPASS, ANSIBLE_VAULT_PASSWORD_FILE: where a secret is, not the secret.
        if _SECRET_ENVIRONMENT_NAME.search(name) and not _is_path(value):
            register(name, value)


def redact(text: str) -> str:
    """Return `text` with '[hidden: NAME]' in place of every registered value."""
    if not _names:
        return text
    return (_pattern or _compiled()).sub(lambda found: f"[hidden: {_names[found[0]]}]", text)


def _compiled() -> re.Pattern[str]:
    global _pattern
    with _lock:
        if _pattern is None:
            _pattern = re.compile("|".join(map(re.escape, sorted(_names, key=len, reverse=True))))
        return _pattern


def redact_tree(value: Any) -> Any:
    """Return a value of lists and mappings with `redact` applied to every text in it."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: redact_tree(item) for key, item in value.items()}
    return [redact_tree(item) for item in value] if isinstance(value, (list, tuple)) else value


def texts_in(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield each text in a value of lists and mappings with the key that is nearest to it.

    A list or mapping that is there many times, by the aliases of YAML, comes once for each key.
    """
    ahead: list[tuple[str, Any]] = [(name, value)]
    seen: set[tuple[str, int]] = set()
    while ahead:
        name, value = ahead.pop()
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, (Mapping, list, tuple)) and (name, id(value)) not in seen:
            seen.add((name, id(value)))
            inner = value.items() if isinstance(value, Mapping) else ((name, item) for item in value)
            ahead += reversed([(str(key), item) for key, item in inner])


def _is_searchable(text: str) -> bool:
    return len(text) >= SHORTEST and not text.isspace()


def _forms(text: str) -> Iterable[str]:
    """Return a text as it is, and as Python, JSON and the shell quote it."""
    quoted = (repr(text)[1:-1], json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    return {text, *quoted, shlex.quote(text)}


def _is_path(value: str) -> bool:
    try:
        return value.startswith(("/", "~")) and Path(value).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False
