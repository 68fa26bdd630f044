"""perfctl suites: what can be measured with one word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perfctl.cli.command import Command
from perfctl.cli.settings import Settings
from perfctl.output import Column, Format, Table, emit, format_option, percent

if TYPE_CHECKING:
    from perfctl.model import Suite


@click.command(cls=Command)
@click.argument("name", required=False)
@format_option
@click.pass_obj
def suites(settings: Settings, name: str | None, fmt: Format) -> None:
    """List the suites (built in, and the project's suites/*.toml), or show the benchmarks of one.

    NAME may be a file: anything with a '/' or the ending .toml.
    """
    emit(_one(settings, name) if name else _all(settings), fmt)


def _all(settings: Settings) -> Table:
    from perfctl.suites import list_suites

    columns = [
        Column("name", "suite"),
        Column("benchmarks", align="right"),
        Column("environments"),
        Column("blocks", align="right"),
        Column("precision", align="right"),
        Column("description"),
    ]
    rows = [
        {
            "name": suite.name,
            "benchmarks": len(suite.benchmarks),
            "environments": ", ".join(environment.name for environment in suite.environments),
            "blocks": suite.blocks,
            "precision": _precision(suite) or None,
            "description": suite.description,
            "baseline": suite.baseline,
            "source": suite.source,
        }
        for suite in list_suites(settings.project_dir)
    ]
    return Table(
        "suites", columns, rows, ["Show one: perfctl suites NAME. Run one: perfctl run --suite NAME."]
    )


def _precision(suite: Suite) -> str:
    """Return e.g. '±1 %', all that benchmarks ask for; '' when the number of blocks is fixed."""
    asked = sorted({item.precision for item in suite.benchmarks if item.precision is not None})
    return ", ".join(f"±{percent(share)}" for share in asked)


def _one(settings: Settings, name: str) -> Table:
    from perfctl.suites import load_suite
    from perfctl.workloads import workload

    suite = load_suite(name, project_dir=settings.project_dir)
    columns = [
        Column("name", "benchmark"),
        Column("workload"),
        Column("settings", "parameters (defaults left out)"),
        Column("headline"),
        Column("expected_s", "one takes", "s", "right"),
        Column("blocks", align="right"),
        Column("precision_percent", "precision ±", "%", "right"),
    ]
    rows = []
    for benchmark in suite.benchmarks:
        tool = workload(benchmark.workload)
        defaults = {spec.name: spec.default for spec in tool.parameter_specs}
        shown = [
            f"{key}={value}"
            for key, value in benchmark.parameters.items()
            if key == "test" or value != defaults[key]
        ]
        (headline,) = (metric for metric in tool.metrics(benchmark.parameters) if metric.headline)
        rows.append(
            {
                "name": benchmark.name,
                "workload": benchmark.workload,
                "settings": " ".join(shown),
                "headline": f"{headline.name} ({headline.unit})",
                "expected_s": benchmark.expected_s,
                "blocks": benchmark.blocks or suite.blocks,
                "precision_percent": None if benchmark.precision is None else 100 * benchmark.precision,
                "scope": benchmark.scope,
                "parameters": dict(benchmark.parameters),
                "key": benchmark.key,
            }
        )
    environments = ", ".join(environment.name for environment in suite.environments)
    blocks = "as many as the precision needs" if suite.blocks is None else suite.blocks
    notes = [
        f"{suite.description} ({suite.source})",
        f"environments: {environments}; baseline: {suite.baseline}; blocks: {blocks}",
    ]
    return Table("suite", columns, rows, notes)
