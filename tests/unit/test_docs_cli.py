"""docs/cli.md and the man page are what the program says of itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from perfctl import errors
from perfctl.cli import COMMANDS
from perfctl.cli.reference import manual, reference

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
MANUAL = PAGE.with_name("perfctl.1")


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == reference(), "run: python -m perfctl.cli.reference > docs/cli.md"


def test_the_man_page_is_up_to_date() -> None:
    assert MANUAL.read_text() == manual(), "run: python -m perfctl.cli.reference --man > docs/perfctl.1"


def test_the_man_page_has_all_commands_and_options_and_no_stray_request() -> None:
    lines = MANUAL.read_text().splitlines()
    headings = [
        line.removeprefix(".SS perfctl ").replace("\\", "") for line in lines if line.startswith(".SS")
    ]
    for name in COMMANDS:
        assert any(heading.startswith(f"{name} [OPTIONS]") for heading in headings), name
    options = {
        word for line in PAGE.read_text().splitlines() for word in re.findall(r"^  .*?(--[a-z-]+)", line)
    }
    assert options
    text = MANUAL.read_text().replace("\\", "")
    assert [option for option in options if option not in text] == []
    requests = {line.split()[0] for line in lines if line.startswith((".", "'"))}
    assert requests == {'.\\"', ".TH", ".SH", ".SS", ".PP", ".TP", ".nf", ".fi"}


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
