"""`perfctl suites` and `perfctl benchmarks`: what they print, and that wrong names are exit 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from perfctl.cli import main_group
from perfctl.errors import PerfctlError, UnknownName, UsageError
from perfctl.workloads import WORKLOADS, resolve_parameters


def run(*arguments: str) -> str:
    result = CliRunner().invoke(main_group, list(arguments), catch_exceptions=True)
    if isinstance(result.exception, PerfctlError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def rows(*arguments: str) -> list[dict[str, Any]]:
    document = json.loads(run(*arguments, "--format", "json"))
    assert document["schema_version"] == 1
    found: list[dict[str, Any]] = document["rows"]
    return found


def test_suites_are_listed_with_those_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "suites").mkdir()
    text = '[suite]\nblocks = 4\n[[benchmark]]\nname = "a"\nworkload = "sysbench"\n'
    (tmp_path / "suites" / "own.toml").write_text(text)
    found = {row["name"]: row for row in rows("--project", str(tmp_path), "suites")}
    assert list(found)[-1] == "own"
    assert {"cpu", "memory", "net", "parity"} < set(found)
    assert (found["own"]["blocks"], found["own"]["precision"]) == (4, None)
    assert (found["net"]["blocks"], found["net"]["precision"]) == (None, "±2 %")
    assert found["own"]["source"] == str(tmp_path / "suites" / "own.toml")
    assert found["net"]["environments"] == "native, container"


def test_one_suite_shows_its_benchmarks_with_all_parameters() -> None:
    found = {row["name"]: row for row in rows("suites", "net")}
    assert list(found) == ["tcp-stream", "tcp-maerts", "udp-stream", "tcp-rr", "tcp-crr", "udp-rr"]
    assert found["tcp-rr"]["settings"] == "test=TCP_RR"
    assert found["tcp-rr"]["parameters"]["response_bytes"] == 1
    assert found["tcp-rr"]["headline"] == "transactions_per_second (transactions/s)"
    text = run("suites", "net")
    assert "environments: native, container; baseline: native; blocks: as many as the precision needs" in text
    assert {row["precision_percent"] for row in found.values()} == {2.0}


def test_one_suite_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        '[suite]\n[[benchmark]]\nname = "a"\nworkload = "sysbench"\nparameters = { threads = 3 }\n'
    )
    assert rows("suites", str(path))[0]["settings"] == "test=cpu threads=3"


def test_benchmarks_lists_every_workload_with_its_tests() -> None:
    found = {row["name"]: row for row in rows("benchmarks")}
    assert list(found) == list(WORKLOADS)
    assert found["sysbench"]["tests"] == "cpu, memory, threads, mutex, fileio"
    assert found["netperf"]["programs"] == "netperf, netserver"


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_benchmarks_shows_every_parameter(name: str) -> None:
    found = rows("benchmarks", name)
    specs = WORKLOADS[name].parameter_specs
    assert [row["name"] for row in found] == [spec.name for spec in specs]
    assert all(row["description"] for row in found)


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_benchmarks_shows_every_metric_of_every_test(name: str) -> None:
    found = {(row["test"], row["name"]): row["unit"] for row in rows("benchmarks", name, "--metrics")}
    tool = WORKLOADS[name]
    tests = next((spec.choices for spec in tool.parameter_specs if spec.name == "test"), ("",))
    assert found == {
        (test, metric.name): metric.unit
        for test in tests
        for metric in tool.metrics(resolve_parameters(tool, {"test": test} if test else {}))
    }


def test_wrong_names_are_usage_errors(tmp_path: Path) -> None:
    for arguments in (["suites", "cup"], ["benchmarks", "sysbnech"], ["suites", str(tmp_path / "no.toml")]):
        with pytest.raises(UnknownName) as caught:
            run(*arguments)
        assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match="--metrics needs a NAME"):
        run("benchmarks", "--metrics")


@pytest.mark.parametrize("form", ["table", "csv", "md"])
def test_the_other_formats_say_the_same(form: str) -> None:
    for arguments in (["suites"], ["suites", "cpu"], ["benchmarks"], ["benchmarks", "netperf"]):
        text = run(*arguments, "--format", form)
        for row in rows(*arguments):
            assert row["name"] in text
