"""Charts in a file of their own: with the style that a page would give them, a title, and a legend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from perfctl.render.svg.elements import CHARACTER_PX, Chart, element, escape, text

_GAP = 24.0
_TITLE_PX, _LEGEND_PX = 26.0, 22.0
_FILE_STYLE = "svg { background: var(--paper); }\nsvg .title { font-size: 13px; fill: var(--ink); }\n"


def chart_style() -> str:
    """Return the CSS of charts: colours for light, dark and paper, and the look of each class of marks."""
    return (Path(__file__).parent / "chart.css").read_text(encoding="utf-8")


def svg_file(
    charts: Sequence[tuple[str, Chart]],
    *,
    label: str,
    legend: Sequence[tuple[str, str]] = (),
    columns: int = 2,
) -> str:
    """Return a whole SVG document of the charts in rows, each below its title.

    `label` is what it shows, for those who do not see it; `legend` has (class, name) of the legs.
    """
    body: list[str] = []
    y, width = 8.0, 0.0
    for place in range(0, len(charts), columns):
        row = charts[place : place + columns]
        x = 8.0
        for title, chart in row:
            body.append(text(title, x, y + 14, class_="title"))
            body.append(element("g", "".join(chart.body), transform=f"translate({x:g} {y + _TITLE_PX:g})"))
            x += chart.width + _GAP
        width = max(width, x - _GAP + 8)
        y += max(chart.height for _, chart in row) + _TITLE_PX + _GAP / 2
    if legend:
        body += _legend(legend, y)
        y += _LEGEND_PX
        width = max(width, 8 + sum(_legend_px(name) for _, name in legend))
    style = element("style", chart_style() + _FILE_STYLE)
    title = element("title", escape(label))
    return (
        element(
            "svg",
            title + style + "".join(body),
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {width:g} {y:g}",
            width=f"{width:g}",
            height=f"{y:g}",
            role="img",
        )
        + "\n"
    )


def _legend(legend: Sequence[tuple[str, str]], y: float) -> list[str]:
    x, found = 8.0, []
    for class_, name in legend:
        line = element("path", class_="line", d=f"M{x:g} {y + 8:g}h22")
        dot = element("path", class_="dot", d=f"M{x + 11:g} {y + 8:g}h0")
        found.append(element("g", line + dot, class_=class_) + text(name, x + 28, y + 12))
        x += _legend_px(name)
    return found


def _legend_px(name: str) -> float:
    return 28 + CHARACTER_PX * len(name) + 20
