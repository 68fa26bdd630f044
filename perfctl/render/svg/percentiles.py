"""Percentiles of latencies: the median over blocks of each percentile, one line per environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from perfctl.render.svg.axes import Frame, Scale, labelled, scale_of
from perfctl.render.svg.blocks import BOTTOM, HEIGHT, LEFT, TOP, WIDTH
from perfctl.render.svg.elements import Chart, coarse_path, dots_path, element, text


def percentile_chart(
    values: Mapping[str, Mapping[int, float]], classes: Mapping[str, str], *, place: str, unit: str
) -> Chart:
    """Return a chart of {environment: {percent: value}}; percentiles have equal distances."""
    percents: Sequence[int] = sorted({percent for of in values.values() for percent in of})
    y = scale_of((value for of in values.values() for value in of.values()), BOTTOM, TOP, may_be_log=True)
    x = Scale(-0.3, len(percents) - 0.7, LEFT, WIDTH - 12)
    body = Frame(x, y, TOP, BOTTOM).grid(
        x_ticks=[(float(at), f"p{percent}") for at, percent in enumerate(percents)],
        y_ticks=labelled(y.ticks(4)),
    )
    for environment, of in values.items():
        points = [(x(float(percents.index(percent))), y(value)) for percent, value in sorted(of.items())]
        marks = element("path", class_="line", d=coarse_path(points)) + element(
            "path", class_="dot", d=dots_path(points)
        )
        body.append(element("g", marks, class_=classes[environment]))
    body.append(text(unit, 2.0, 9.0, class_="small"))
    label = f"Latency percentiles on {place}, median over blocks, in {unit}, for {', '.join(values)}"
    return Chart(WIDTH, HEIGHT, label, tuple(body))
