"""The README's picture of the packages, held against the layers that import-linter checks."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "perfctl"


def contracts() -> list[dict[str, Any]]:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return list(settings)


def layers() -> list[list[str]]:
    """Return the rows of modules and packages, the highest first."""
    (found,) = (contract["layers"] for contract in contracts() if contract["type"] == "layers")
    return [layer.split(" | ") for layer in found]


def picture() -> list[list[str]]:
    """Return the left cell of each row that the README draws."""
    section = (REPOSITORY / "README.md").read_text().partition("\n## Architecture\n")[2].partition("\n## ")[0]
    return [cell.split() for cell in re.findall(r"^│ (.+?) +│", section, flags=re.MULTILINE)]


def test_the_picture_has_the_rows_that_are_checked() -> None:
    drawn = [[name.removesuffix("/") for name in row] for row in picture()]
    assert drawn == layers()


def test_what_is_drawn_as_a_package_is_one() -> None:
    for name in (name for row in picture() for name in row):
        path = PACKAGE / name
        assert path.is_dir() if name.endswith("/") else path.with_suffix(".py").is_file(), name


def test_the_files_that_are_to_be_touched_are_there() -> None:
    page = (REPOSITORY / "docs" / "contributing.md").read_text()
    _, _, section = page.partition("## What it costs to add something\n")
    named = re.findall(r"`((?:perfctl|tests|roles|playbooks|docs)/[^ `]+)`", section)
    paths = [name for name in named if "NAME" not in name]
    assert len(paths) > 20
    assert [name for name in paths if not (REPOSITORY / name).exists()] == []
