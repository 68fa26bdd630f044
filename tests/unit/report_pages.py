"""A page of `perfctl report` as tests read it: elements, texts, tables, and what it would load."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "input", "br", "link", "img"}
CELLS = {"td", "th"}
ENDS = {"td": CELLS, "th": CELLS, "tr": {*CELLS, "tr"}, "tbody": {*CELLS, "tr", "thead"}}
"""Tag -> what ends where it begins, as HTML says."""


@dataclass
class Element:
    """One element with its attributes and the text within it, that of its children included."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def get(self, name: str) -> str:
        return self.attributes.get(name, "")

    @property
    def classes(self) -> list[str]:
        return self.get("class").split()

    def all(self, tag: str) -> list[Element]:
        """Return the elements of a tag within this one, in their order."""
        found = []
        for child in self.children:
            found += [child] if child.tag == tag else []
            found += child.all(tag)
        return found

    def one(self, tag: str) -> Element:
        (found,) = self.all(tag)
        return found


class Page(HTMLParser):
    """The tree of a page; cells and rows end where the next one begins, as HTML says."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = text
        self.root = Element("root", {})
        self.elements: list[Element] = []
        self._open = [self.root]
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        while self._open[-1].tag in ENDS.get(tag, set()):
            self._open.pop()
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(element)
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        names = [item.tag for item in self._open]
        assert tag in names, f"</{tag}> closes nothing"
        while self._open[-1].tag != tag:
            closed = self._open.pop().tag
            assert closed in {"td", "th", "tr"}, f"</{tag}> closes {closed}"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, tag: str) -> list[Element]:
        return self.root.all(tag)

    def of_class(self, name: str) -> list[Element]:
        return [item for item in self.elements if name in item.classes]

    def by_id(self, wanted: str) -> Element:
        (found,) = [item for item in self.elements if item.get("id") == wanted]
        return found

    def text_of(self, section: str) -> str:
        return " ".join(self.by_id(section).text.split())


def rows_of(table: Element) -> list[dict[str, Element]]:
    """Return the rows of a table, each cell by the heading of its column, a plot's by 'plot'."""
    heads = table.one("thead").all("th")
    headings = ["plot" if "plot" in cell.classes else cell.text.strip() for cell in heads]
    found = []
    for row in table.one("tbody").all("tr"):
        cells = [child for child in row.children if child.tag in ("td", "th")]
        assert len(cells) == len(headings), [cell.text for cell in cells]
        for cell in cells:
            cell.text = cell.text.strip()
        found.append(dict(zip(headings, cells, strict=True)))
    return found
