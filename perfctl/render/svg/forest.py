"""The forest plot: one row per comparison, its ratio and interval on a logarithmic scale, sorted by cost.

Directions are aligned: what is on the right of 1x is slower, or less. The equivalence margin of each row is
shaded behind it. Verdicts differ by shape, too, and an interval that decided nothing is dashed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from perfctl.compare import format_interval, format_ratio
from perfctl.model import Comparison, Direction, FleetComparison, RunComparison, SuiteComparison, Verdict
from perfctl.render.figures import environment_text, hosts_text, verdict_text
from perfctl.render.svg.axes import Scale
from perfctl.render.svg.elements import Chart, coordinate, element, line_path, shortened, text

Line = Comparison | FleetComparison | RunComparison | SuiteComparison

FAR = 2.0
"""Factors beyond which a row has its place on a scale of its own: beside 100x nobody sees 1.05x."""

_TICKS = (
    *(1.001, 1.002, 1.005, 1.01, 1.02, 1.05, 1.1, 1.2, 1.5, 2, 2.5, 3, 5, 10, 20, 50, 100, 200, 500),
    *(1e3, 1e4, 1e5, 1e6),
)
_TICK_GAP_PX = 44.0

_CLASSES = {
    Verdict.DIFFERENT.value: "v-different",
    Verdict.DIFFERENT_SMALL.value: "v-small",
    Verdict.EQUIVALENT.value: "v-equivalent",
    Verdict.INCONCLUSIVE.value: "v-inconclusive",
}
NOT_JUDGED = "v-none"
"""Class of what has no verdict: an A/A test, or a guest that was emulated."""


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One comparison as it is drawn: `cost`, `low` and `high` are factors, above 1 is worse."""

    benchmark: str
    environment: str
    place: str
    cost: float | None
    low: float | None
    high: float | None
    margin: float | None
    verdict: str
    words: str
    """The ratio in words, as tables have it."""
    interval: str

    @property
    def class_(self) -> str:
        """The class of its verdict."""
        return _CLASSES.get(self.verdict, NOT_JUDGED)

    @property
    def ends(self) -> list[float]:
        """All factors that it draws, but for its margin."""
        return [value for value in (self.cost, self.low, self.high) if value is not None]

    @property
    def is_far(self) -> bool:
        """Whether a part of it is beyond `FAR` in either direction."""
        return any(max(value, 1 / value) > FAR for value in self.ends)


def forest_row(item: Line) -> ForestRow:
    """Return how a comparison is drawn. Its figures are its own: they are only turned, never computed."""
    if isinstance(item, SuiteComparison):
        direction, benchmark, place = Direction.LOWER, "all benchmarks", f"{len(item.targets)} {item.scope}s"
    else:
        direction, benchmark = item.metric.direction, item.benchmark
        place = hosts_text(item) if isinstance(item, FleetComparison) else str(item.target)
    ratio, low, high = item.ratio, item.low, item.high
    turned = direction is Direction.HIGHER
    return ForestRow(
        benchmark=benchmark,
        environment=environment_text(item),
        place=place,
        cost=_turned(ratio, turned),
        low=_turned(high if turned else low, turned),
        high=_turned(low if turned else high, turned),
        margin=item.judgement.equivalence_margin if item.judgement else None,
        verdict=verdict_text(item),
        words="" if ratio is None else format_ratio(ratio, direction),
        interval="" if ratio is None else format_interval(ratio, low, high),
    )


def _turned(value: float | None, turned: bool) -> float | None:
    return value if value is None or not turned else 1 / value


def by_cost(rows: Iterable[ForestRow]) -> list[ForestRow]:
    """Return the rows with the largest cost first; those without a ratio are last."""
    return sorted(rows, key=lambda row: (row.cost is None, -(row.cost or 0.0)))


def near_and_far(rows: Sequence[ForestRow]) -> list[list[ForestRow]]:
    """Return the rows in one or two groups, each for a scale of its own: near 1x, and beyond `FAR`."""
    groups = [[row for row in rows if row.is_far is is_far] for is_far in (False, True)]
    return [group for group in groups if group]


