"""The forest plot and the blocks of a benchmark as text, for a terminal of 40 columns or more."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Sequence

from perfctl.errors import UsageError
from perfctl.model.quantity import MISSING, number
from perfctl.output import visible
from perfctl.render.plot import chosen_cells, forest_rows
from perfctl.render.svg.axes import Scale, scale_of
from perfctl.render.svg.forest import ForestRow, forest_scale, forest_ticks, near_and_far
from perfctl.render.svg.legs import LegSeries, leg_classes, leg_series
from perfctl.render.view import cut
from perfctl.report.document import MeasuredCell, RunDocument

NARROWEST = 40
_LEAST_PLOT = 16
_TICK_GAP = 7
_MARKS = {"v-different": "■", "v-small": "◆", "v-equivalent": "●", "v-inconclusive": "○", "v-none": "○"}
_ASCII = str.maketrans("■◆●○─├┤│░·…—", "#*@o-[]|:..-")


def forest_text(
    document: RunDocument, *, width: int = 100, is_ascii: bool = False, benchmark: str | None = None
) -> str:
    """Return a line per comparison: its name, its interval on a scale of factors, its ratio and verdict."""
    lines: list[str] = []
    for rows in near_and_far(forest_rows(document.comparison, benchmark=benchmark)):
        lines += [*_forest_lines(rows, max(width, NARROWEST)), ""]
    baseline = document.comparison.baseline
    legend = "■ different  ◆ different, small  ● equivalent  ○ inconclusive  ░ inside the equivalence margin"
    lines += [f"left of 1x: faster than {baseline}; right: slower; ├─┤ 95 % interval", legend]
    return _text(lines, is_ascii=is_ascii)


def _forest_lines(rows: Sequence[ForestRow], width: int) -> list[str]:
    names = [
        cut(visible(f"{row.benchmark}  {row.environment}  {row.place}"), max(12, width // 3)) for row in rows
    ]
    texts = [f"{row.words}, {row.verdict}" if row.verdict else row.words for row in rows]
    left, right = max(map(len, names)), max(map(len, texts))
    # On a narrow terminal the plot alone is left: its marks say the verdicts.
    has_texts = width - left - right - 4 >= _LEAST_PLOT
    columns = max(_LEAST_PLOT, width - left - (right + 4 if has_texts else 2))
    scale = forest_scale(rows, 0, columns - 1)
    found = [
        f"{name:<{left}}  {_forest_line(row, scale, columns)}" + (f"  {text}" if has_texts else "")
        for name, row, text in zip(names, rows, texts, strict=True)
    ]
    return [*found, " " * (left + 2) + _axis(forest_ticks(scale, _TICK_GAP), scale, columns)]


def _forest_line(row: ForestRow, scale: Scale, columns: int) -> str:
    cells = [" "] * columns

    def put(first: float, last: float, char: str) -> None:
        for place in range(max(0, round(scale(first))), min(columns - 1, round(scale(last))) + 1):
            cells[place] = char

    if row.margin is not None:
        put(1 / (1 + row.margin), 1 + row.margin, "░")
    put(1.0, 1.0, "│")
    if row.low is not None and row.high is not None:
        put(row.low, row.high, "─" if row.class_ != "v-inconclusive" else "·")
        put(row.low, row.low, "├")
        put(row.high, row.high, "┤")
    if row.cost is not None:
        put(row.cost, row.cost, _MARKS[row.class_])
    return "".join(cells)


def _axis(ticks: Sequence[tuple[float, str]], scale: Scale, columns: int) -> str:
    cells = [" "] * columns
    for value, label in sorted(ticks, key=lambda tick: (tick[0] != 1.0, tick[0])):
        start = min(max(0, round(scale(value)) - len(label) // 2), columns - len(label))
        place = slice(max(0, start - 1), start + len(label) + 1)
        if "".join(cells[place]).strip() == "":
            cells[start : start + len(label)] = label
    return "".join(cells).rstrip()


def blocks_text(
    document: RunDocument,
    *,
    width: int = 100,
    is_ascii: bool = False,
    benchmark: str | None = None,
    host: str | None = None,
) -> str:
    """Return, per benchmark and target, a line per block and environment: baseline and value on one scale."""
    baseline = document.comparison.baseline
    classes = leg_classes(baseline, [item.name for item in document.detail.environments])
    lines: list[str] = []
    for cell in chosen_cells(document, benchmark=benchmark, host=host):
        lines += [*_cell_lines(cell, leg_series(cell, classes), baseline, max(width, NARROWEST)), ""]
    lines.append(f"● the environment, ○ {baseline}, a line between the two values of one block; x invalid")
    return _text(lines, is_ascii=is_ascii)


def _cell_lines(cell: MeasuredCell, legs: Sequence[LegSeries], baseline: str, width: int) -> list[str]:
    head = visible(f"{cell.benchmark} on {cell.target}: {cell.metric.name} ({cell.metric.unit})")
    base = {item.block: item for leg in legs if leg.name == baseline for item in leg.values}
    others = [leg for leg in legs if leg.environment != baseline]
    values = [item.value for leg in legs for item in leg.values]
    left = max([len(visible(leg.name)) for leg in others] or [0])
    columns = max(12, width - min(left, width // 3) - 18)
    scale = scale_of(values, 0, columns - 1, may_be_log=True)
    found = [head]
    for leg in others:
        for item in leg.values:
            other = base.get(item.block)
            cells = [" "] * columns
            at = round(scale(item.value))
            if other is not None:
                start = round(scale(other.value))
                for place in range(min(at, start), max(at, start) + 1):
                    cells[place] = "─"
                cells[start] = "x" if other.state == "invalid" else "○"
            cells[at] = "x" if item.state == "invalid" else "●"
            difference = cell.differences.get((leg.environment, item.block))
            change = MISSING if difference is None else f"{100 * math.expm1(difference):+.1f} %"
            name = cut(visible(leg.name), max(6, width // 3))
            found.append(f"{name:<{min(left, width // 3)}} {item.block:>4} {''.join(cells)} {change:>9}")
    ends = f"{number(min(values))} to {number(max(values))} {cell.metric.unit}"
    return [*found, " " * (min(left, width // 3) + 6) + ends]


def _text(lines: Sequence[str], *, is_ascii: bool) -> str:
    content = "\n".join(line.rstrip() for line in lines) + "\n"
    return content.translate(_ASCII) if is_ascii else content


def terminal_plot(
    document: RunDocument, kind: str, *, benchmark: str | None = None, host: str | None = None
) -> str:
    """Return a chart as wide as the terminal, in ASCII where stdout has nothing else. Raises UsageError."""
    width = shutil.get_terminal_size((100, 24)).columns
    is_ascii = not (sys.stdout.encoding or "").lower().startswith("utf")
    if kind == "forest":
        return forest_text(document, width=width, is_ascii=is_ascii, benchmark=benchmark)
    if kind == "blocks":
        return blocks_text(document, width=width, is_ascii=is_ascii, benchmark=benchmark, host=host)
    raise UsageError(f"{kind} cannot be drawn as text", hint="-o FILE.svg, or --kind forest or blocks")
