"""`benchmarks`: the workloads, and the parameters and metrics of one."""

from __future__ import annotations

from collections.abc import Iterable

from perfctl.render.view import Column, View, columns
from perfctl.workloads import ParameterSpec, Workload, resolve_parameters


def workloads_view(workloads: Iterable[Workload]) -> View:
    """Return the view of all workloads."""
    records = [
        {
            "name": item.name,
            "scope": "a pair of hosts" if item.scope == "pair" else "each host",
            "programs": ", ".join(item.programs),
            "tests": ", ".join(_tests(item)),
        }
        for item in workloads
    ]
    fields = [Column("name", "workload"), *columns("scope", "programs", "tests")]
    return View("workloads", fields, records, footer=["Show one: perfctl benchmarks NAME [--metrics]."])


def parameters_view(workload: Workload) -> View:
    """Return the view of a workload's parameters."""
    fields = [
        Column("name", "parameter"),
        *columns("default", "unit", "allowed"),
        Column("tests", "only test"),
        Column("description"),
    ]
    records = [
        {
            "name": spec.name,
            "default": str(spec.default).lower() if isinstance(spec.default, bool) else str(spec.default),
            "unit": spec.unit,
            "allowed": _allowed(spec),
            "tests": ", ".join(spec.tests),
            "description": spec.description,
        }
        for spec in workload.parameter_specs
    ]
    hint = "Set one for a whole run: perfctl run --param NAME=VALUE."
    return View("parameters", fields, records, footer=[hint])


def metrics_view(workload: Workload) -> View:
    """Return the view of what a workload reports, test by test."""
    fields = [
        Column("test"),
        Column("name", "metric"),
        Column("unit"),
        Column("direction", "better"),
        *columns("headline", "description"),
    ]
    records = [
        {
            "test": test,
            "name": metric.name,
            "unit": metric.unit,
            "direction": metric.direction.value,
            "headline": metric.headline,
            "description": metric.description,
        }
        for test in _tests(workload)
        for metric in workload.metrics(resolve_parameters(workload, {"test": test} if test else {}))
    ]
    return View("metrics", fields, records)


def _tests(workload: Workload) -> list[str]:
    """Return the values of the parameter `test`, or one empty word for a workload without."""
    for spec in workload.parameter_specs:
        if spec.name == "test":
            return [str(choice) for choice in spec.choices]
    return [""]


def _allowed(spec: ParameterSpec) -> str:
    """Return the limits of a parameter as people read them."""
    if spec.choices:
        return ", ".join(str(choice) or "''" for choice in spec.choices)
    if isinstance(spec.default, bool):
        return "true, false"
    if spec.minimum is not None and spec.maximum is not None:
        return f"{spec.minimum:g} to {spec.maximum:g}"
    if spec.minimum is not None:
        return f"from {spec.minimum:g}"
    return spec.pattern
