"""Any suite file is a suite that can be planned and stored, or refused with the place that is wrong."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from perfctl.environments import KINDS
from perfctl.environments.limits import parse_cpulist
from perfctl.errors import SuiteError, UsageError
from perfctl.model import Host, Suite
from perfctl.plan import make_plan, plan_from_json, plan_to_json
from perfctl.shell.command import checked
from perfctl.suites import MOST_BLOCKS, load_suite
from perfctl.suites.precision import precision_from_text
from perfctl.workloads import WORKLOADS, parameter_from_text, workload
from tests.fuzz.inputs import bounded, given, inputs
from tests.fuzz.mutation import NUMBERS, TEXTS, mutated, mutated_json

SUITES = Path(load_suite("cpu").source).parent
HOSTS = [Host("h1", "192.0.2.1"), Host("h2", "192.0.2.2")]
OWN = """
[suite]
name = "own"
description = "all keys"
baseline = "native"
environments = ["native", "small", "inside", "served"]
blocks = 3

[environments.small]
kind = "container"
image = "registry.example/perf:1"
runtime = "runsc"
network = "host"
security_opt = ["seccomp=unconfined"]
cap_add = ["NET_ADMIN"]
cap_drop = ["ALL"]
privileged = false
no_new_privileges = true
read_only = true
tmpfs = ["/tmp:size=64m"]
userns = "host"
cpuset_cpus = "0-1"
cpuset_mems = "0"
cpu_quota = 1.5
memory_mib = 512
env = { LANG = "C", X = "$(touch EXECUTED)" }

[environments.guest]
kind = "vm"
accelerator = "kvm"
vcpus = 2
memory_mib = 2048
emulator_cpus = "2-3"
hugepages = true
disk_cache = "none"
disk_io = "native"

[environments.inside]
kind = "container"
within = "guest"

[environments.served]
kind = "vm"
server = "native"

[[benchmark]]
name = "files"
workload = "sysbench"
blocks = 2
parameters = { test = "fileio", directory = "/var/tmp", file_rw_ratio = 2, file_num = 4, time_s = 5 }

[[benchmark]]
name = "stream"
workload = "netperf"
targets = 1
parameters = { test = "TCP_STREAM", message_bytes = 1024 }

[[benchmark]]
name = "start"
workload = "startup"
"""
SAMPLES = [OWN, *(path.read_text() for path in sorted(SUITES.glob("*.toml")))]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the path of a suite, in a folder in which nothing else may appear."""
    folder = tmp_path_factory.mktemp("suites")
    yield folder / "my.toml"
    assert [path.name for path in folder.iterdir()] in ([], ["my.toml"])


