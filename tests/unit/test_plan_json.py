"""Plans written down and read back: any environments, nested ones too, and plans of the first version."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, get_args

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfctl.environments import CATALOGUE
from perfctl.model import Benchmark, Environment, Host, Suite
from perfctl.model.environment import Accelerator, DiskCache, DiskIo, Kind
from perfctl.plan import make_plan, plan_from_json, plan_to_json

CPU = Benchmark("cpu-1", "sysbench", {"test": "cpu", "time_s": 10}, expected_s=10.0)
HOSTS = [Host("h1", "192.0.2.1"), Host("h2", "192.0.2.2")]

texts = st.text(max_size=12)
names = st.text("abcdefghij0123456789-", min_size=1, max_size=12)
cpulists = st.none() | st.sampled_from(["0", "0-1", "0-3,8", "2,1"])


def _environments(nested: st.SearchStrategy[Environment | None]) -> st.SearchStrategy[Environment]:
    return st.builds(
        Environment,
        name=names,
        kind=st.sampled_from(get_args(Kind)),
        description=texts,
        engine=st.sampled_from([None, "docker"]),
        image=st.none() | texts,
        network=st.sampled_from([None, "bridge", "host"]),
        security_opt=st.lists(texts, max_size=2).map(tuple),
        cap_add=st.lists(texts, max_size=2).map(tuple),
        privileged=st.booleans(),
        cap_drop=st.lists(texts, max_size=2).map(tuple),
        no_new_privileges=st.booleans(),
        read_only=st.booleans(),
        tmpfs=st.lists(texts, max_size=2).map(tuple),
        userns=st.sampled_from([None, "host"]),
        seccomp_profile=st.none() | texts,
        runtime=st.none() | names,
        env=st.dictionaries(names, texts, max_size=2).map(lambda found: tuple(sorted(found.items()))),
        cpuset_cpus=cpulists,
        cpuset_mems=cpulists,
        cpu_quota=st.none() | st.floats(0.01, 512),
        memory_mib=st.none() | st.integers(6, 2**20),
        accelerator=st.sampled_from([None, *get_args(Accelerator)]),
        vcpus=st.none() | st.integers(1, 512),
        emulator_cpus=cpulists,
        hugepages=st.booleans(),
        disk_cache=st.sampled_from([None, *get_args(DiskCache)]),
        disk_io=st.sampled_from([None, *get_args(DiskIo)]),
        within=nested,
        server=nested,
    )


environments = st.recursive(
    _environments(st.none()), lambda inner: _environments(st.none() | inner), max_leaves=4
)


@settings(derandomize=True, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(environments, min_size=1, max_size=3, unique_by=lambda each: each.name), texts)
def test_any_plan_survives_json_exactly(chosen: list[Environment], seed: str) -> None:
    suite = Suite("s", "", chosen[0].name, tuple(chosen), (CPU,), 2)
    plan = make_plan(suite, HOSTS, seed=seed)
    text = plan_to_json(plan)
    again = plan_from_json(text)
    assert again == plan
    assert [each.key for each in again.environments] == [each.key for each in chosen]
    assert plan_to_json(again) == text


@settings(derandomize=True, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(environments, environments)
def test_environments_that_differ_in_more_than_words_have_keys_of_their_own(
    one: Environment, other: Environment
) -> None:
    assert (one.key == other.key) == (_without_descriptions(one) == _without_descriptions(other))


def _without_descriptions(environment: Environment) -> dict[str, Any]:
    values = {name: getattr(environment, name) for name in environment.__dataclass_fields__}
    del values["description"]
    for place in ("within", "server"):
        if values[place] is not None:
            values[place] = _without_descriptions(values[place])
    return values


def test_plans_of_before_guests_are_read() -> None:
    """A run that was started with the first version can be resumed."""
    chosen = (CATALOGUE["native"], CATALOGUE["container-unconfined"])
    suite = Suite("s", "", "native", chosen, (CPU,), 2)
    plan = make_plan(suite, HOSTS, seed="1")
    written = json.loads(plan_to_json(plan))
    of_first = ["name", "kind", "description", "engine", "image", "network"]
    of_first += ["security_opt", "cap_add", "privileged"]
    written["plan"] = {
        key: value
        for key, value in written["plan"].items()
        if key in ("suite", "seed", "baseline", "environments", "benchmarks", "rounds")
    }
    written["plan"]["environments"] = [
        {key: each[key] for key in of_first} for each in written["plan"]["environments"]
    ]
    for each in written["plan"]["benchmarks"]:
        del each["output_limit_bytes"]
    again = plan_from_json(json.dumps(written))
    assert again == plan
    assert [each.key for each in again.environments] == [each.key for each in chosen]


def test_a_resumed_run_keeps_the_output_limit_that_it_was_begun_with() -> None:
    suite = Suite("s", "", "native", (CATALOGUE["native"],), (replace(CPU, output_limit_bytes=4096),), 2)
    again = plan_from_json(plan_to_json(make_plan(suite, HOSTS, seed="1")))
    assert [item.output_limit_bytes for item in again.benchmarks] == [4096]
