"""Tables of the page: sections of a view, with the marks of the forest plot where they are comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from perfctl.model import Direction, SuiteComparison
from perfctl.model.quantity import MISSING
from perfctl.render.cells import cell_texts
from perfctl.render.svg.axes import Scale
from perfctl.render.svg.elements import element
from perfctl.render.svg.forest import ForestRow, Line, axis, forest_mark, forest_row, forest_scale
from perfctl.render.view import Section

PLOT_PX, ROW_PX = 300.0, 26.0


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell; `value` is what its column is sorted by where that is not its text."""

    text: str
    class_: str = ""
    value: float | None = None
    href: str = ""
    plot: Markup | None = None


@dataclass(frozen=True, slots=True)
class Heading:
    """The head of a column."""

    text: str
    class_: str = ""
    plot: Markup | None = None
    is_sortable: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the page; `notes` stand below it, `remarks` are numbered from 1."""

    caption: str
    headings: Sequence[Heading]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    remarks: Sequence[str] = ()
    id: str = ""
    classes: str = ""
    row_classes: Sequence[str] = field(default_factory=tuple)


def table_of(section: Section, *, caption: str = "", id_: str = "") -> Table:
    """Return a section as a table."""
    headings = [Heading(column.heading, "n" if column.align == "right" else "") for column in section.columns]
    classes = ["n" if column.align == "right" else "" for column in section.columns]
    rows = [
        [Cell(text, class_) for class_, text in zip(classes, texts, strict=True)]
        for texts in cell_texts(section)
    ]
    return Table(caption or section.heading, headings, rows, section.notes, id=id_)


def figure_table(
    section: Section,
    items: Sequence[Line],
    *,
    caption: str,
    remarks: Sequence[str] = (),
    hrefs: Sequence[str] = (),
    id_: str = "",
) -> Table:
    """Return a table of comparisons, a row of the forest plot in each; `items` are those of its rows.

    `hrefs` are where the first cells lead to. Rows are sorted by cost as they come.
    """
    plain = table_of(section, caption=caption, id_=id_)
    drawn = [forest_row(item) for item in items]
    scale = forest_scale(
        [row for row in drawn if not row.is_far or all(other.is_far for other in drawn)], 8, PLOT_PX - 8
    )
    names = [column.name for column in section.columns]
    at = names.index("ratio")
    # Most cells are figures, so the table is right-aligned and names the others: the page is a fifth smaller.
    texts = [column.align != "right" for column in section.columns]
    headings = [
        Heading(heading.text, "t" if is_text else "")
        for heading, is_text in zip(plain.headings, texts, strict=True)
    ]
    is_neutral = any(_direction(item) is Direction.NEUTRAL for item in items)
    headings.insert(at, Heading("", "plot", _axis(scale, is_neutral=is_neutral), is_sortable=False))
    rows = []
    for place, (cells, row, item) in enumerate(zip(plain.rows, drawn, items, strict=True)):
        found = [
            _with_value(cell, name, item, "t" if is_text else "")
            for cell, name, is_text in zip(cells, names, texts, strict=True)
        ]
        if hrefs:
            found[0] = Cell(found[0].text, "t", href=hrefs[place])
        found.insert(at, Cell("", "plot", plot=_plot(row, scale)))
        rows.append(found)
    return Table(
        caption,
        headings,
        rows,
        section.notes,
        remarks,
        id=id_,
        classes="figures",
        row_classes=[row.class_ for row in drawn],
    )


def _with_value(cell: Cell, name: str, item: Line, class_: str) -> Cell:
    """Return the cell with the number behind its text, as `perfctl compare --format json` has it."""
    judgement = item.judgement
    values: dict[str, float | None] = {
        "ratio": item.ratio,
        "q": judgement.q if judgement else None,
        "interval": item.low,
    }
    return Cell(cell.text, "t v" if name == "verdict" else class_, values.get(name))


def _plot(row: ForestRow, scale: Scale) -> Markup:
    """Return the marks of one row; where it is beyond the scale, an arrow says so."""
    if row.cost is not None and any(not scale.low <= value <= scale.high for value in row.ends):
        is_right = row.cost > 1
        body = element(
            "text",
            "beyond this scale " + ("→" if is_right else "←"),
            x=PLOT_PX - 8 if is_right else 8.0,
            y=ROW_PX / 2 + 4,
            text_anchor="end" if is_right else "start",
        )
        return Markup(_svg(body, ROW_PX))
    return Markup(_svg(forest_mark(row, scale, ROW_PX / 2, ROW_PX), ROW_PX))


def _axis(scale: Scale, *, is_neutral: bool) -> Markup:
    left, right = ("lower", "higher") if is_neutral else ("faster", "slower")
    body = element("text", left, x=8.0, y=10.0) + element(
        "text", right, x=PLOT_PX - 8, y=10.0, text_anchor="end"
    )
    return Markup(_svg(body + "".join(axis(scale, 18.0)), 38.0))


def _direction(item: Line) -> Direction:
    return Direction.LOWER if isinstance(item, SuiteComparison) else item.metric.direction


def _svg(body: str, height: float) -> str:
    # What it shows stands in the cells beside it, so it is hidden from those who hear the table.
    return element("svg", body, viewBox=f"0 0 {PLOT_PX:g} {height:g}", aria_hidden="true", class_="row")


def key_values(pairs: Iterable[tuple[str, object]], *, caption: str) -> Table:
    """Return a table of two columns, what and value; values that are missing are a dash."""
    rows = [[Cell(name), Cell(MISSING if value in (None, "") else str(value))] for name, value in pairs]
    return Table(
        caption,
        [Heading("what", is_sortable=False), Heading("value", is_sortable=False)],
        rows,
        classes="pairs",
    )
