"""Read a configuration file: ./perfctl.toml or the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from perfctl.errors import UsageError

_KEYS = {"inventory": list, "db": str}


def read_configuration(path: Path) -> dict[str, Any]:
    """Return what a file says, its database as a path; nothing where there is none. Raises UsageError."""
    if not path.exists():
        return {}
    import tomllib

    try:
        content = tomllib.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read the configuration: {error}", where=str(path)) from error
    for key, value in content.items():
        if key not in _KEYS or not isinstance(value, _KEYS[key]):
            allowed = ", ".join(f"{name} ({kind.__name__})" for name, kind in _KEYS.items())
            raise UsageError(
                f"wrong key, or a wrong type of its value: {key}", where=str(path), hint=f"allowed: {allowed}"
            )
    if "db" in content and "://" not in content["db"]:
        content["db"] = str(path.parent / content["db"])
    return content
