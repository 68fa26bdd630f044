"""The values of a benchmark on one target in the order in which they were measured: a drift shows here."""

from __future__ import annotations

from perfctl.model.quantity import percent
from perfctl.render.svg.axes import Frame, Scale, scale_of
from perfctl.render.svg.blocks import BOTTOM, HEIGHT, LEFT, TOP, WIDTH
from perfctl.render.svg.elements import Chart, coarse_path, element, text
from perfctl.render.svg.legs import LegSeries, dots, leg_group

_UNITS = ((3 * 3600, 3600, "h"), (180, 60, "min"), (0, 1, "s"))
"""(from which duration on, seconds, name)"""


def order_chart(legs: list[LegSeries], *, place: str, baseline: str) -> Chart:
    """Return each value as a share of the median of its leg over time; those of the baseline are joined.

    All legs are around 100 % then, so that what the host does to all of them is seen whatever they cost.
    """
    shown = [(leg, leg.middle) for leg in legs]
    shares = {leg.name: [100 * item.value / middle for item in leg.values] for leg, middle in shown if middle}
    last_s = max((item.after_s for leg in legs for item in leg.values), default=0.0) or 1.0
    _, size_s, unit = next(entry for entry in _UNITS if last_s >= entry[0])
    y = scale_of([100.0, *(share for values in shares.values() for share in values)], BOTTOM, TOP)
    room = 0.04 * last_s / size_s
    x = Scale(-room, last_s / size_s + room, LEFT, WIDTH - 12)
    body = Frame(x, y, TOP, BOTTOM).grid(
        x_ticks=[(value, f"{value:g}") for value in x.ticks(4)],
        y_ticks=[(value, f"{value:.4g} %") for value in y.ticks(4)],
    )
    body.append(element("path", class_="one", d=coarse_path([(LEFT, y(100.0)), (WIDTH - 12, y(100.0))])))
    for leg, middle in shown:
        if not middle:
            continue
        points = [
            (x(item.after_s / size_s), y(share))
            for item, share in zip(leg.values, shares[leg.name], strict=True)
        ]
        line = (
            element("path", class_="line", d=coarse_path(points))
            if (leg.environment, leg.replicate) == (baseline, 1)
            else ""
        )
        body.append(leg_group(leg, line + dots(leg, points, leg.values)))
    body.append(
        text(f"{unit} since the first invocation", WIDTH - 12, HEIGHT - 4, anchor="end", class_="small")
    )
    spread = [share for values in shares.values() for share in values]
    range_ = f", from {percent(min(spread) / 100)} to {percent(max(spread) / 100)}" if spread else ""
    label = (
        f"Values on {place} in the order of measuring, as a share of the median of their environment{range_}"
    )
    return Chart(WIDTH, HEIGHT, label, tuple(body))
