"""The values of one benchmark on one target by leg, as charts draw them: native, native A2, container, ..."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from perfctl.model import Status
from perfctl.render.svg.elements import Point, crosses_path, dots_path, element, rings_path
from perfctl.report.document import MeasuredCell
from perfctl.store import Evidence

COLORS = 7
"""How many colours the legs have; a later environment has the colour of an earlier one, and its own name."""


@dataclass(frozen=True, slots=True)
class LegValue:
    """The value of one invocation. `after_s` is the time since the first invocation of the cell."""

    block: int
    value: float
    after_s: float
    state: str
    """'', 'outlier', 'flagged' or 'invalid'."""


@dataclass(frozen=True, slots=True)
class LegSeries:
    """All values of one leg in the order in which they were measured."""

    environment: str
    replicate: int
    class_: str
    values: tuple[LegValue, ...]

    @property
    def name(self) -> str:
        """The environment; the second one of the baseline is A2."""
        return leg_name(self.environment, self.replicate)

    @property
    def counted(self) -> tuple[LegValue, ...]:
        """The values that comparisons use."""
        return tuple(item for item in self.values if item.state != "invalid")

    @property
    def middle(self) -> float | None:
        """The median of the values that count, as tables have it; None where there is none."""
        return median(item.value for item in self.counted) if self.counted else None


def leg_name(environment: str, replicate: int) -> str:
    """Return e.g. 'native', and 'native A2' for its second replicate."""
    return f"{environment} A2" if replicate == 2 else environment


def leg_classes(baseline: str, environments: Sequence[str]) -> dict[str, str]:
    """Return the class of each environment's colour: e0 is the baseline's."""
    others = [name for name in environments if name != baseline]
    return {baseline: "e0"} | {name: f"e{place % (COLORS - 1) + 1}" for place, name in enumerate(others)}


def leg_series(cell: MeasuredCell, classes: dict[str, str]) -> list[LegSeries]:
    """Return the legs that have a value: the baseline, its second replicate, then the environments."""
    outliers = {leg for item in cell.comparisons for leg in item.outliers}
    start_s = min((item.started_at for item in cell.invocations), default=0.0)
    legs = [(name, replicate) for name in classes for replicate in (1, 2)]
    found: dict[tuple[str, int], list[LegValue]] = {leg: [] for leg in legs}
    for item in cell.invocations:
        leg = (item.environment, item.replicate)
        if item.status is Status.OK and item.value is not None and leg in found:
            state = state_of(item, (*leg, item.block) in outliers)
            found[leg].append(LegValue(item.block, item.value, item.started_at - start_s, state))
    return [LegSeries(*leg, classes[leg[0]], tuple(values)) for leg, values in found.items() if values]


def state_of(item: Evidence, is_outlier: bool) -> str:
    """Return how the value of an invocation counts: '', 'outlier', 'flagged' or 'invalid'."""
    if item.validity == "invalid":
        return "invalid"
    if is_outlier:
        return "outlier"
    return "flagged" if item.validity == "flagged" else ""


def dots(leg: LegSeries, points: Sequence[Point], values: Sequence[LegValue]) -> str:
    """Return the marks of values at points: dots; crosses where they are invalid, rings around outliers.

    Leg and blocks stand in attributes, by which the page's script finds the cell of the table behind the
    chart. Blocks from 0 on in their order are not named.
    """
    pairs = list(zip(points, values, strict=True))
    counted = [(point, item) for point, item in pairs if item.state != "invalid"]
    invalid = [(point, item) for point, item in pairs if item.state == "invalid"]
    outliers = [point for point, item in pairs if item.state == "outlier"]
    found = []
    for chosen, path, class_ in ((counted, dots_path, "dot"), (invalid, crosses_path, "invalid")):
        if chosen:
            numbers = [item.block for _, item in chosen]
            blocks = None if numbers == list(range(len(numbers))) else " ".join(map(str, numbers))
            data = path([point for point, _ in chosen])
            found.append(element("path", class_=class_, d=data, data_leg=leg.name, data_blocks=blocks))
    if outliers:
        found.append(element("path", class_="outlier", d=rings_path(outliers)))
    return "".join(found)


def leg_group(leg: LegSeries, content: str) -> str:
    """Return a group with the colour of the leg; that of a second replicate is drawn lighter."""
    return element("g", content, class_=f"{leg.class_} a2" if leg.replicate == 2 else leg.class_)
