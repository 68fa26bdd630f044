"""Whatever stands in a cell breaks no table, is no formula to a spreadsheet and obeys no terminal."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any
from unittest import mock
from xml.etree import ElementTree

import pytest
from hypothesis import strategies as st

from perfctl.render import FORMATS, print_view
from perfctl.render.view import Column, Screen, Section, View, cut
from tests.fuzz.inputs import bounded, given, inputs
from tests.fuzz.mutation import TEXTS
from tests.fuzz.test_messages import SECRETS, is_told, secrets_known

CELLS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | TEXTS | TEXTS.map(cut),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=3,
)
COLUMNS = st.lists(
    st.builds(Column, TEXTS, TEXTS, TEXTS, st.sampled_from(["left", "right"]), st.just({"yes": "bad"})),
    min_size=1,
    max_size=4,
    unique_by=lambda column: column.name,
)
FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
TONES = re.compile(r"\x1b\[(?:0|1|31|32|33|36)m")
BAR = re.compile(r"(?<!\\)(?:\\\\)*\|")


@st.composite
def views(draw: st.DrawFn) -> View:
    """Any report: a table, and whatever may stand around it."""
    columns = draw(COLUMNS)
    rows = draw(st.lists(st.tuples(*[CELLS] * len(columns)), max_size=4))
    notes = draw(st.lists(TEXTS, max_size=2))
    section = Section(columns, rows, draw(TEXTS), draw(st.lists(TEXTS, max_size=1)))
    return View(
        "any",
        columns,
        rows,
        [section],
        notes,
        draw(TEXTS),
        notes,
        [section],
        notes,
        draw(st.sampled_from([None, 40])),
    )


def shown(line: str) -> bool:
    """Return whether a line moves no cursor, but for the colours of perfctl's own."""
    return TONES.sub("", line).isprintable()


SCREENS = st.builds(Screen, st.none() | st.integers(1, 130), st.booleans(), st.booleans())


@inputs("messages", 0.08)
@given(views(), SCREENS)
def test_a_table_has_a_line_for_each_row_and_no_control_characters(view: View, screen: Screen) -> bool:
    text = FORMATS["table"].render(view, screen)
    lines = text.removesuffix("\n").split("\n")
    assert all(map(shown, lines))
    assert len(lines) >= 2 * (2 + len(view.records))
    return bool(view.records)


@inputs("messages", 0.08)
@given(views())
def test_markdown_has_as_many_cells_in_each_row_as_columns(view: View) -> bool:
    text = FORMATS["md"].render(View(view.kind, view.fields, view.records), Screen())
    lines = text.removesuffix("\n").split("\n")
    assert len(lines) == 2 + len(view.records)
    for line in lines:
        assert line.isprintable() and len(BAR.findall(line)) == len(view.fields) + 1
        assert not re.search(r"<[A-Za-z/!?]|\]\(", line)
    assert all(line.isprintable() for line in FORMATS["md"].render(view, Screen()).split("\n"))
    return bool(view.records)


@inputs("messages", 0.08)
@given(views(), st.booleans())
def test_csv_and_json_have_every_record_and_no_formula(view: View, is_terminal: bool) -> bool:
    text = FORMATS["csv"].render(view, Screen(is_terminal=is_terminal))
    if is_terminal:
        assert all(line.isprintable() for line in text.split("\n"))
    else:
        rows = list(csv.reader(io.StringIO(text, newline="")))
        assert [len(row) for row in rows] == [len(view.fields)] * (1 + len(view.records)) or "" in text
        assert not any(FORMULA.match(cell) and not is_number(cell) for row in rows for cell in row)
    document = FORMATS["json"].render(view, Screen(is_terminal=is_terminal))
    assert all(line.isprintable() for line in document.split("\n"))
    assert len(json.loads(document)["rows"]) == len(view.records)
    return bool(view.records)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@inputs("messages", 0.04)
@given(SECRETS, views(), st.data())
def test_no_format_shows_a_secret(secret: str, view: View, data: st.DataObject) -> bool:
    place = data.draw(st.sampled_from(["heading", "cell", "note", "lead"]))
    told = f"{data.draw(TEXTS)}{secret}{data.draw(TEXTS)}"
    rows: list[Any] = [
        {**dict(zip((column.name for column in view.fields), row, strict=True)), "more": told}
        for row in view.records
    ]
    fields = [*view.fields, Column("more", told if place == "heading" else "")]
    notes = [told] if place == "note" else []
    whole = View("any", fields, rows, None, notes, told if place == "lead" else "", notes, (), notes)
    with secrets_known(secret):
        for fmt in FORMATS.values():
            assert not is_told(fmt.render(whole, Screen()), secret)
    return True


# ---- one of a kind -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_a_secret_of_short_lines_is_hidden_in_a_lead(name: str) -> None:
    view = View("any", [Column("name", "")], [], lead="of 0000\n0 blocks")
    with secrets_known("0000\n0"):
        assert not is_told(FORMATS[name].render(view, Screen()), "0000\n0")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("fmt", FORMATS)
def test_no_format_hands_control_characters_to_a_terminal(fmt: str) -> None:
    view = View("any", [Column("a")], [("\x1b[2J\x9b2J\u202e",)], footer=["\x1b]0;x\x07"])
    with mock.patch("sys.stdout", Terminal()) as out, mock.patch("sys.stderr", Terminal()) as error:
        print_view(view, fmt)
    assert all(map(shown, (out.getvalue() + error.getvalue()).split("\n")))


def test_csv_in_a_file_has_the_characters_as_they_are() -> None:
    view = View("any", [Column("a")], [("\x1b[1mx\ty",)])
    assert FORMATS["csv"].render(view, Screen()) == "a\n\x1b[1mx\ty\n"
    assert FORMATS["csv"].render(view, Screen(is_terminal=True)) == "a\n\\x1b[1mx\\ty\n"


def test_a_cell_of_many_blanks_still_has_a_line() -> None:
    text = FORMATS["table"].render(View("any", [Column("a")], [(" " * 40,), ("b",)]), Screen(width=5))
    assert text.removesuffix("\n").split("\n") == ["a", "-" * 12, "", "b"]


@pytest.mark.parametrize(
    "cell", ["\\" * 50_000, "\\" * 50_000 + "x", "-" * 50_000, "a-" * 25_000, "0123456789ab" * 5_000]
)
def test_a_long_cell_is_no_hang(cell: str) -> None:
    view = View("any", [Column("a"), Column("b")], [(cell, cell)], footer=[cell])
    with bounded():
        for fmt in FORMATS.values():
            assert fmt.render(view, Screen(width=80))


def test_what_xml_cannot_hold_is_replaced() -> None:
    from perfctl.render.junit import legal

    root = ElementTree.fromstring(f"<a>{legal('a' + chr(0) + chr(0x1B) + chr(0xD800) + chr(0xFFFF))}</a>")
    assert root.text == "a" + "\ufffd" * 4
