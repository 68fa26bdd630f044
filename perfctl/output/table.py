"""One table, four formats. JSON and CSV carry the raw values; table and Markdown are written for people."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, TypeVar

import click

from perfctl.model.quantity import MISSING, number
from perfctl.output.messages import wants_color
from perfctl.output.text import visible

SCHEMA_VERSION = 1
FORMATS = ("table", "json", "csv", "md")
Format = Literal["table", "json", "csv", "md"]
Row = Mapping[str, Any] | Sequence[Any]
_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `name` is the key in JSON and CSV, `title` the heading for people (default: the name).

    Numbers of right-aligned columns get four significant digits and thousands separators.
    """

    name: str
    title: str = ""
    unit: str = ""
    align: Literal["left", "right"] = "left"

    @property
    def heading(self) -> str:
        """The title with its unit."""
        title = self.title or self.name
        return f"{title} ({self.unit})" if self.unit else title


@dataclass(frozen=True, slots=True)
class Table:
    """Rows (dicts by column name, or tuples in column order) of one kind, e.g. 'comparison', with notes.

    A dict may carry keys that no column names: they are in JSON only. A missing value is None, never 0.
    """

    kind: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: Sequence[str] = field(default=())


def render(table: Table, fmt: Format = "table", *, color: bool = False, width: int | None = None) -> str:
    """Return the table as text that ends with a newline; `width` (characters) makes long cells wrap.

    Missing values are null in JSON, empty in CSV and an em dash elsewhere.
    """
    if fmt == "json":
        return _render_json(table)
    if fmt == "csv":
        return _render_csv(table)
    if fmt == "md":
        return _render_markdown(table)
    return _render_text(table, color=color, width=width)


def emit(table: Table, fmt: Format = "table") -> None:
    """Write the table to stdout. CSV has no place for notes: they go to stderr."""
    out = sys.stdout
    width = shutil.get_terminal_size().columns if out.isatty() else None
    text = render(table, fmt, color=wants_color(out), width=width)
    encoding = out.encoding or "utf-8"
    out.write(text.encode(encoding, "replace").decode(encoding))
    out.flush()
    if fmt == "csv":
        for note in table.notes:
            print(visible(note), file=sys.stderr)


def format_option(command: _Command) -> _Command:
    """Give a click command `--format`, passed as `fmt`."""
    option = click.option(
        "--format",
        "fmt",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="How to print the result on stdout.",
    )
    return option(command)


def _row_dict(table: Table, row: Row) -> dict[str, Any]:
    if isinstance(row, Mapping):
        named = {column.name: row.get(column.name) for column in table.columns}
        return named | {str(key): value for key, value in row.items()}
    return dict(zip((column.name for column in table.columns), row, strict=True))


def _plain(value: Any) -> Any:
    """Return what JSON can carry: NaN and infinity are no numbers there, so they are missing."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value)


def _render_json(table: Table) -> str:
    """One row on a line: readable, good to diff, and json's fast encoder cannot indent."""
    rows = ",\n  ".join(json.dumps(_plain(_row_dict(table, row)), allow_nan=False) for row in table.rows)
    notes = json.dumps(list(table.notes))
    return (
        f'{{"schema_version": {SCHEMA_VERSION}, "kind": {json.dumps(table.kind)}, "rows": ['
        + (f"\n  {rows}\n" if rows else "")
        + f'], "notes": {notes}}}\n'
    )


def _render_csv(table: Table) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([column.name for column in table.columns])
    for row in table.rows:
        values = _row_dict(table, row)
        writer.writerow([_csv_cell(values[column.name]) for column in table.columns])
    return buffer.getvalue()


def _csv_cell(value: Any) -> Any:
    plain = _plain(value)
    if isinstance(plain, bool):
        return "true" if plain else "false"
    return json.dumps(plain) if isinstance(plain, (dict, list)) else plain


def _cell(column: Column, value: Any) -> str:
    """Return a value as people read it."""
    plain = _plain(value)
    if plain is None or plain == "":
        return MISSING
    if isinstance(plain, bool):
        return "yes" if plain else "no"
    if isinstance(plain, (int, float)) and column.align == "right":
        return number(plain)
    if isinstance(plain, (dict, list)):
        return visible(json.dumps(plain, ensure_ascii=False))
    return visible(str(plain))


def _cells(table: Table) -> list[list[str]]:
    found = []
    for row in table.rows:
        values = _row_dict(table, row)
        found.append([_cell(column, values[column.name]) for column in table.columns])
    return found


def _render_markdown(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rules = ["---:" if column.align == "right" else "---" for column in table.columns]
    lines = [line([column.heading for column in table.columns]), line(rules)]
    lines += [line(cells) for cells in _cells(table)]
    for note in table.notes:
        lines += ["", visible(note)]
    return "\n".join(lines) + "\n"


def _render_text(table: Table, *, color: bool, width: int | None) -> str:
    headings = [column.heading for column in table.columns]
    body = _cells(table)
    widths = [max([len(heading), *(len(cells[i]) for cells in body)]) for i, heading in enumerate(headings)]
    if width is not None:
        widths = _fit(widths, headings, table.columns, width)
    bold, off = ("\x1b[1m", "\x1b[0m") if color else ("", "")
    lines = [bold + line + off for line in _text_row(headings, widths, table.columns)]
    lines.append("  ".join("-" * size for size in widths))
    for cells in body:
        lines += _text_row(cells, widths, table.columns)
    if not body:
        lines.append("(nothing)")
    if table.notes:
        lines += ["", *(visible(note) for note in table.notes)]
    return "\n".join(lines) + "\n"


def _fit(widths: list[int], headings: Sequence[str], columns: Sequence[Column], width: int) -> list[int]:
    """Narrow the widest left-aligned columns until the table fits; numbers are never broken."""
    sizes = list(widths)
    minimum = [min(size, max(12, len(heading))) for size, heading in zip(sizes, headings, strict=True)]
    while sum(sizes) + 2 * (len(sizes) - 1) > width:
        loose = [i for i, col in enumerate(columns) if col.align == "left" and sizes[i] > minimum[i]]
        if not loose:
            break
        sizes[max(loose, key=lambda i: sizes[i])] -= 1
    return sizes


def _text_row(cells: Sequence[str], widths: Sequence[int], columns: Sequence[Column]) -> list[str]:
    wrapped = [
        [cell] if len(cell) <= size else textwrap.wrap(cell, size)
        for cell, size in zip(cells, widths, strict=True)
    ]
    lines = []
    for level in range(max((len(part) for part in wrapped), default=0)):
        parts = []
        for part, size, column in zip(wrapped, widths, columns, strict=True):
            text = part[level] if level < len(part) else ""
            parts.append(text.rjust(size) if column.align == "right" else text.ljust(size))
        lines.append("  ".join(parts).rstrip())
    return lines
