"""perfctl benchmarks: the workloads, their parameters and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perfctl.cli.command import Command
from perfctl.errors import UsageError
from perfctl.output import Column, Format, Table, emit, format_option

if TYPE_CHECKING:
    from perfctl.workloads import ParameterSpec, Workload


@click.command(cls=Command)
@click.argument("name", required=False)
@click.option("--metrics", is_flag=True, help="Show what NAME reports instead of its parameters.")
@format_option
def benchmarks(name: str | None, metrics: bool, fmt: Format) -> None:
    """List the workloads that suites can use, or show the parameters (or --metrics) of one."""
    from perfctl.workloads import workload

    if name is None:
        if metrics:
            raise UsageError("--metrics needs a NAME", hint="perfctl benchmarks lists the names")
        emit(_all(), fmt)
    elif metrics:
        emit(_metrics(workload(name)), fmt)
    else:
        emit(_parameters(workload(name)), fmt)


def _tests(tool: Workload) -> list[str]:
    """Return the values of the parameter `test`, or one empty word for a workload without."""
    for spec in tool.parameter_specs:
        if spec.name == "test":
            return [str(choice) for choice in spec.choices]
    return [""]


def _all() -> Table:
    from perfctl.workloads import WORKLOADS

    columns = [Column("name", "workload"), Column("scope"), Column("programs"), Column("tests")]
    rows = [
        {
            "name": tool.name,
            "scope": "a pair of hosts" if tool.scope == "pair" else "each host",
            "programs": ", ".join(tool.programs),
            "tests": ", ".join(_tests(tool)),
        }
        for tool in WORKLOADS.values()
    ]
    return Table("workloads", columns, rows, ["Show one: perfctl benchmarks NAME [--metrics]."])


def _parameters(tool: Workload) -> Table:
    columns = [
        Column("name", "parameter"),
        Column("default"),
        Column("unit"),
        Column("allowed"),
        Column("tests", "only test"),
        Column("description"),
    ]
    rows = [
        {
            "name": spec.name,
            "default": str(spec.default).lower() if isinstance(spec.default, bool) else str(spec.default),
            "unit": spec.unit,
            "allowed": _allowed(spec),
            "tests": ", ".join(spec.tests),
            "description": spec.description,
        }
        for spec in tool.parameter_specs
    ]
    return Table("parameters", columns, rows, ["Set one for a whole run: perfctl run --param NAME=VALUE."])


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


def _metrics(tool: Workload) -> Table:
    from perfctl.workloads import resolve_parameters

    columns = [
        Column("test"),
        Column("name", "metric"),
        Column("unit"),
        Column("direction", "better"),
        Column("headline"),
        Column("description"),
    ]
    rows = [
        {
            "test": test,
            "name": metric.name,
            "unit": metric.unit,
            "direction": metric.direction.value,
            "headline": metric.headline,
            "description": metric.description,
        }
        for test in _tests(tool)
        for metric in tool.metrics(resolve_parameters(tool, {"test": test} if test else {}))
    ]
    return Table("metrics", columns, rows)
