"""The parts of the page about benchmarks: each with its tables, its charts, and every block behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from perfctl.model import Comparison, FleetComparison, Metric, RunComparison
from perfctl.model.quantity import counted
from perfctl.render.comparison import comparison_section
from perfctl.render.figures import RATIO_LEAD, by_heading
from perfctl.render.html.percentiles import percentiles_table
from perfctl.render.html.tables import Table, figure_table
from perfctl.render.html.targets import MOST_CELLS, MOST_OPEN, TargetPart, farthest, target_part
from perfctl.render.svg.legs import leg_classes
from perfctl.render.view import Remarks
from perfctl.report.document import MeasuredCell, RunDocument
from perfctl.store import StoredBenchmark

_Line = Comparison | FleetComparison
_Item = TypeVar("_Item", Comparison | FleetComparison, RunComparison | FleetComparison)


@dataclass(frozen=True, slots=True)
class BenchmarkPart:
    """One benchmark. `legend` are (class, name) of its environments."""

    id: str
    name: str
    call: str
    metrics: Sequence[str]
    lead: str
    tables: Sequence[Table]
    legend: Sequence[tuple[str, str]]
    targets: Sequence[TargetPart]
    details: Sequence[Table]
    """Tables that are closed at first."""
    hidden: str
    """Which targets are not shown with their blocks; '' where all are."""


def benchmark_ids(benchmarks: Sequence[StoredBenchmark]) -> dict[str, str]:
    """Return the id of each benchmark's part: a number, for names may hold anything."""
    return {item.name: f"b{number}" for number, item in enumerate(benchmarks, 1)}


def benchmark_parts(document: RunDocument, anchors: Mapping[str, str]) -> list[BenchmarkPart]:
    """Return the parts of all benchmarks in the order of the plan."""
    report = document.comparison
    hosts: dict[str, list[Comparison]] = {}
    fleets: dict[str, list[FleetComparison]] = {}
    cells: dict[str, list[MeasuredCell]] = {}
    for item in report.comparisons:
        if not item.is_aa:
            hosts.setdefault(item.benchmark, []).append(item)
    for fleet in report.fleets:
        fleets.setdefault(fleet.benchmark, []).append(fleet)
    for cell in document.cells:
        cells.setdefault(cell.benchmark, []).append(cell)
    share = max(1, MOST_CELLS // max(len(cells), 1)) if len(document.cells) > MOST_CELLS else MOST_CELLS
    return [
        _part(
            document,
            item,
            anchors[item.name],
            fleets.get(item.name, []),
            hosts.get(item.name, []),
            cells.get(item.name, []),
            share,
        )
        for item in document.detail.benchmarks
    ]


def _part(
    document: RunDocument,
    item: StoredBenchmark,
    id_: str,
    fleets: Sequence[FleetComparison],
    hosts: Sequence[Comparison],
    cells: Sequence[MeasuredCell],
    share: int,
) -> BenchmarkPart:
    report = document.comparison
    classes = leg_classes(report.baseline, [environment.name for environment in document.detail.environments])
    chosen = farthest(cells, share)
    parts = [
        target_part(
            document,
            cell,
            classes,
            id_=f"{id_}-{number}",
            percentiles_id=f"{id_}-p",
            is_open=len(chosen) <= MOST_OPEN,
        )
        for number, cell in enumerate(chosen, 1)
    ]
    tables: list[Table] = []
    items: list[_Line] = [*fleets, *hosts]
    for heading, lines in by_heading(items).items():
        for caption, several in by_environment(heading, lines):
            remarks = Remarks()
            section = comparison_section(report, heading, several, remarks)
            number = f"{id_}-t{len(tables) + 1}"
            tables.append(figure_table(section, several, caption=caption, remarks=remarks.texts, id_=number))
    percentiles = percentiles_table(
        document.percentiles_of(item.name), report.baseline, benchmark=item.name, id_=f"{id_}-p"
    )
    hidden = ""
    if len(chosen) < len(cells):
        hidden = (
            f"Blocks are shown of the {len(chosen)} of {counted(len(cells), 'target')} that are farthest from"
            f" the others, so that the file stays small; the tables above have all of them, and"
            f" perfctl why {report.run.run_id} METRIC every block."
        )
    return BenchmarkPart(
        id=id_,
        name=item.name,
        call=" ".join([item.workload, *(f"{name}={value}" for name, value in item.parameters.items())]),
        metrics=_descriptions(cells),
        lead=RATIO_LEAD,
        tables=tables,
        legend=[(class_, name) for name, class_ in classes.items()] if parts else [],
        targets=parts,
        details=[percentiles] if percentiles else [],
        hidden=hidden,
    )


def by_environment(heading: str, lines: Sequence[_Item]) -> list[tuple[str, list[_Item]]]:
    """Return the lines with their caption: of several targets each environment has a table, and a scale."""
    environments = dict.fromkeys(item.environment for item in lines)
    if len(lines) == len(environments) or len(environments) == 1:
        return [(heading, list(lines))]
    return [
        (f"{heading}: {name}", [item for item in lines if item.environment == name]) for name in environments
    ]


def _descriptions(cells: Iterable[MeasuredCell]) -> list[str]:
    metrics: Iterable[Metric] = dict.fromkeys(cell.metric for cell in cells)
    return [f"{item.name}: {item.description}" for item in metrics if item.description]
