"""Charts as PNG, drawn from their SVG by resvg, in the colours of a light page."""

from __future__ import annotations

import importlib
import re

from perfctl.errors import UsageError

SCALE = 2
"""Pixels of the image per px of the drawing: sharp on paper and on screens with small pixels."""

_SCHEMES = re.compile(r"@media[^{]*\{\s*:root\s*\{[^}]*\}\s*\}")
_ROOT = re.compile(r":root\s*\{([^}]*)\}")
_COLOR = re.compile(r"(--\w+):\s*([^;]+);")
_USE = re.compile(r"var\((--\w+)\)")


def png(svg: str) -> bytes:
    """Return a PNG of a document of `svg_file`. Raises UsageError where resvg or every font is missing."""
    try:
        resvg = importlib.import_module("resvg_py")
    except ImportError as error:
        raise UsageError(
            "resvg is not installed, which makes PNG", hint="pip install 'perfctl[png]'"
        ) from error
    drawing, paper = _in_fixed_colors(svg)
    style = drawing[: drawing.index("</style>") + len("</style>")]
    # It leaves out texts for which there is no font, and says nothing.
    with_text, without = (
        resvg.svg_to_bytes(svg_string=f"{style}{it}</svg>") for it in ("<text x='20' y='20'>x</text>", "")
    )
    if with_text == without:
        raise UsageError("no font of the charts is installed", hint="apt install fonts-dejavu-core")
    return bytes(resvg.svg_to_bytes(svg_string=drawing, zoom=SCALE, background=paper))


def _in_fixed_colors(svg: str) -> tuple[str, str]:
    """Return the document with a light page's values for its custom properties, and the colour of its paper.

    resvg knows no custom properties, and no background of the whole drawing.
    """
    style, separator, drawing = svg.partition("</style>")
    style = _SCHEMES.sub("", style)
    colors = dict(_COLOR.findall("".join(_ROOT.findall(style))))
    fixed = _USE.sub(lambda use: colors[use[1]], _ROOT.sub("", style))
    return fixed + separator + drawing, colors["--paper"]
