"""Tables for people on a terminal or in a file: figures never wrap, notes and names do."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from perfctl.output import visible
from perfctl.redaction import redact
from perfctl.render.cells import cell_texts
from perfctl.render.view import Column, Screen, Section, Tone, View

WIDTH = 120
"""The most columns that notes take, however wide the terminal is, and tables of figures in a file."""

_LONGEST_PIECE = 12
"""Longer pieces than this are broken where a column has to be narrow."""
_ID = re.compile(
    r"(?<![0-9A-Za-z])(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{12,64})(?![0-9A-Za-z])"
)
"""The id of a run or an invocation, or a hash: it is there to be copied, and never broken."""
_PIECE = re.compile(rf"[^\s-]*?{_ID.pattern}[^\s-]*" + r"|\s+|-+>?[^\s-]*(?:-(?!>))?|[^\s-]+(?:-(?!>))?")
"""A cell may wrap between pieces: after a space or a hyphen, and before the arrow of a pair."""
_GAP = "  "
_BOLD, _OFF = "\x1b[1m", "\x1b[0m"
_TONES: dict[Tone, str] = {
    "good": "\x1b[32m",
    "bad": "\x1b[31m",
    "doubtful": "\x1b[33m",
    "notable": "\x1b[36m",
}


def render(view: View, screen: Screen) -> str:
    """Return the view as text that ends with a newline."""
    note_width = min(screen.width or WIDTH, WIDTH)
    screen = Screen(screen.width or view.widest, screen.has_color)
    sections = [_section(section, screen, note_width) for section in view.tables]
    numbered = [f"{number}  {text}" for number, text in enumerate(view.remarks, 1)]
    parts = [
        _wrapped([*view.warnings, *redact(view.lead).splitlines()], note_width),
        *(sections or [["(nothing)"]]),
        _wrapped(numbered, note_width),
        *(_section(section, screen, note_width) for section in view.appendix),
        _wrapped(view.closing, note_width),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def _wrapped(notes: Sequence[str], width: int) -> list[str]:
    lines: list[str] = []
    for note in notes:
        lines += textwrap.wrap(
            visible(note), width, subsequent_indent="   ", break_long_words=False, break_on_hyphens=False
        )
    return lines


def _section(section: Section, screen: Screen, note_width: int) -> list[str]:
    headings = [visible(column.heading) for column in section.columns]
    body = cell_texts(section)
    widths = [max([len(heading), *(len(cells[i]) for cells in body)]) for i, heading in enumerate(headings)]
    if screen.width is not None:
        widths = _fit(widths, _least(section.columns, body), section.columns, screen.width)
    lines = [visible(section.heading)] if section.heading else []
    lines += _lines(headings, widths, section.columns)
    if screen.has_color:
        lines = [_BOLD + line + _OFF for line in lines]
    lines.append(_GAP.join("-" * size for size in widths))
    for cells in body:
        lines += _lines(cells, widths, section.columns, has_color=screen.has_color)
    if not body:
        lines.append("(nothing)")
    return lines + _wrapped(section.notes, note_width)


def _least(columns: Sequence[Column], body: Sequence[Sequence[str]]) -> list[int]:
    """Return how narrow each column may be: as its heading and its longest piece."""
    pieces = [[piece for cells in body for piece in _PIECE.findall(cells[i])] for i in range(len(columns))]
    return [
        max(len(visible(column.heading)), *map(_unbroken, found), 0)
        for column, found in zip(columns, pieces, strict=True)
    ]


def _unbroken(piece: str) -> int:
    """Return how many characters of a piece must stay on one line."""
    return len(piece) if _ID.search(piece) else min(len(piece), _LONGEST_PIECE)


def _fit(widths: Sequence[int], least: Sequence[int], columns: Sequence[Column], width: int) -> list[int]:
    """Narrow the widest left-aligned columns until the table fits; what is right-aligned is never broken."""
    sizes = list(widths)
    while sum(sizes) + len(_GAP) * (len(sizes) - 1) > width:
        loose = [i for i, column in enumerate(columns) if column.align == "left" and sizes[i] > least[i]]
        if not loose:
            break
        sizes[max(loose, key=lambda i: sizes[i])] -= 1
    return sizes


def _wrap(cell: str, size: int) -> list[str]:
    """Return the lines of a cell that is wider than its column."""
    lines = [""]
    for piece in _PIECE.findall(cell):
        for start in range(0, len(piece), size):
            part = piece[start : start + size]
            if len(lines[-1]) + len(part.rstrip()) > size:
                lines.append("")
                part = part.lstrip()
            lines[-1] += part
    # A cell of nothing but blanks still has a line, or its row would have none.
    return [line.rstrip() for line in lines if line.strip()] or [""]


def _lines(
    cells: Sequence[str], widths: Sequence[int], columns: Sequence[Column], *, has_color: bool = False
) -> list[str]:
    """Return the lines of one row: more than one where a cell is wider than its column."""
    wrapped = [
        [cell] if len(cell) <= size else _wrap(cell, size) for cell, size in zip(cells, widths, strict=True)
    ]
    lines = []
    for level in range(max((len(part) for part in wrapped), default=0)):
        parts = []
        for cell, part, size, column in zip(cells, wrapped, widths, columns, strict=True):
            text = part[level] if level < len(part) else ""
            text = text.rjust(size) if column.align == "right" else text.ljust(size)
            tone = column.tones.get(cell) if has_color else None
            parts.append(f"{_TONES[tone]}{text}{_OFF}" if tone else text)
        lines.append(_GAP.join(parts).rstrip())
    return lines
