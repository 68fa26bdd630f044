"""docs/cli.md is what the program says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfctl import errors
from perfctl.cli import COMMANDS
from perfctl.cli.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == reference(), "run: python -m perfctl.cli.reference > docs/cli.md"


def test_the_page_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    before = reference()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("PERFCTL_DB_URL", "elsewhere.db")
    assert reference() == before


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_is_for(name: str) -> None:
    page = reference()
    assert f"\n### perfctl {name}\n" in page


def test_every_exit_code_of_an_error_is_explained() -> None:
    page = reference()
    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.PerfctlError)
    }
    for code in codes:
        assert f"| {code} |" in page or f"| {code}, " in page
