"""Charts as SVG text, made by small functions of our own: no library, no script, no font that is loaded.

    elements.py        escaped elements, paths           axes.py      scales, ticks, the frame of a chart
    forest.py          ratios and intervals              blocks.py    paired values of every block
    distribution.py    ECDF                              order.py     values over time
    percentiles.py     latency percentiles               legs.py      the values of a target by leg
    document.py        charts in a file of their own     chart.css    what every class of marks looks like

A chart is a `Chart`: its marks have classes, and the page gives these colours. Numbers that they
show come with the comparisons: nothing is estimated here.
"""

from __future__ import annotations

from perfctl.render.svg.elements import Chart

__all__ = ["Chart"]
