"""Parameters: defaults, types, limits, and what a user is told who got one wrong."""

from __future__ import annotations

from typing import Any

import pytest

from perfctl.errors import SuiteError
from perfctl.workloads import WORKLOADS, Workload, parameter_from_text, resolve_parameters, workload

SYSBENCH, NETPERF = workload("sysbench"), workload("netperf")


def refusal(tool: Workload, **given: Any) -> SuiteError:
    with pytest.raises(SuiteError) as caught:
        resolve_parameters(tool, given, where="my.toml: benchmark x")
    assert caught.value.where == "my.toml: benchmark x"
    assert caught.value.hint
    return caught.value


def test_defaults_are_filled_in_for_the_test_and_no_other() -> None:
    assert resolve_parameters(SYSBENCH, {"test": "cpu", "time_s": 3}) == {
        "test": "cpu",
        "threads": 1,
        "time_s": 3,
        "percentile": 95,
        "rand_seed": 1,
        "cpu_max_prime": 10000,
    }
    assert resolve_parameters(NETPERF, {"test": "UDP_STREAM"}) == {
        "test": "UDP_STREAM",
        "time_s": 10,
        "datagram_bytes": 1472,
        "control_port": 12965,
        "data_port": 12966,
    }
    assert "time_s" not in resolve_parameters(SYSBENCH, {"test": "mutex"})


def test_a_whole_number_will_do_where_a_number_is_wanted() -> None:
    ratio = resolve_parameters(SYSBENCH, {"test": "fileio", "file_rw_ratio": 2})["file_rw_ratio"]
    assert ratio == 2.0
    assert isinstance(ratio, float)


def test_every_default_passes_its_own_check() -> None:
    for tool in WORKLOADS.values():
        for spec in tool.parameter_specs:
            assert parameter_from_text(spec, str(spec.default)) == spec.default
        for test in (item for spec in tool.parameter_specs if spec.name == "test" for item in spec.choices):
            assert resolve_parameters(tool, {"test": test})["test"] == test


def test_every_parameter_says_what_it_is() -> None:
    for tool in WORKLOADS.values():
        names = [spec.name for spec in tool.parameter_specs]
        assert len(names) == len(set(names))
        for spec in tool.parameter_specs:
            assert spec.description
            assert not spec.name.endswith("_s") or spec.unit == "s"
            assert not spec.name.endswith("_bytes") or spec.unit == "bytes"


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"time": 10}, "did you mean time_s?"),
        ({"memory_block": 10}, "did you mean memory_block_bytes?"),
        ({"tread": 10}, "did you mean threads?"),
        ({"Threads": 10}, "did you mean threads"),
        ({"zzz": 10}, "its parameters are: test, threads, time_s"),
    ],
)
def test_unknown_names(given: dict[str, Any], hint: str) -> None:
    error = refusal(SYSBENCH, **given)
    assert f"sysbench has no parameter {next(iter(given))!r}" in error.message
    assert hint in str(error.hint)


def test_a_parameter_of_another_test() -> None:
    error = refusal(SYSBENCH, test="cpu", file_num=3)
    assert "file_num does not apply to test cpu" in error.message
    assert "belongs to test fileio" in str(error.hint)
    assert "time_s does not apply to test mutex" in refusal(SYSBENCH, test="mutex", time_s=3).message


@pytest.mark.parametrize("value", ["10s", "10 s", "1m", "500ms"])
def test_a_number_with_a_unit_behind_it(value: str) -> None:
    error = refusal(SYSBENCH, time_s=value)
    assert f"time_s must be a whole number, not {value!r}" in error.message
    assert error.hint == "write the bare number; time_s is in s, e.g. time_s = 10"


