"""Where things are: flag > PERFCTL_* > ./perfctl.toml > the user's config > default."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfctl.cli.configuration import read_configuration
from perfctl.errors import UsageError

_NO_INVENTORIES = ("group_vars", "host_vars", "example")
_INVENTORY_SUFFIXES = ("", ".ini", ".yml", ".yaml", ".json", ".toml", ".py", ".sh")


@dataclass(frozen=True, slots=True)
class Settings:
    """What every command needs to know."""

    project_dir: Path
    named_inventory: tuple[str, ...]
    """What -i, PERFCTL_INVENTORY or a configuration names; empty: nothing."""
    database_url: str
    """It may have a password: `str(location_of(url))` is what to show."""
    debug: bool = False
    db_patience_s: float = 300.0
    progress: str | None = None
    """The style of progress that was asked for; None: whatever suits stderr."""
    has_shared_database: bool = False
    """Whether the database is the user's own default, because the folder is no project."""

    @property
    def inventory(self) -> tuple[str, ...]:
        """The inventory to use: the one that is named, else the project's; empty: this machine alone.

        Raises UsageError when the project has several.
        """
        if self.named_inventory:
            return self.named_inventory
        found = _inventories(self.project_dir / "inventory")
        if len(found) > 1:
            names = ", ".join(str(path) for path in found)
            raise UsageError(
                "the project has several inventories, and none is named",
                where=str(self.project_dir / "inventory"),
                hint=f"-i with one of: {names}; or in perfctl.toml: inventory = [...]",
            )
        return tuple(map(str, found))


def load_settings(
    project_dir: Path = Path(),
    *,
    inventory: Sequence[str] = (),
    database: str | None = None,
    debug: bool = False,
    db_patience_s: float = 300.0,
    progress: str | None = None,
    is_quiet: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Return the settings in force. Raises UsageError for a config file that cannot be read."""
    project_dir = project_dir.absolute()
    if not project_dir.is_dir():
        raise UsageError("there is no such project folder", where=str(project_dir), hint="make it first")
    files = [project_dir / "perfctl.toml", _config_home(environ) / "perfctl" / "config.toml"]
    configured: dict[str, Any] = {}
    for path in reversed(files):
        configured |= read_configuration(path)
    if not inventory and environ.get("PERFCTL_INVENTORY"):
        inventory = environ["PERFCTL_INVENTORY"].split(os.pathsep)
    if not inventory:
        inventory = [str(project_dir / item) for item in configured.get("inventory", [])]
    for text, place in ((database, "--db"), (configured.get("db"), "perfctl.toml")):
        if text and "://" in text:
            from perfctl.store import refuse_password

            refuse_password(text, place)
    url = database or environ.get("PERFCTL_DB_URL") or configured.get("db")
    is_project = (project_dir / "results.db").exists() or (project_dir / "perfctl.toml").exists()
    return Settings(
        project_dir,
        tuple(inventory),
        url or (str(project_dir / "results.db") if is_project else _shared_database(environ)),
        debug,
        db_patience_s,
        "quiet" if is_quiet else progress or environ.get("PERFCTL_PROGRESS") or None,
        has_shared_database=not (url or is_project),
    )


def _inventories(place: Path) -> list[Path]:
    """Return the inventories in a project's folder, or the file of that name."""
    if not place.is_dir():
        return [place] if place.is_file() else []
    return [
        path
        for path in sorted(place.iterdir())
        if path.name not in _NO_INVENTORIES
        and not path.name.startswith(".")
        and (path.is_dir() or path.suffix in _INVENTORY_SUFFIXES)
    ]


def _config_home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def _shared_database(environ: Mapping[str, str]) -> str:
    """A project folder keeps its own database; for all others there is one in the user's data folder."""
    data_home = Path(environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return str(data_home / "perfctl" / "results.db")
