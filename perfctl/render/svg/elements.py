"""Elements of SVG as text. Everything that comes from elsewhere is escaped here, and nowhere else."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from perfctl.output import visible

Point = tuple[float, float]

_USUAL_PX = 400.0
"""A wider chart has a row of its own: beside others its texts would be too small."""

CHARACTER_PX = 6.2
"""About how wide a character of the 11 px font of charts is: labels are cut by it."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing of `width` x `height` px with the text that stands for it where it is not seen."""

    width: float
    height: float
    label: str
    body: tuple[str, ...]

    def svg(self, **attributes: object) -> str:
        """Return the element as a part of a page; `attributes` are added to it."""
        own = {
            "viewBox": f"0 0 {coordinate(self.width)} {coordinate(self.height)}",
            "role": "img",
            "aria-label": self.label,
            "class_": "wide" if self.width > _USUAL_PX else None,
        }
        return element("svg", "".join(self.body), **own | attributes)


def element(name: str, content: str = "", **attributes: object) -> str:
    """Return an element around `content`, which is SVG already. `class_` is class, `_` in a name a hyphen.

    Attributes that are None are left out. A float is rounded to a tenth of a pixel.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is not None:
            text = coordinate(value) if isinstance(value, float) else escape(str(value))
            parts.append(f'{key.rstrip("_").replace("_", "-")}="{text}"')
    opened = " ".join(parts)
    return f"<{opened}>{content}</{name}>" if content else f"<{opened}/>"


def escape(text: str) -> str:
    """Return text that is safe as content and as a value: without secrets, control characters and markup."""
    return html.escape(visible(text))


def coordinate(value: float) -> str:
    """Return a length in px with at most one decimal."""
    found = f"{value:.1f}".removesuffix(".0")
    return "0" if found == "-0" else found


def text(content: str, x: float, y: float, *, anchor: str | None = None, class_: str | None = None) -> str:
    """Return a line of text; `anchor` is 'middle' or 'end', default what its group has, or the start."""
    return element("text", escape(content), x=float(x), y=float(y), text_anchor=anchor, class_=class_)


def shortened(content: str, width_px: float) -> str:
    """Return the text cut with an ellipsis to about `width_px`."""
    most = max(1, int(width_px / CHARACTER_PX))
    return content if len(content) <= most else content[: most - 1] + "…"


def line_path(points: Sequence[Point]) -> str:
    """Return the data of a path through the points, to a tenth of a pixel."""
    return "M" + "L".join(f"{coordinate(x)} {coordinate(y)}" for x, y in points) if points else ""


# Charts of values have thousands of points in a page: whole pixels are as fine as their dots are.


def coarse_path(points: Sequence[Point]) -> str:
    """Return the data of a path through the points, in whole pixels; a step is a single number."""
    found, last_x, last_y = "", 0, 0
    for place, (x, y) in enumerate(points):
        at_x, at_y = round(x), round(y)
        if place == 0:
            found = f"M{at_x} {at_y}"
        elif at_y == last_y:
            found += f"H{at_x}"
        elif at_x == last_x:
            found += f"V{at_y}"
        else:
            found += f"L{at_x} {at_y}"
        last_x, last_y = at_x, at_y
    return found


def dots_path(points: Iterable[Point]) -> str:
    """Return the data of a path with a dot at every point: a line of no length with round ends."""
    return "".join(f"M{x:.0f} {y:.0f}h0" for x, y in points)


def crosses_path(points: Iterable[Point]) -> str:
    """Return the data of a path with a cross of 7 px at every point."""
    return "".join(f"M{x - 3.5:.0f} {y - 3.5:.0f}l7 7m-7 0l7 -7" for x, y in points)


def rings_path(points: Iterable[Point], radius: float = 4.5) -> str:
    """Return the data of a path with a circle around every point."""
    r = coordinate(radius)
    d = coordinate(2 * radius)
    return "".join(
        f"M{coordinate(x - radius)} {coordinate(y)}a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 -{d} 0"
        for x, y in points
    )
