"""Reports as views, and views in every format.

    report --comparison_view(), ...--> View --FORMATS--> text --print_view()--> stdout

One module per view (`comparison`, `gate`, ...), one per format (`text`, `json`, ...). A format is a function
from a view to text, registered in `FORMATS`. `junit` is no format of every view: it is of gates alone.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

from perfctl.output import visible, wants_color
from perfctl.render import csv, json, markdown, text
from perfctl.render.view import Screen, View


@dataclass(frozen=True, slots=True)
class Format:
    """How a view becomes text that ends with a newline."""

    render: Callable[[View, Screen], str]
    has_notes: bool = True
    """Whether the text has the notes; where it has no place for them, they go to stderr."""


FORMATS: dict[str, Format] = {
    "table": Format(text.render),
    "json": Format(json.render),
    "csv": Format(csv.render, has_notes=False),
    "md": Format(markdown.render),
}
"""Every format by the name that `--format` takes; the first is the default."""

DEFAULT_FORMAT = next(iter(FORMATS))


def print_view(view: View, fmt: str = DEFAULT_FORMAT) -> None:
    """Write the view to stdout in one of `FORMATS`."""
    chosen = FORMATS[fmt]
    out = sys.stdout
    print_text(chosen.render(view, Screen(_width(), wants_color(out), out.isatty())))
    if not chosen.has_notes:
        for note in view.notes:
            print(visible(note), file=sys.stderr)


def print_text(content: str) -> None:
    """Write text to stdout; what its encoding does not have becomes a question mark."""
    out = sys.stdout
    encoding = out.encoding or "utf-8"
    out.write(content.encode(encoding, "replace").decode(encoding))
    out.flush()


def _width() -> int | None:
    """Return the width of the terminal, or what COLUMNS says; None where there is neither."""
    return shutil.get_terminal_size((0, 0)).columns or None
