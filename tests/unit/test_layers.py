"""Image layers: which image a suite's containers have, and which layers a host gets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from perfctl.environments import environment
from perfctl.environments.catalogue import IMAGE, is_layer
from perfctl.environments.container import Docker
from perfctl.errors import SuiteError, UnknownName, UsageError
from perfctl.execute.invocation import read_outcome
from perfctl.execute.survey import SurveyResult
from perfctl.model import Benchmark, Host, Reason
from perfctl.provision.layers import host_layers, known_layers
from perfctl.shell import Completed
from perfctl.suites import load_suite
from perfctl.suites.layers import LAYERS, layer_of, with_layer
from perfctl.workloads import WORKLOADS, resolve_parameters, workload
from tests.role_readmes import benchmark_packages

PYTHON = "perfctl/perf-python:latest"
MIXED = """
[suite]
name = "mixed"
environments = ["native", "container", "mine", "container-in-vm"]
[environments.mine]
kind = "container"
image = "registry.example/python:3.13"
[[benchmark]]
name = "cpu"
workload = "sysbench"
[[benchmark]]
name = "pi"
workload = "pi"
"""


def test_every_layer_has_a_dockerfile_on_the_perf_tools_image() -> None:
    assert {tool.layer for tool in WORKLOADS.values()} - {""} == set(LAYERS) == set(known_layers())
    for layer in LAYERS.values():
        text = layer.dockerfile.read_text()
        assert f"ARG BASE_IMAGE={IMAGE}\nFROM ${{BASE_IMAGE}}\n" in text
        assert "${PACKAGES}" in text


def test_the_packages_of_a_layer_are_not_those_of_the_base() -> None:
    base = benchmark_packages().split()
    assert "python3-numpy" in LAYERS["python"].packages
    assert not set(base) & set(LAYERS["python"].packages)


def test_containers_of_a_suite_have_the_image_of_its_layer(tmp_path: Path) -> None:
    path = tmp_path / "mixed.toml"
    path.write_text(MIXED)
    native, stock, mine, nested = load_suite(str(path)).environments
    assert (native.image, stock.image, nested.image) == (None, PYTHON, PYTHON)
    assert mine.image == "registry.example/python:3.13"
    assert nested.within is not None and nested.within.image is None
    # The built-in one is as it was, and so is a suite that needs no layer.
    assert environment("container").image == IMAGE
    only = load_suite(str(path), benchmarks=["cpu"])
    assert only.environments[1] == environment("container")


def test_the_server_of_a_client_has_the_layer_too() -> None:
    (found,) = with_layer([environment("vm-to-container")], LAYERS["python"])
    assert found.server is not None and found.server.image == PYTHON


def test_no_image_has_two_layers() -> None:
    both = [Benchmark("a", "pi", {}, expected_s=1), Benchmark("b", "fio", {}, expected_s=1)]
    with pytest.raises(SuiteError, match="a needs the image layer python and b the layer storage"):
        layer_of(both, where="x.toml")
    assert layer_of(both[:1], where="x.toml") == LAYERS["python"]


@pytest.mark.parametrize(
    ("image", "is_one"),
    [
        (PYTHON, True),
        (IMAGE, False),
        ("perfctl/perf-tools:abc", False),
        ("python:3.13", False),
        (None, False),
    ],
)
def test_an_image_that_is_not_there_says_how_it_is_made(image: str | None, is_one: bool) -> None:
    assert is_layer(image) is is_one
    wanted = replace(environment("container"), image=image)
    words = f"docker: Error response from daemon: No such image: {image}.".encode()
    hint = Docker().failure(wanted, Completed(("docker",), 125, b"", words)).hint
    assert ("perfctl run --build" in str(hint)) is is_one
    assert "perfctl provision" in str(hint)


def test_a_program_that_is_not_there_says_how_it_comes() -> None:
    pi, benchmark = workload("pi"), workload("sysbench")
    missing = SurveyResult(None, missing_programs=frozenset({"python3", "sysbench"}))
    for tool, command in ((pi, "perfctl run --build"), (benchmark, "perfctl provision")):
        known = missing.outcome_for(tool.programs, tool.provided_by)
        assert known is not None and f"(try: {command})" in known.detail
        wanted = Benchmark("b", tool.name, resolve_parameters(tool, {}), expected_s=1.0)
        found = read_outcome(tool, wanted, Completed(("x",), 127, b"", b"numpy: not found"))
        assert (found.reason, f"(try: {command})" in found.detail) == (Reason.TOOL_MISSING, True)


# ---- which layers a host gets ----------------------------------------------------------------------------


def test_a_host_gets_the_layers_of_its_suites(tmp_path: Path) -> None:
    hosts = [
        Host("h1", "192.0.2.1", variables={"perf_suites": ["security", "cpu"]}),
        Host("h2", "192.0.2.2", variables={"perf_suites": "net"}),
        Host("h3", "192.0.2.3"),
    ]
    (only,) = host_layers(hosts, {}, (), tmp_path).items()
    assert only == ("h1", [LAYERS["python"].to_role()])
    assert set(host_layers(hosts, {"perf_suites": "cpu,security"}, (), tmp_path)) == {"h1", "h2", "h3"}
    assert host_layers(hosts[1:], {}, ["python"], tmp_path).keys() == {"h2", "h3"}


def test_a_suite_of_the_project_counts(tmp_path: Path) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "mixed.toml").write_text(MIXED)
    hosts = [Host("h1", "192.0.2.1", variables={"perf_suites": ["mixed"]})]
    assert set(host_layers(hosts, {}, (), tmp_path)) == {"h1"}


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [({"a": 1}, UsageError, "must be a list of suites"), ("x", UnknownName, "'x'")],
)
def test_what_is_no_suite_is_refused(value: object, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        host_layers([Host("h1", "192.0.2.1", variables={"perf_suites": value})], {}, (), None)
