"""Where things are: flag > PERFCTL_* > ./perfctl.toml > the user's config > default."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfctl.errors import UsageError

_KEYS = {"inventory": list, "db": str}


@dataclass(frozen=True, slots=True)
class Settings:
    """What every command needs to know. `inventory` is empty when the default one is meant."""

    project_dir: Path
    inventory: tuple[str, ...]
    database_url: str
    debug: bool = False


def load_settings(
    project_dir: Path = Path(),
    *,
    inventory: Sequence[str] = (),
    database: str | None = None,
    debug: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Return the settings in force. Raises UsageError for a config file that cannot be read."""
    project_dir = project_dir.absolute()
    files = [project_dir / "perfctl.toml", _config_home(environ) / "perfctl" / "config.toml"]
    configured: dict[str, Any] = {}
    for path in reversed(files):
        configured |= _read(path)
    if not inventory and environ.get("PERFCTL_INVENTORY"):
        inventory = environ["PERFCTL_INVENTORY"].split(os.pathsep)
    if not inventory:
        inventory = [str(project_dir / item) for item in configured.get("inventory", [])]
    url = (
        database
        or environ.get("PERFCTL_DB_URL")
        or configured.get("db")
        or _default_database(project_dir, environ)
    )
    return Settings(project_dir, tuple(inventory), url, debug)


def _config_home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def _default_database(project_dir: Path, environ: Mapping[str, str]) -> str:
    """A project folder keeps its own database; anywhere else the user's data folder does."""
    own = project_dir / "results.db"
    if own.exists() or (project_dir / "perfctl.toml").exists():
        return str(own)
    data_home = Path(environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return str(data_home / "perfctl" / "results.db")


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    import tomllib

    try:
        content = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read the configuration: {error}", where=str(path)) from error
    for key, value in content.items():
        if key not in _KEYS or not isinstance(value, _KEYS[key]):
            allowed = ", ".join(f"{name} ({kind.__name__})" for name, kind in _KEYS.items())
            raise UsageError(
                f"wrong key or type: {key} = {value!r}", where=str(path), hint=f"allowed: {allowed}"
            )
    if "db" in content and "://" not in content["db"]:
        content["db"] = str(path.parent / content["db"])
    return content
