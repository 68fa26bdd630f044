"""The files of a new project folder, with comments, and how to begin where there is none."""

from __future__ import annotations

from pathlib import Path

from perfctl.errors import UsageError
from perfctl.render.files import write_new

FILES = {
    "perfctl.toml": "perfctl.toml",
    "inventory/hosts.yml": "hosts.yml",
    "suites/example.toml": "example.toml",
    ".gitignore": "gitignore",
}
"""Path in a project -> name in files/ beside this module."""

_PARTS = ("perfctl.toml", "results.db", "inventory", "suites")
"""By any of them perfctl knows a project."""


def first_steps(folder: Path) -> str:
    """Return how to start in a folder that has nothing of a project, '' for any other."""
    return "" if any((folder / part).exists() for part in _PARTS) else _text("start.txt")


def write_project(folder: Path) -> dict[Path, bool]:
    """Write the files of a project that are not there; return each path, and whether it was written.

    Folders are made as needed. Raises UsageError where something cannot be written.
    """
    found = {}
    for place, name in FILES.items():
        path = folder / place
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"the folder cannot be made: {error.strerror}", where=str(path.parent)
            ) from error
        found[path] = not path.exists()
        if found[path]:
            write_new(path, _text(name).encode())
    return found


def _text(name: str) -> str:
    return (Path(__file__).parent / "files" / name).read_text(encoding="utf-8")