def test_a_size_with_a_suffix() -> None:
    error = refusal(SYSBENCH, test="memory", memory_block_bytes="4K")
    assert "memory_block_bytes is in bytes" in str(error.hint)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"time_s": "10"}, "must be a whole number, not '10'"),
        ({"time_s": 10.0}, "must be a whole number, not 10.0"),
        ({"time_s": True}, "must be a whole number, not True"),
        ({"time_s": [10]}, "must be a whole number, not [10]"),
        ({"time_s": {}}, "must be a whole number, not {}"),
        ({"test": 1}, "must be a text, not 1"),
        ({"test": "memory", "memory_hugetlb": 1}, "must be true or false, not 1"),
        ({"test": "memory", "memory_hugetlb": "on"}, "must be true or false, not 'on'"),
        ({"test": "fileio", "file_rw_ratio": float("nan")}, "must be a number, not nan"),
        ({"test": "fileio", "file_rw_ratio": float("inf")}, "must be a number, not inf"),
        ({"test": "fileio", "directory": 3}, "must be a text, not 3"),
    ],
)
def test_wrong_types(given: dict[str, Any], message: str) -> None:
    assert message in refusal(SYSBENCH, **given).message


@pytest.mark.parametrize(
    ("tool", "given", "message"),
    [
        (SYSBENCH, {"test": "gpu"}, "it must be one of 'cpu', 'memory', 'threads', 'mutex', 'fileio'"),
        (SYSBENCH, {"time_s": 0}, "the minimum is 1 s"),
        (SYSBENCH, {"threads": -1}, "the minimum is 1"),
        (SYSBENCH, {"percentile": 0}, "the minimum is 1"),
        (SYSBENCH, {"percentile": 101}, "the maximum is 100"),
        (SYSBENCH, {"test": "fileio", "directory": "data"}, "it must match /.*"),
        (NETPERF, {"test": "tcp_rr"}, "it must be one of 'TCP_STREAM'"),
        (NETPERF, {"control_port": 70000}, "the maximum is 65535"),
        (NETPERF, {"test": "UDP_STREAM", "datagram_bytes": 65508}, "the maximum is 65507 bytes"),
    ],
)
def test_values_out_of_their_limits(tool: Workload, given: dict[str, Any], message: str) -> None:
    assert message in refusal(tool, **given).message


@pytest.mark.parametrize(
    ("tool", "given", "message"),
    [
        (SYSBENCH, {"test": "memory", "memory_block_bytes": 3000}, "3000 is not a power of two"),
        (
            SYSBENCH,
            {"test": "fileio", "file_total_bytes": 1 << 20},
            "8192 bytes cannot hold a block of 16384",
        ),
        (NETPERF, {"control_port": 5000, "data_port": 5000}, "are both 5000"),
    ],
)
def test_values_that_do_not_go_together(tool: Workload, given: dict[str, Any], message: str) -> None:
    assert message in refusal(tool, **given).message


def test_hint_for_a_block_size_names_its_neighbours() -> None:
    assert "2048 and 4096" in str(refusal(SYSBENCH, test="memory", memory_block_bytes=3000).hint)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("time_s", "2", 2),
        ("memory_block_bytes", "1_048_576", 1048576),
        ("memory_hugetlb", "true", True),
        ("memory_hugetlb", "False", False),
        ("file_rw_ratio", "2", 2.0),
        ("file_rw_ratio", "0.25", 0.25),
        ("directory", "/data", "/data"),
        ("file_extra_flags", "", ""),
    ],
)
def test_values_from_the_command_line(name: str, text: str, value: object) -> None:
    (spec,) = (spec for spec in SYSBENCH.parameter_specs if spec.name == name)
    found = parameter_from_text(spec, text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("time_s", "10s"),
        ("time_s", "2.5"),
        ("time_s", ""),
        ("time_s", "0"),
        ("memory_hugetlb", "yes"),
        ("memory_hugetlb", "1"),
        ("file_rw_ratio", "nan"),
        ("file_rw_ratio", "-1"),
        ("test", "gpu"),
    ],
)
def test_wrong_values_from_the_command_line(name: str, text: str) -> None:
    (spec,) = (spec for spec in SYSBENCH.parameter_specs if spec.name == name)
    with pytest.raises(SuiteError) as caught:
        parameter_from_text(spec, text, where="--param")
    assert caught.value.where == "--param"
    assert name in caught.value.message


def test_a_list_of_values_is_answered_with_one_benchmark_for_each() -> None:
    assert "a suite may give a list" in str(refusal(SYSBENCH, time_s=[5, 10]).hint)
