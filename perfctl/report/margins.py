"""Equivalence margins, from the tool's resolution and from how far the baseline differed from itself."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import groupby

import numpy as np

from perfctl.errors import SuiteError
from perfctl.model import Metric
from perfctl.report.health import aa_cells
from perfctl.stats.hodges_lehmann import estimates
from perfctl.stats.order import EquivalenceMargin, equivalence_margin
from perfctl.store import HistoryCell, RunDetail
from perfctl.workloads import known_workload, resolve_parameters

Key = tuple[str, str]
"""(benchmark, metric)"""


def declared_metrics(detail: RunDetail) -> dict[Key, Metric]:
    """Return the metrics of a run's benchmarks as this version of the program declares them.

    Those of a workload that is gone, or that refuses its parameters today, are left out.
    """
    found: dict[Key, Metric] = {}
    for item in detail.benchmarks:
        workload = known_workload(item)
        if workload is None:
            continue
        try:
            parameters = resolve_parameters(workload, item.parameters)
        except SuiteError:  # Parameters of another version: nothing is known of its metrics.
            continue
        found |= {(item.name, metric.name): metric for metric in workload.metrics(parameters)}
    return found


def equivalence_margins(
    detail: RunDetail, declared: Mapping[Key, Metric], history: Iterable[HistoryCell]
) -> dict[Key, EquivalenceMargin]:
    """Return the margin of every benchmark and metric, from A/A tests of runs before this one.

    `history` are cells of the baselines; those of other benchmarks, and of this run and later ones, must be
    left out by the caller, so that a verdict does not depend on what was measured after it.
    """
    names = {item.key: item.name for item in detail.benchmarks}
    found: dict[Key, list[float]] = defaultdict(list)
    for (benchmark_key, metric), sizes in _aa_sizes(history).items():
        if benchmark_key in names:
            found[names[benchmark_key], metric] += sizes
    keys = [*declared, *(key for key in found if key not in declared)]
    return {
        key: equivalence_margin(
            found.get(key, ()), resolution=(declared[key].resolution or 0.0) if key in declared else 0.0
        )
        for key in keys
    }


def _aa_sizes(history: Iterable[HistoryCell]) -> dict[Key, list[float]]:
    """Return ln(A2/A1) of every earlier A/A comparison (Hodges-Lehmann), by benchmark key and metric."""
    rows: list[tuple[int, Key, list[float]]] = []
    for first, second in aa_cells(history):
        one = first.values
        pairs = [(one[block], value) for block, value in second.values.items() if block in one]
        if pairs and all(x > 0 and y > 0 for x, y in pairs):
            differences = [math.log(y) - math.log(x) for x, y in pairs]
            rows.append((len(pairs), (second.benchmark_key, second.metric.name), differences))
    found: dict[Key, list[float]] = defaultdict(list)
    for _, same in groupby(sorted(rows, key=lambda row: row[0]), key=lambda row: row[0]):
        entries = list(same)
        sizes = estimates(np.array([differences for _, _, differences in entries])).tolist()
        for (_, asked, _), size in zip(entries, sizes, strict=True):
            found[asked].append(size)
    return found