def forest_scale(rows: Sequence[ForestRow], start: float, end: float) -> Scale:
    """Return a logarithmic scale that holds all rows, 1x, and the margins."""
    reach = [math.log(value) for row in rows for value in row.ends]
    for row in rows:
        size = math.log1p(row.margin or 0.01)
        reach += [-1.5 * size, 1.5 * size]
    low, high = min(reach, default=-0.02), max(reach, default=0.02)
    room = 0.05 * (high - low)
    return Scale(math.exp(low - room), math.exp(high + room), start, end, is_log=True)


def forest_ticks(scale: Scale, gap: float = _TICK_GAP_PX) -> list[tuple[float, str]]:
    """Return the factors of the axis on both sides of 1x, each (cost, text), at least `gap` apart."""
    found = [(1.0, "1x")]
    for side in (1, -1):
        last = scale(1.0)
        for factor in _TICKS:
            cost = factor**side
            if not scale.low <= cost <= scale.high:
                break
            if abs(scale(cost) - last) >= gap:
                last = scale(cost)
                found.append((cost, f"{factor:,.6g}x"))
    return sorted(found)


def forest_mark(row: ForestRow, scale: Scale, middle: float, height: float) -> str:
    """Return the marks of one row around the height `middle`: margin, 1x, interval, estimate.

    What is around them has the class of the row, by which they are coloured.
    """
    top, whole = coordinate(middle - height / 2), coordinate(height)
    found = []
    if row.margin is not None:
        left, right = scale(1 / (1 + row.margin)), scale(1 + row.margin)
        width = coordinate(right - left)
        found.append(_path("margin", f"M{coordinate(left)} {top}h{width}v{whole}h-{width}z"))
    found.append(_path("one", f"M{coordinate(scale(1.0))} {top}v{whole}"))
    if row.cost is None:
        return "".join(found)
    if row.low is not None and row.high is not None:
        left, right = scale(row.low), scale(row.high)
        found.append(_path("interval", f"M{coordinate(left)} {coordinate(middle)}H{coordinate(right)}"))
        ends = "".join(f"M{coordinate(x)} {coordinate(middle - 4)}v8" for x in (left, right))
        found.append(_path("end", ends))
    found.append(_estimate(row, scale(row.cost), middle))
    return "".join(found)


def _path(class_: str, data: str) -> str:
    return element("path", class_=class_, d=data)


def _estimate(row: ForestRow, x: float, y: float) -> str:
    """Return the mark of the estimate: its shape says the verdict, hollow is not decided."""
    if row.class_ == "v-different":
        return _path("mark", f"M{coordinate(x - 4.5)} {coordinate(y - 4.5)}h9v9h-9z")
    if row.class_ == "v-small":
        return _path("mark", f"M{coordinate(x)} {coordinate(y - 6)}l6 6l-6 6l-6 -6z")
    return element("circle", cx=float(x), cy=float(y), r=4.5, class_="mark")


def forest_chart(rows: Sequence[ForestRow], label: str, *, width: float = 820.0) -> Chart:
    """Return the whole plot as one drawing, with the texts of its rows on both sides."""
    left, right, row_px, top = 250.0, width - 240.0, 24.0, 26.0
    scale = forest_scale(rows, left, right)
    bottom = top + row_px * max(len(rows), 1)
    body = [text("faster", left, 12.0), text("slower", right, 12.0, anchor="end")]
    for place, row in enumerate(rows):
        middle = top + row_px * (place + 0.5)
        body.append(text(shortened(f"{row.benchmark} · {row.environment}", left - 20), 4.0, middle - 1))
        body.append(text(shortened(row.place, left - 20), 4.0, middle + 9, class_="small"))
        body.append(element("g", forest_mark(row, scale, middle, row_px), class_=row.class_))
        words = f"{row.words} ({row.interval})" if row.interval else row.words or "no ratio"
        body.append(text(words, right + 14, middle - 1))
        body.append(text(row.verdict, right + 14, middle + 9, class_="small"))
    body += axis(scale, bottom)
    return Chart(width, bottom + 24, label, tuple(body))


def axis(scale: Scale, y: float) -> list[str]:
    """Return the axis with its ticks at the height `y`."""
    ticks = forest_ticks(scale)
    lines = line_path([(scale.start, y), (scale.end, y)])
    lines += "".join(line_path([(scale(value), y), (scale(value), y + 4)]) for value, _ in ticks)
    found = [element("path", d=lines, class_="axis")]
    return found + [text(label, scale(value), y + 16, anchor="middle") for value, label in ticks]
