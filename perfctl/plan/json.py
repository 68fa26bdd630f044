"""Write a plan as JSON, and read it back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from perfctl.errors import DataError
from perfctl.model import (
    Benchmark,
    Block,
    Decision,
    Environment,
    Plan,
    PlannedInvocation,
    Round,
    Target,
    Track,
    canonical_json,
)

PLAN_SCHEMA_VERSION = 1


def plan_to_json(plan: Plan) -> str:
    """Return the plan as canonical JSON; `plan_from_json` gives an equal plan back."""
    return canonical_json({"schema_version": PLAN_SCHEMA_VERSION, "plan": plan})


def plan_from_json(text: str) -> Plan:
    """Return the plan written by `plan_to_json`. Raises DataError when the text is none."""
    try:
        content = json.loads(text)
        if content["schema_version"] != PLAN_SCHEMA_VERSION:
            raise DataError(
                f"the plan has schema version {content['schema_version']}, not {PLAN_SCHEMA_VERSION}",
                hint="resume it with the version of perfctl that started the run",
            )
        plan = content["plan"]
        return Plan(
            suite=plan["suite"],
            seed=plan["seed"],
            baseline=plan["baseline"],
            environments=tuple(map(_environment, plan["environments"])),
            benchmarks=tuple(Benchmark(**item) for item in plan["benchmarks"]),
            rounds=tuple(Round(tuple(map(_track, round_["tracks"]))) for round_ in plan["rounds"]),
            host_view=plan.get("host_view", True),
            decisions=tuple(Decision(**item) for item in plan.get("decisions", ())),
            required=tuple(plan.get("required", ())),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"this is no stored plan: {type(error).__name__}: {error}") from error


def _environment(item: Mapping[str, Any]) -> Environment:
    others = {key: _environment(value) for key, value in item.items() if isinstance(value, dict)}
    return Environment(**(_tuples(item) | others))


def _tuples(item: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists where the frozen values have tuples."""
    return {key: _as_tuple(value) for key, value in item.items()}


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def _track(item: Mapping[str, Any]) -> Track:
    return Track(tuple(_block(block) for block in item["blocks"]))


def _block(item: Mapping[str, Any]) -> Block:
    invocations = tuple(PlannedInvocation(**invocation) for invocation in item["invocations"])
    return Block(item["benchmark"], Target(**item["target"]), item["index"], invocations)
