"""`workloads check`: what a workload runs, and what is read from an output of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from perfctl.model.quantity import quantity
from perfctl.render.view import WIDEST_CELL, Column, View, columns
from perfctl.report.example import MetricReading
from perfctl.workloads import Parameters, Workload

_ADDRESS = "ADDRESS"
_MOST_VALUES = 3


def commands_view(workload: Workload, parameters: Parameters) -> View:
    """Return the view of the commands that an invocation runs, in their order."""
    server = workload.server(parameters)
    steps = [
        *(
            ("setup", argv)
            for argv in (*workload.folder_argvs(parameters), *workload.setup_argvs(parameters))
        ),
        *([("server", server.argv)] if server else []),
        ("measured", workload.argv(parameters, server_address=_ADDRESS if server else None)),
        *(("cleanup", argv) for argv in workload.cleanup_argvs(parameters)),
    ]
    records = [{"step": step, "command": shlex.join(argv), "argv": list(argv)} for step, argv in steps]
    metrics = ", ".join(f"{item.name} ({item.unit})" for item in workload.metrics(parameters))
    footer = [
        f"metrics: {metrics}",
        f"it takes {workload.expected_s(parameters):g} s when all is well",
        *(
            f"copied before setup: {item.source} to {item.path}"
            for item in workload.files_to_copy(parameters)
        ),
        f"what would be read from an output: perfctl workloads check {workload.name} --output FILE",
    ]
    return View("commands", columns("step", "command"), records, footer=footer)


def readings_view(readings: Iterable[MetricReading]) -> View:
    """Return the view of what was read from an output, and from which lines."""
    fields = [
        Column("metric"),
        Column("value"),
        Column("samples", align="right"),
        Column("line", align="right"),
        Column("text"),
    ]
    records = []
    for item in readings:
        shown = [quantity(value, item.metric.unit) for value in item.values[:_MOST_VALUES]]
        more = ["..."] if len(item.values) > _MOST_VALUES else []
        line = item.source.lines[0] if item.source.lines else None
        records.append(
            {
                "metric": item.metric.name,
                "value": ", ".join([*shown, *more]) or None,
                "samples": len(item.values),
                "line": line.number if line else None,
                "text": (line.text.strip()[:WIDEST_CELL] if line else "") or item.source.how,
                "values": list(item.values),
                "unit": item.metric.unit,
                "lines": [{"number": each.number, "text": each.text} for each in item.source.lines],
            }
        )
    return View("readings", fields, records)
