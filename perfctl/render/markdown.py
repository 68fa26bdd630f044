"""Markdown, for an issue or a wiki: a heading, a table and a list of notes per section."""

from __future__ import annotations

from collections.abc import Sequence

from perfctl.output import visible
from perfctl.render.cells import cell_texts
from perfctl.render.view import Screen, Section, View


def render(view: View, screen: Screen) -> str:
    """Return the view as Markdown that ends with a newline; the screen does not matter."""
    parts = [
        [visible(warning) for warning in view.warnings],
        [view.lead] if view.lead else [],
        *(_section(section) for section in view.tables),
        [f"{number}. {visible(text)}" for number, text in enumerate(view.remarks, 1)],
        *(_section(section) for section in view.appendix),
        *([visible(note)] for note in view.footer),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def _section(section: Section) -> list[str]:
    rules = ["---:" if column.align == "right" else "---" for column in section.columns]
    lines = [f"**{visible(section.heading)}**", ""] if section.heading else []
    lines += [_line([column.heading for column in section.columns]), _line(rules)]
    lines += [_line(cells) for cells in cell_texts(section)]
    for note in section.notes:
        lines += ["", visible(note)]
    return lines


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