def toml(value: Any) -> str:
    """Return a value in TOML, tables in one line; JSON's null becomes a word that is no value there."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return repr(value) if isinstance(value, float) else json.dumps(value)


def is_suite(file: Path, text: str) -> bool:
    """Return whether a text is a suite; if so, it can be planned, written down and started."""
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        suite = load_suite(str(file))
    except UsageError as error:
        assert isinstance(error, SuiteError)
        assert str(error.where).startswith(str(file))
        assert len(error.message) < 2_000
        return False
    for environment in suite.environments:
        for argument in KINDS[environment.kind].start_argv(environment):
            assert "\0" not in argument
    for benchmark in suite.benchmarks:
        assert math.isfinite(benchmark.expected_s) and benchmark.expected_s >= 0
        assert benchmark.precision is None or 0 < benchmark.precision < 1
        for count in (benchmark.blocks, benchmark.targets, suite.blocks):
            assert count is None or count >= 1
        tool = workload(benchmark.workload)
        assert checked(tool.argv(benchmark.parameters, server_address="192.0.2.1"))
        for argv in (*tool.setup_argvs(benchmark.parameters), *tool.cleanup_argvs(benchmark.parameters)):
            assert checked(argv)
    plan = make_plan(_short(suite), HOSTS, seed="1")
    assert plan_from_json(plan_to_json(plan)) == plan
    return True


def _short(suite: Suite) -> Suite:
    benchmarks = tuple(replace(item, blocks=1, precision=None) for item in suite.benchmarks)
    return replace(suite, blocks=1, benchmarks=benchmarks)


@inputs("suites", 0.45)
@given(st.sampled_from([tomllib.loads(text) for text in SAMPLES]).flatmap(mutated_json))
def test_a_suite_with_other_values_is_read_or_refused(file: Path, content: Any) -> bool:
    tables = content if isinstance(content, dict) else {"suite": content}
    return is_suite(file, "".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in tables.items()))


@inputs("suites", 0.3)
@given(st.sampled_from(SAMPLES).flatmap(mutated))
def test_a_damaged_suite_is_read_or_refused(file: Path, text: str) -> bool:
    return is_suite(file, text)


@inputs("suites", 0.1)
@given(
    st.sampled_from([(tool, spec) for tool in WORKLOADS.values() for spec in tool.parameter_specs]),
    TEXTS | NUMBERS,
)
def test_any_parameter_of_the_command_line_is_read_or_refused(chosen: Any, text: str) -> bool:
    _, spec = chosen
    try:
        value = parameter_from_text(spec, text, where="--param")
    except SuiteError as error:
        assert error.where == "--param" and len(error.message) < 2_000
        return False
    assert type(value) is type(spec.default)
    assert isinstance(value, str) or math.isfinite(value)
    return True


@inputs("suites", 0.15)
@given(st.lists(st.sampled_from([*"0123456789-,.% ", "١", "9" * 400]), max_size=8).map("".join) | TEXTS)
def test_any_precision_and_any_list_of_cpus_is_read_or_refused(text: str) -> bool:
    accepted = 0
    try:
        assert 0 < precision_from_text(text, where="--precision") <= 0.5
        accepted += 1
    except UsageError as error:
        assert error.where == "--precision"
    try:
        assert all(0 <= cpu <= 8191 for cpu in parse_cpulist(text))
        accepted += 1
    except ValueError:
        pass
    return accepted > 0


# ---- what is too large, too deep, or no name -------------------------------------------------------------

HEAD = '[suite]\nname = "x"\n'
BENCHMARK = '[[benchmark]]\nname = "a"\nworkload = "sysbench"\n'
CHAIN = "".join(f'[environments.e{n}]\nkind = "container"\n{{key}} = "e{n + 1}"\n' for n in range(2000))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + f"blocks = {'9' * 5000}\n" + BENCHMARK, "this is no TOML"),
        (HEAD + f"blocks = 0x{'f' * 5000}\n" + BENCHMARK, "more than 64 bits"),
        (HEAD + f"blocks = {MOST_BLOCKS + 1}\n" + BENCHMARK, "must be at most 10,000"),
        (HEAD + BENCHMARK + "blocks = 1_000_000_000\n", "must be at most 10,000"),
        (HEAD + BENCHMARK + f"parameters = {{ time_s = {2**63} }}\n", "more than 64 bits"),
        (
            HEAD + BENCHMARK + 'parameters = { test = "fileio", directory = "/a\\u0000b" }\n',
            "control characters",
        ),
        (HEAD + "x = " + "[" * 50_000 + "\n" + BENCHMARK, "nested too deeply"),
        (HEAD + "x = " + "[" * 900 + "]" * 900 + "\n" + BENCHMARK, "nested too deeply|wrong key"),
        (HEAD + CHAIN.replace("{key}", "within") + BENCHMARK, "nested too deeply"),
        (HEAD + CHAIN.replace("{key}", "server") + BENCHMARK, "nested too deeply"),
        (HEAD + '[environments.e]\nkind = "native"\ncpu_quota = 1.7e308\n' + BENCHMARK, "cpu_quota"),
        (HEAD + f'[environments.e]\nkind = "native"\ncpu_quota = {10**400}\n' + BENCHMARK, "64 bits"),
        (HEAD + '[environments."a b"]\nkind = "native"\n' + BENCHMARK, "'a b' is no name for an environment"),
        (HEAD + '[environments."\\u001b[2J"]\nkind = "native"\n' + BENCHMARK, "no name for an environment"),
        (HEAD + f'blocks = "{"x" * 100_000}"\n' + BENCHMARK, "must be a whole number"),
        (f'suite = "{"x" * 100_000}"\n', "must be a table"),
        (HEAD + 'precision = "١%"\n' + BENCHMARK, "the precision cannot be"),
    ],
)
def test_what_no_suite_can_have_is_refused_in_few_words(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "my.toml"
    file.write_text(text)
    with bounded(), pytest.raises(SuiteError, match=message) as caught:
        load_suite(str(file))
    assert str(caught.value.where).startswith(str(file))
    assert len(caught.value.message) < 500


def test_numbers_of_the_command_line_have_64_bits_too() -> None:
    (time_s,) = (spec for spec in WORKLOADS["sysbench"].parameter_specs if spec.name == "time_s")
    for text in ("9" * 400, "9" * 5000):
        with pytest.raises(SuiteError):
            parameter_from_text(time_s, text)
    with pytest.raises(UsageError, match="at most 10,000 blocks"):
        load_suite("cpu", blocks=10**9)
