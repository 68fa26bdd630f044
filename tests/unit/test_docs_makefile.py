"""Every `make TARGET` that a page or the Makefile's help names is a target of the Makefile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MAKEFILE = (REPOSITORY / "Makefile").read_text()
TARGETS = set(re.findall(r"^\.PHONY: (\S+)$", MAKEFILE, flags=re.MULTILINE))
STEPS = {"help", "provisioned", "engine", "test-packages"}
"""What other targets are made of."""
# In a page a command stands in backticks or after a prompt; in a script or a workflow it begins a line.
IN_PAGES = r"(?:`|\$ )make ([a-z][a-z-]*)"
IN_SCRIPTS = r"(?m:^\s*(?:- )?(?:run: )?)make ([a-z][a-z-]*)"
PAGES = [*sorted(REPOSITORY.glob("*.md")), *sorted(REPOSITORY.glob("docs/*.md"))]
SCRIPTS = [REPOSITORY / ".ci" / "run", *sorted(REPOSITORY.glob(".github/workflows/*.yml"))]


def named_in(path: Path) -> set[str]:
    """Return the targets that a page, a script or a workflow names."""
    return set(re.findall(IN_PAGES if path.suffix == ".md" else IN_SCRIPTS, path.read_text()))


def help_targets() -> list[str]:
    return re.findall(r'^\t@echo "make ([a-z-]+) .*\(.+\)"$', MAKEFILE, flags=re.MULTILINE)


def test_help_names_targets_and_how_long_each_takes() -> None:
    shown = MAKEFILE.partition("\nhelp:\n")[2].partition("\n\n")[0].splitlines()
    assert len(help_targets()) == len(shown)
    assert set(help_targets()) == TARGETS - STEPS


@pytest.mark.parametrize("path", [*PAGES, *SCRIPTS], ids=lambda path: path.name)
def test_what_a_file_names_exists(path: Path) -> None:
    assert named_in(path) <= TARGETS


def test_commands_are_found_where_they_are_written() -> None:
    assert {"venv", "unit", "lint", "test"} <= named_in(REPOSITORY / "CONTRIBUTING.md")
    assert {"demo", "test", "unit"} <= named_in(REPOSITORY / "README.md")
    assert "lint" in named_in(REPOSITORY / ".ci" / "run")
    assert named_in(REPOSITORY / ".github" / "workflows" / "ci.yml") == {"unit", "lint"}
