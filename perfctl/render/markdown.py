"""Markdown, for an issue or a wiki: a heading, a table and a list of notes per section."""

from __future__ import annotations

import re
from collections.abc import Sequence

from perfctl.output import visible
from perfctl.redaction import redact
from perfctl.render.cells import cell_texts
from perfctl.render.view import Screen, Section, View


def render(view: View, screen: Screen) -> str:
    """Return the view as Markdown that ends with a newline; the screen does not matter."""
    parts = [
        [_plain(warning) for warning in view.warnings],
        [_plain_lines(view.lead)] if view.lead else [],
        *(_section(section) for section in view.tables),
        [f"{number}. {_plain(text)}" for number, text in enumerate(view.remarks, 1)],
        *(_section(section) for section in view.appendix),
        *([_plain(note)] for note in view.closing),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def _section(section: Section) -> list[str]:
    rules = ["---:" if column.align == "right" else "---" for column in section.columns]
    lines = [f"**{_plain(section.heading)}**", ""] if section.heading else []
    lines += [_line([column.heading for column in section.columns]), _line(rules)]
    lines += [_line(cells) for cells in cell_texts(section)]
    for note in section.notes:
        lines += ["", _plain(note)]
    return lines


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_CELL_END.sub(_escaped, _plain(cell)) for cell in cells) + " |"


_CELL_END = re.compile(r"(?<!\\)\\*(?:\||$)")
"""What ends a cell, with the backslashes before it, which would take its own or the next bar for theirs."""


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"\\{char}" for char in found[0])


_MARKUP = re.compile(r"<(?=[A-Za-z/!?])|(?<=\])(?=[(\[:])")
"""Where HTML begins, and where a text in brackets becomes a link or an image."""


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is: no HTML, no link and no image of others."""
    return _MARKUP.sub(lambda found: "&lt;" if found[0] else "\\", visible(text))


def _plain_lines(text: str) -> str:
    # A secret of several lines is found in the whole text only.
    return "\n".join(map(_plain, redact(text).splitlines()))
