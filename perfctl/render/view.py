"""The value that a view is: records for machines, sections and notes for people, in no format yet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from perfctl.redaction import redact

Row = Mapping[str, Any] | Sequence[Any]
"""Values by column name, or in column order. A missing value is None, never 0."""

Tone = Literal["good", "bad", "doubtful", "notable"]

WIDEST_CELL = 60
"""Characters of a cell that holds text from elsewhere, such as a line of output; for people only."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `name` is the key in JSON and CSV, `title` the heading for people (default: the name).

    Numbers of right-aligned columns get four significant digits and thousands separators. Right-aligned cells
    never wrap. `tones` has the texts that a terminal colours.
    """

    name: str
    title: str = ""
    unit: str = ""
    align: Literal["left", "right"] = "left"
    tones: Mapping[str, Tone] = field(default_factory=dict)

    @property
    def heading(self) -> str:
        """The title with its unit."""
        title = self.title or self.name
        return f"{title} ({self.unit})" if self.unit else title


def columns(*names: str, align: Literal["left", "right"] = "left") -> list[Column]:
    """Return a column for each name, which is its title, too."""
    return [Column(name, align=align) for name in names]


@dataclass(frozen=True, slots=True)
class Section:
    """One table for people, below its heading and above its own notes."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    heading: str = ""
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class View:
    """A report of one kind, e.g. 'comparison'.

    Machines read `fields` and `records`; a record that is a mapping may have keys that no field names, which
    are in JSON only. People read `warnings`, `lead`, `sections`, `remarks`, `appendix` and `footer`, in this
    order, and where the records come from. Warnings and footer are in JSON, too.
    """

    kind: str
    fields: Sequence[Column]
    records: Sequence[Row]
    sections: Sequence[Section] | None = None
    """None: the fields and records serve people as well."""
    warnings: Sequence[str] = ()
    """What must be known before any figure is read."""
    lead: str = ""
    """What stands above the tables: how to read them."""
    remarks: Sequence[str] = ()
    """Notes that are numbered from 1; the cells of a `note` column have these numbers."""
    appendix: Sequence[Section] = ()
    footer: Sequence[str] = ()
    widest: int | None = None
    """The most columns that its tables take where the output is no terminal; None: as many as they need."""
    database: str = ""
    """The database of the records, for people: machines get the same bytes wherever the records are."""
    conclusion: str = ""
    """What follows from all of it, in the last line."""

    @property
    def notes(self) -> list[str]:
        """The warnings, the footer and the conclusion: what is true of all records."""
        return [*self.warnings, *self.footer, *self._last]

    @property
    def _last(self) -> list[str]:
        return [self.conclusion] if self.conclusion else []

    @property
    def closing(self) -> list[str]:
        """The footer for people, with the database."""
        return [*self.footer, *([f"database {self.database}"] if self.database else []), *self._last]

    @property
    def tables(self) -> Sequence[Section]:
        """The sections for people above the remarks."""
        return [Section(self.fields, self.records)] if self.sections is None else self.sections


@dataclass(frozen=True, slots=True)
class Screen:
    """Where text goes: `width` in characters, None where it is not limited."""

    width: int | None = None
    has_color: bool = False
    is_terminal: bool = False
    """Whether control characters would be obeyed there."""


class Remarks:
    """Collects notes and numbers them; equal texts share a number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def add(self, *texts: str) -> str:
        """Add the texts that are not empty, and return their numbers, e.g. '1, 3'."""
        found = [self._numbers.setdefault(text, len(self._numbers) + 1) for text in texts if text]
        return ", ".join(str(number) for number in sorted(set(found)))

    @property
    def texts(self) -> tuple[str, ...]:
        """All notes in the order of their numbers."""
        return tuple(self._numbers)


def row_values(columns: Sequence[Column], row: Row) -> dict[str, Any]:
    """Return a row by name: first the columns, then what else a mapping has."""
    if isinstance(row, Mapping):
        named = {column.name: row.get(column.name) for column in columns}
        return named | {str(key): value for key, value in row.items()}
    return dict(zip((column.name for column in columns), row, strict=True))


def plain(value: Any) -> Any:
    """Return what JSON can carry: NaN and infinity are no numbers there, so they are missing."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        return redact(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, Mapping):
        return {redact(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return redact(str(value))


def cut(text: str, size: int = WIDEST_CELL) -> str:
    """Return the text without secrets, with an ellipsis where it is longer than `size` characters."""
    # Of a secret that is cut in two the first part would no longer be found.
    text = redact(text)
    return text if len(text) <= size else text[: size - 1].rstrip() + "…"
