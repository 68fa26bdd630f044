"""Samples and comparisons of a run in the formats of other programs: one module, one entry in `EXPORTS`.

    text.py         csv, json, jsonl, markdown
    pyperf.py       `python -m pyperf stats`, `compare_to`
    benchstat.py    Go's benchmark format
    openmetrics.py  Prometheus and whatever reads its text
    junit.py        build servers
    parquet.py      data frames (extra `parquet`)

Formats for statistics (pyperf, benchstat, openmetrics) have the values that comparisons use, without warm-up.
The others have every sample of every invocation, with its status.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from perfctl.render.export import benchstat, junit, openmetrics, parquet, pyperf, text
from perfctl.report import ComparisonReport
from perfctl.report.export import SampleReport

What = Literal["samples", "comparisons"]


@dataclass(frozen=True, slots=True)
class Export:
    """How a run becomes a text (or bytes) of one format; None where the format has no place for it."""

    suffix: str
    samples: Callable[[SampleReport], str | bytes] | None
    comparisons: Callable[[ComparisonReport], str | bytes] | None


EXPORTS: dict[str, Export] = {
    "csv": Export(".csv", text.samples_csv, text.comparisons_csv),
    "json": Export(".json", text.samples_json, text.comparisons_json),
    "jsonl": Export(".jsonl", text.samples_jsonl, text.comparisons_jsonl),
    "markdown": Export(".md", text.samples_markdown, text.comparisons_markdown),
    "pyperf": Export(".json", pyperf.samples, None),
    "benchstat": Export(".txt", benchstat.samples, None),
    "openmetrics": Export(".prom", openmetrics.samples, openmetrics.comparisons),
    "parquet": Export(".parquet", parquet.samples, parquet.comparisons),
    "junit": Export(".xml", junit.samples, junit.comparisons),
}
"""Every format by the name that `perfctl export --format` takes."""
