"""OpenMetrics text: gauges of every value, or of every comparison, with what they are of as labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median

from perfctl.output import visible
from perfctl.render.comparison_records import comparison_records
from perfctl.report import ComparisonReport
from perfctl.report.export import SampleReport

_OF_COMPARISONS = {
    "ratio": "Environment over baseline.",
    "low": "Lower end of the 95 % interval of the ratio.",
    "high": "Upper end of the 95 % interval of the ratio.",
    "q": "p after the correction for all comparisons of the report.",
    "baseline_value": "Median over blocks of the baseline, in the metric's unit.",
    "value": "Median over blocks of the environment, in the metric's unit.",
}
_LABELS = (
    "run_id",
    "suite",
    "level",
    "benchmark",
    "target",
    "metric",
    "unit",
    "environment",
    "baseline",
    "verdict",
)

Sample = tuple[Mapping[str, str], float]


def samples(report: SampleReport) -> str:
    """Return a gauge `perfctl_value`: one value per invocation and metric that comparisons use."""
    summary = report.detail.summary
    found: list[Sample] = []
    for item in report.used:
        for series in item.series:
            labels = {
                "run_id": summary.run_id,
                "suite": summary.suite,
                "benchmark": item.benchmark,
                "target": str(item.target),
                "environment": item.environment,
                "replicate": str(item.replicate),
                "block": str(item.block),
                "metric": series.metric.name,
                "unit": series.metric.unit,
            }
            if series.counted:
                found.append((labels, median(series.counted)))
    text = "Value of a metric in one invocation: the median of its samples without warm-up."
    return "".join([*_family("perfctl_value", text, found), "# EOF\n"])


def comparisons(report: ComparisonReport) -> str:
    """Return gauges `perfctl_comparison_*` of all comparisons with a verdict; what is missing has no line."""
    records = [record for record in comparison_records(report) if record["level"] != "left_out"]
    records = [record for record in records if not record["is_aa"]]
    parts = []
    for name, text in _OF_COMPARISONS.items():
        found = [
            ({label: str(record[label] or "") for label in _LABELS}, float(record[name]))
            for record in records
            if record[name] is not None
        ]
        parts += _family(f"perfctl_comparison_{name}", text, found)
    return "".join([*parts, "# EOF\n"])


def _family(name: str, text: str, found: Iterable[Sample]) -> list[str]:
    lines = [f"# TYPE {name} gauge\n", f"# HELP {name} {text}\n"]
    for labels, value in found:
        inside = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        lines.append(f"{name}{{{inside}}} {value!r}\n")
    return lines


def _escaped(text: str) -> str:
    return visible(text).replace("\\", "\\\\").replace('"', '\\"')
