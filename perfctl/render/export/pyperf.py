"""The file format of pyperf: a benchmark per metric, target and environment, a run per invocation.

pyperf knows three units, so times are converted to seconds, and every other metric is an 'integer'; its own
unit is in the metadata. Text has no line ends there, so they are escapes. Values must be positive: an
invocation with another one is left out.
"""

from __future__ import annotations

import json
from typing import Any

from perfctl.output import visible
from perfctl.render.runs import utc_text
from perfctl.report.export import SampleReport
from perfctl.store import MeasuredInvocation, SampleSeries

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def samples(report: SampleReport) -> str:
    """Return the text of one suite of pyperf with the values that comparisons use."""
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    units: dict[tuple[str, ...], str] = {}
    environments = {item.environment for item in report.used}
    for item in report.used:
        for series in item.series:
            name = _name(item, series, has_environment=len(environments) > 1)
            values = _in_seconds(series)
            if values and min(values) > 0:
                units[name] = series.metric.unit
                found.setdefault(name, []).append({"metadata": _run_metadata(item), "values": values})
    benchmarks = [
        {
            "metadata": {
                "name": "/".join(name),
                "unit": "second" if units[name] in _SECONDS else "integer",
                "perfctl_unit": units[name],
            },
            "runs": runs,
        }
        for name, runs in found.items()
    ]
    summary = report.detail.summary
    metadata = {"perfctl_run": summary.run_id, "perfctl_suite": visible(summary.suite)}
    content = {"benchmarks": benchmarks, "metadata": metadata, "version": "1.0"}
    return json.dumps(content, allow_nan=False, indent=1) + "\n"


def _name(item: MeasuredInvocation, series: SampleSeries, *, has_environment: bool) -> tuple[str, ...]:
    """Return the parts of a name, in a file of one environment without it: pyperf compares equal names."""
    leg = f"{item.environment} A2" if item.replicate == 2 else item.environment
    parts = [item.benchmark, series.metric.name, str(item.target)]
    if has_environment or item.replicate == 2:
        parts.append(leg)
    return tuple(visible(part) for part in parts)


def _in_seconds(series: SampleSeries) -> list[float]:
    factor = _SECONDS.get(series.metric.unit, 1.0)
    return [value if factor == 1.0 else value * factor for value in series.counted]


def _run_metadata(item: MeasuredInvocation) -> dict[str, Any]:
    return {
        "date": str(utc_text(item.started_at)).replace("T", " ").removesuffix("Z"),
        "perfctl_block": item.block,
        "perfctl_invocation": item.invocation_id,
    }
