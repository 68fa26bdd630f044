"""`suites`: what can be measured with one word, and the benchmarks of one suite."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from perfctl.model import Benchmark, Suite
from perfctl.model.quantity import percent
from perfctl.render.view import Column, View, columns
from perfctl.workloads import workload_of


def suites_view(suites: Iterable[Suite]) -> View:
    """Return the view of all suites."""
    fields = [
        Column("name", "suite"),
        Column("benchmarks", align="right"),
        Column("environments"),
        *columns("blocks", "precision", align="right"),
        Column("description"),
    ]
    records = [
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
        for suite in suites
    ]
    hint = "Show one: perfctl suites NAME. Run one: perfctl run --suite NAME."
    return View("suites", fields, records, footer=[hint])


def suite_view(suite: Suite) -> View:
    """Return the view of one suite's benchmarks."""
    fields = [
        Column("name", "benchmark"),
        Column("workload"),
        Column("settings", "parameters (defaults left out)"),
        Column("headline"),
        Column("expected_s", "one takes", "s", "right"),
        Column("blocks", align="right"),
        Column("precision_percent", "precision ±", "%", "right"),
    ]
    environments = ", ".join(environment.name for environment in suite.environments)
    blocks = "as many as the precision needs" if suite.blocks is None else suite.blocks
    footer = [
        f"{suite.description} ({suite.source})",
        f"environments: {environments}; baseline: {suite.baseline}; blocks: {blocks}",
        f"what one is made of: perfctl environments NAME --suite {suite.name}",
    ]
    return View("suite", fields, [_record(suite, item) for item in suite.benchmarks], footer=footer)


def _record(suite: Suite, benchmark: Benchmark) -> dict[str, Any]:
    tool = workload_of(benchmark)
    defaults = {spec.name: spec.default for spec in tool.parameter_specs}
    shown = [
        f"{key}={value}"
        for key, value in benchmark.parameters.items()
        if key == "test" or value != defaults[key]
    ]
    (headline,) = (metric for metric in tool.metrics(benchmark.parameters) if metric.headline)
    return {
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


def _precision(suite: Suite) -> str:
    """Return e.g. '±1 %', all that benchmarks ask for; '' when the number of blocks is fixed."""
    asked = sorted({item.precision for item in suite.benchmarks if item.precision is not None})
    return ", ".join(f"±{percent(share)}" for share in asked)
