"""One table in four formats."""

from __future__ import annotations

import csv
import io
import json
import math
import sys

import click
import pytest
from click.testing import CliRunner

from perfctl.model import Direction
from perfctl.output import Column, Table, emit, format_option, render
from perfctl.output.text import visible

TABLE = Table(
    "demo",
    [Column("name", "host"), Column("value", "speed", "MB/s", align="right"), Column("port")],
    [
        {"name": "h1", "value": 12345.678, "port": 12865, "extra": [1, None]},
        {"name": "h2", "value": None, "port": None},
        ("h|3", 0, ""),
    ],
    notes=["a note"],
)


def test_text() -> None:
    assert render(TABLE) == (
        "host  speed (MB/s)  port\n"
        "----  ------------  -----\n"
        "h1          12,346  12865\n"
        "h2               —  —\n"
        "h|3              0  —\n"
        "\n"
        "a note\n"
    )


def test_json_keeps_values_and_says_missing_as_null() -> None:
    assert json.loads(render(TABLE, "json")) == {
        "schema_version": 1,
        "kind": "demo",
        "rows": [
            {"name": "h1", "value": 12345.678, "port": 12865, "extra": [1, None]},
            {"name": "h2", "value": None, "port": None},
            {"name": "h|3", "value": 0, "port": ""},
        ],
        "notes": ["a note"],
    }


def test_csv_leaves_missing_empty() -> None:
    rows = list(csv.reader(io.StringIO(render(TABLE, "csv"))))
    assert rows == [["name", "value", "port"], ["h1", "12345.678", "12865"], ["h2", "", ""], ["h|3", "0", ""]]


def test_markdown() -> None:
    assert render(TABLE, "md") == (
        "| host | speed (MB/s) | port |\n"
        "| --- | ---: | --- |\n"
        "| h1 | 12,346 | 12865 |\n"
        "| h2 | — | — |\n"
        "| h\\|3 | 0 | — |\n"
        "\n"
        "a note\n"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_what_is_no_number_is_missing_and_never_zero(value: float | None) -> None:
    table = Table("t", [Column("x", align="right")], [{"x": value}])
    assert json.loads(render(table, "json"))["rows"] == [{"x": None}]
    assert render(table, "csv") == "x\n\n" or render(table, "csv") == 'x\n""\n'
    assert render(table).splitlines()[-1].strip() == "—"
    assert "| — |" in render(table, "md")


def test_enums_and_booleans() -> None:
    table = Table("t", [Column("way"), Column("yes")], [(Direction.LOWER, True)])
    assert json.loads(render(table, "json"))["rows"] == [{"way": "lower", "yes": True}]
    assert render(table, "csv") == "way,yes\nlower,true\n"
    assert render(table).splitlines()[-1].split() == ["lower", "yes"]


def test_a_row_of_another_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        render(Table("t", [Column("a")], [(1, 2)]))


def test_an_empty_table_says_so() -> None:
    table = Table("t", [Column("a")], [])
    assert render(table) == "a\n-\n(nothing)\n"
    assert json.loads(render(table, "json"))["rows"] == []
    assert render(table, "csv") == "a\n"


def test_a_narrow_terminal_wraps_text_and_never_numbers() -> None:
    table = Table(
        "t",
        [Column("n", align="right"), Column("text"), Column("more")],
        [(1234567.0, "some words that go on for quite a while", "a few more words here")],
    )
    lines = render(table, width=50).splitlines()
    assert max(len(line) for line in lines) <= 50
    assert "1,234,567" in lines[2]
    assert " ".join(" ".join(lines[2:]).split()).count("words") == 2


def test_control_characters_cannot_steer_the_terminal() -> None:
    table = Table("t", [Column("a")], [["\x1b[31mred\nnext"]], notes=["\x07bell"])
    for fmt in ("table", "md"):
        text = render(table, "table" if fmt == "table" else "md")
        assert "\x1b" not in text and "\x07" not in text
        assert "\\x1b[31mred\\nnext" in text
    assert visible("plain ünïcode →") == "plain ünïcode →"


def test_color_is_only_in_the_heading() -> None:
    lines = render(TABLE, color=True).splitlines()
    assert lines[0].startswith("\x1b[1m")
    assert "\x1b" not in "".join(lines[1:])


def test_csv_keeps_its_notes_off_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    emit(TABLE, "csv")
    captured = capsys.readouterr()
    assert "a note" not in captured.out
    assert captured.err == "a note\n"


def test_an_output_that_cannot_hold_a_character_gets_another(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    emit(TABLE)
    sys.stdout.flush()
    assert b"h2               ?  ?" in raw.getvalue()


@pytest.mark.parametrize(("arguments", "expected"), [([], "table"), (["--format", "md"], "md")])
def test_the_format_option(arguments: list[str], expected: str) -> None:
    @click.command()
    @format_option
    def command(fmt: str) -> None:
        click.echo(fmt)

    assert CliRunner().invoke(command, arguments).output == f"{expected}\n"
    assert CliRunner().invoke(command, ["--format", "xml"]).exit_code == 2
