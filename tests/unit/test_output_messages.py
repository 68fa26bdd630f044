"""Errors as people see them: each label is printed once, whoever wrote the text behind it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import perfctl
from perfctl.cli import main_group
from perfctl.errors import PerfctlError
from perfctl.output.messages import error_text

PACKAGE = Path(perfctl.__file__).parent
PRINTER = PACKAGE / "output" / "messages.py"
LABEL = re.compile(r"(?<!\()\btry:")
"""Only the printer writes it, but for remarks in brackets."""


@pytest.mark.parametrize("color", [False, True])
def test_a_label_that_a_program_printed_is_not_repeated(color: bool) -> None:
    error = PerfctlError("error: cannot connect", where="Where: h1", hint="try:  virsh list")
    lines = error_text(error, color=color).splitlines()
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines] == [
        "error: cannot connect",
        "  where: h1",
        "  try:   virsh list",
    ]


def test_words_that_only_begin_like_a_label_stay() -> None:
    assert error_text(PerfctlError("Error response from daemon: no", hint="try again")) == (
        "error: Error response from daemon: no\n  try:   try again"
    )


def _texts(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_no_text_of_the_program_brings_a_label_of_its_own() -> None:
    found = {
        f"{path.relative_to(PACKAGE)}: {text}"
        for path in PACKAGE.rglob("*.py")
        if path != PRINTER
        for text in _texts(path)
        if LABEL.search(text)
    }
    assert found == set()
    assert any(LABEL.search(text) for text in _texts(PRINTER))


def test_the_hint_for_an_inventory_that_is_missing_is_printed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = CliRunner().invoke(main_group, ["provision", "-i", "nope.yml"]).exception
    assert isinstance(error, PerfctlError)
    text = error_text(error)
    assert text.startswith("error: there is no such inventory\n  where: nope.yml\n  try:   ")
    assert text.count("try:") == 1
    assert "perfctl lab up" in text
