"""Any plan survives being stored; any other text, and one whose parts do not go together, is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st

from perfctl.errors import DataError
from perfctl.model import Benchmark, Decision, Environment, Host, Plan, Suite
from perfctl.plan import estimate_s, make_plan, plan_from_json, plan_to_json
from perfctl.suites import load_suite
from tests.fuzz.inputs import bounded, given, inputs
from tests.fuzz.mutation import JSON, TEXTS, mutated, mutated_json
from tests.unit.test_plan_json import environments

HOSTS = [
    Host(f"h{number}", f"192.0.2.{number}", resource="a" if number < 3 else None) for number in (1, 2, 3)
]
PARAMETERS = st.dictionaries(
    TEXTS, TEXTS | st.integers(0, 2**63 - 1) | st.booleans() | st.floats(0, 1e300), max_size=3
)
BENCHMARKS = st.builds(
    Benchmark,
    name=TEXTS,
    workload=TEXTS,
    parameters=PARAMETERS,
    expected_s=st.floats(0, 1e300),
    scope=st.sampled_from(["host", "pair"]),
    precision=st.none() | st.floats(1e-4, 0.5),
    blocks=st.none() | st.integers(1, 3),
    targets=st.none() | st.integers(1, 3),
)
_SUITE = load_suite("parity", blocks=1)
PLAN = replace(
    make_plan(
        replace(_SUITE, benchmarks=(*_SUITE.benchmarks[:2], *load_suite("net", blocks=1).benchmarks[:1])),
        HOSTS,
        seed="1",
    ),
    decisions=(Decision("cpu-1-thread", 12, 12, "±1 %"),),
    required=("vm-1cpu",),
)


@inputs("plans", 0.1)
@given(
    st.lists(environments, min_size=1, max_size=3, unique_by=lambda each: each.name),
    st.lists(BENCHMARKS, max_size=3, unique_by=lambda each: each.name),
    TEXTS.filter(lambda text: "\ud800" not in text),
)
def test_any_plan_survives_json_exactly(
    chosen: list[Environment], measured: list[Benchmark], seed: str
) -> bool:
    measured = [item for item in measured if "\ud800" not in item.name]
    suite = Suite("s", "", chosen[0].name, tuple(chosen), tuple(measured), 1)
    plan = make_plan(suite, HOSTS, seed=seed)
    text = plan_to_json(plan)
    again = plan_from_json(text)
    assert again == plan
    assert plan_to_json(again) == text
    assert [each.key for each in again.environments] == [each.key for each in chosen]
    assert [each.key for each in again.benchmarks] == [each.key for each in measured]
    return True


def is_plan(text: str) -> bool:
    """Return whether a text is a plan; if so, everything in it has its type, and it can be gone through."""
    try:
        plan = plan_from_json(text, where="run 1")
    except DataError as error:
        assert error.where == "run 1" and len(str(error)) < 2_000
        return False
    check_types(plan)
    assert plan_from_json(plan_to_json(plan)) == plan
    overheads: Mapping[str, float] = {layer.kind: 1.0 for item in plan.environments for layer in item.layers}
    assert (
        estimate_s(plan, overhead_s={**dict.fromkeys(("native", "container", "vm"), 1.0), **overheads}) >= 0
    )
    assert plan.invocation_count >= 0 and list(map(str, plan.undecided())) is not None
    return True


def check_types(plan: Plan) -> None:
    """Check the types and ranges that the rest of perfctl relies on."""
    assert isinstance(plan.suite, str) and isinstance(plan.seed, str) and type(plan.host_view) is bool
    names = {item.name for item in plan.environments}
    for benchmark in plan.benchmarks:
        assert math.isfinite(benchmark.timeout_s) and benchmark.expected_s >= 0
        assert all(isinstance(value, str | int | float) for value in benchmark.parameters.values())
        assert benchmark.scope in ("host", "pair")
    for block in plan.blocks():
        assert block.benchmark in {item.name for item in plan.benchmarks} and block.index >= 0
        assert all(isinstance(host, str) for host in block.target.hosts)
        assert all(item.environment in names and item.position >= 0 for item in block.invocations)
    for item in plan.environments:
        assert hash(item) and item.key and item.kind in ("native", "container", "vm")


@inputs("plans", 0.6)
@given(mutated_json(json.loads(plan_to_json(PLAN))).map(json.dumps))
def test_a_plan_with_other_values_is_read_or_refused(text: str) -> bool:
    return is_plan(text)


@inputs("plans", 0.3)
@given(mutated(plan_to_json(PLAN).replace(",", ",\n")) | JSON.map(json.dumps) | st.text())
def test_a_damaged_plan_is_read_or_refused(text: str) -> bool:
    return is_plan(text)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("environments", 0), "x", r"plan\.environments\[0\] cannot be 'x'"),
        (("environments", 0, "kind"), "jail", r"plan\.environments\[0\]\.kind cannot be 'jail'"),
        (("environments", 0, "env"), [["A"]], r"plan\.environments\[0\]\.env\[0\] cannot be \['A'\]"),
        (("environments", 0, "color"), 1, r"plan\.environments\[0\] has a field 'color'"),
        (("benchmarks", 1, "expected_s"), "10", r"plan\.benchmarks\[1\]\.expected_s cannot be '10'"),
        (("benchmarks", 1, "expected_s"), math.inf, r"expected_s cannot be inf"),
        (("benchmarks", 1, "expected_s"), math.nan, r"expected_s cannot be nan"),
        (
            ("benchmarks", 1, "parameters"),
            {"x": [1]},
            r"plan\.benchmarks\[1\]\.parameters\.x cannot be \[1\]",
        ),
        (("benchmarks", 1, "blocks"), True, r"plan\.benchmarks\[1\]\.blocks cannot be True"),
        (("benchmarks", 1, "blocks"), -1, r"blocks cannot be -1"),
        (("benchmarks", 1, "blocks"), 2**63, r"blocks cannot be 9"),
        (("benchmarks", 0, "name"), "other", "it has no benchmark cpu-1-thread"),
        (
            ("rounds", 0, "tracks", 0, "blocks", 0, "index"),
            "0",
            r"rounds\[0\]\.tracks\[0\]\.blocks\[0\]\.index",
        ),
        (("rounds", 0, "tracks", 0, "blocks", 0, "target"), None, r"target cannot be None"),
        (("baseline",), "metal", "it has no environment metal"),
        (("required",), ["metal"], "it has no environment metal"),
        (("suite",), None, r"plan\.suite cannot be None"),
    ],
)
def test_what_no_plan_can_have_is_refused_with_its_place(
    path: tuple[Any, ...], value: Any, message: str
) -> None:
    content = json.loads(plan_to_json(PLAN))
    inner = content["plan"]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(DataError, match=message) as caught:
        plan_from_json(json.dumps(content), where="run 1")
    assert caught.value.where == "run 1" and "this is no stored plan" in caught.value.message


@pytest.mark.parametrize("depth", [60, 500, 100_000])
@pytest.mark.parametrize("start", ['{"schema_version":1,"plan":', '{"schema_version":'])
def test_a_plan_that_is_nested_too_deeply_is_refused(depth: int, start: str) -> None:
    with bounded(), pytest.raises(DataError, match="this is no stored plan"):
        plan_from_json(start + "[" * depth + "]" * depth + "}")


def test_environments_within_each_other_are_no_recursion_without_end() -> None:
    content = json.loads(plan_to_json(PLAN))
    for _ in range(300):
        content["plan"]["environments"][0] = {
            **content["plan"]["environments"][1],
            "within": content["plan"]["environments"][0],
        }
    with bounded(), pytest.raises(DataError, match="nested too deeply"):
        plan_from_json(json.dumps(content))


def test_a_missing_field_is_named() -> None:
    content = json.loads(plan_to_json(PLAN))
    del content["plan"]["rounds"][0]["tracks"][0]["blocks"][0]["benchmark"]
    with pytest.raises(DataError, match=r"plan\.rounds\[0\]\.tracks\[0\]\.blocks\[0\] has no benchmark"):
        plan_from_json(json.dumps(content))
