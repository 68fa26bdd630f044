"""The empirical distribution function of a benchmark's values on one target, one line per leg."""

from __future__ import annotations

from perfctl.render.svg.axes import Frame, labelled, scale_of
from perfctl.render.svg.blocks import BOTTOM, HEIGHT, LEFT, TOP, WIDTH
from perfctl.render.svg.elements import Chart, Point, coarse_path, element, text
from perfctl.render.svg.legs import LegSeries, leg_group


def ecdf_chart(legs: list[LegSeries], *, place: str, unit: str) -> Chart:
    """Return the share of the blocks (y) with at most a value (x); what is invalid does not count."""
    x = scale_of((item.value for leg in legs for item in leg.counted), LEFT, WIDTH - 12, may_be_log=True)
    y = scale_of((0.0, 1.0), BOTTOM, TOP)
    body = Frame(x, y, TOP, BOTTOM).grid(
        x_ticks=labelled(x.ticks(4)),
        y_ticks=[(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")],
    )
    for leg in legs:
        values = sorted(leg.counted, key=lambda item: (item.value, item.block))
        if not values:
            continue
        steps: list[Point] = [(x(values[0].value), y(0.0))]
        for rank, item in enumerate(values, 1):
            steps += [(x(item.value), steps[-1][1]), (x(item.value), y(rank / len(values)))]
        body.append(leg_group(leg, element("path", class_="line", d=coarse_path(steps))))
    body.append(text(unit, WIDTH - 12, HEIGHT - 4, anchor="end", class_="small"))
    names = ", ".join(leg.name for leg in legs)
    label = (
        f"Distribution of the values on {place}: share of blocks with at most a value, in {unit}, for {names}"
    )
    return Chart(WIDTH, HEIGHT, label, tuple(body))
