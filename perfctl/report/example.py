"""Read a real output as a workload would, metric by metric, with the lines that the values come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from perfctl.model import Metric
from perfctl.report.output_lines import OutputLines, output_lines
from perfctl.workloads import Parameters, Workload


@dataclass(frozen=True, slots=True)
class MetricReading:
    """What was read of one metric, and from which lines."""

    metric: Metric
    values: tuple[float, ...]
    """Empty where the metric is of the command itself, whatever it prints."""
    source: OutputLines


def read_example(workload: Workload, parameters: Parameters, text: str) -> Iterator[MetricReading]:
    """Yield every metric that the workload declares. Raises OutputError as `Workload.read_output` does."""
    samples = workload.parse(text, parameters)
    for metric in workload.metrics(parameters):
        values = tuple(sample.value for sample in samples if sample.metric == metric.name)
        lines = OutputLines((), 0, "of the command itself: it is not printed")
        if values:
            lines = output_lines(text, values, metric.name, workload, parameters)
        yield MetricReading(metric, values, lines)
