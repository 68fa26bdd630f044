"""Every block of a benchmark on one target: a line from the baseline's value to the environment's."""

from __future__ import annotations

from perfctl.model.quantity import counted
from perfctl.render.svg.axes import Frame, Scale, labelled, scale_of
from perfctl.render.svg.elements import Chart, coarse_path, element, shortened, text
from perfctl.render.svg.legs import LegSeries, dots

WIDTH, HEIGHT = 340.0, 216.0
LEFT, TOP, BOTTOM = 52.0, 18.0, 178.0
_PANEL_PX = 72.0
"""The least width of a panel: with many environments the drawing becomes wider."""


def blocks_chart(legs: list[LegSeries], baseline: str, *, place: str, unit: str) -> Chart:
    """Return one panel per environment, left the baseline, right the environment, a line per block."""
    base = next((leg for leg in legs if leg.environment == baseline and leg.replicate == 1), None)
    others = [leg for leg in legs if leg.environment != baseline] or [
        leg for leg in legs if leg.replicate == 2
    ]
    width = max(WIDTH, LEFT + 12 + _PANEL_PX * len(others))
    y = scale_of((item.value for leg in legs for item in leg.values), BOTTOM, TOP, may_be_log=True)
    frame = Frame(Scale(0, 1, LEFT, width - 8), y, TOP, BOTTOM)
    body = frame.grid(x_ticks=[], y_ticks=labelled(y.ticks(4)))
    panel = (width - LEFT - 12) / max(len(others), 1)
    for number, leg in enumerate(others):
        body += _panel(base, leg, y, LEFT + number * panel, panel)
    body.append(text(unit, 2.0, 9.0, class_="small"))
    names = ", ".join(leg.name for leg in others)
    blocks = len({item.block for leg in legs for item in leg.values})
    label = f"{counted(blocks, 'block')} on {place}: {baseline} and {names} in {unit}, joined by block"
    return Chart(width, HEIGHT, label, tuple(body))


def _panel(base: LegSeries | None, leg: LegSeries, y: Scale, left: float, width: float) -> list[str]:
    x, other_x = left + 0.22 * width, left + 0.78 * width
    found = []
    own = {item.block: item for item in leg.values}
    if base is not None:
        pairs = [(item, own[item.block]) for item in base.values if item.block in own]
        for is_valid in (True, False):
            paths = [
                coarse_path([(x, y(one.value)), (other_x, y(two.value))])
                for one, two in pairs
                if ("invalid" not in (one.state, two.state)) is is_valid
            ]
            if paths:
                found.append(element("path", class_="pair" if is_valid else "pair unused", d="".join(paths)))
        found.append(
            element("g", dots(base, [(x, y(i.value)) for i in base.values], base.values), class_=base.class_)
        )
        found.append(text(shortened(base.name, 0.44 * width), x, BOTTOM + 16, anchor="middle"))
    points = [(other_x, y(item.value)) for item in leg.values]
    found.append(element("g", dots(leg, points, leg.values), class_=leg.class_))
    label_y = BOTTOM + (16 if base is None or width > 130 else 30)
    found.append(
        text(
            shortened(leg.name, 0.54 * width if label_y < BOTTOM + 20 else width),
            other_x,
            label_y,
            anchor="middle",
        )
    )
    return found
