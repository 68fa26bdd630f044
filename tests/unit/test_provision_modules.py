"""The two modules that roles bring along: what they make of a host's own files."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROLES = Path(__file__).resolve().parents[2] / "roles"


def _load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROLES / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # No compiled file beside a role: it would be shipped.
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


docker = _load("perf_docker/library/perf_docker_plan.py")
image = _load("perf_image/library/perf_image_facts.py")

FLAGS = ["--bridge=br1", "--mtu=9000", "--fixed-cidr=10.77.101.0/24", "--debug"]


def test_without_a_daemon_json_every_flag_is_needed() -> None:
    assert docker.settle(FLAGS, {}) == (FLAGS, [])


def test_what_daemon_json_says_too_is_left_to_it() -> None:
    needed, complaints = docker.settle(FLAGS, {"mtu": 9000, "debug": True, "log-driver": "journald"})
    assert needed == ["--bridge=br1", "--fixed-cidr=10.77.101.0/24"]
    assert complaints == []


@pytest.mark.parametrize("config", [{"mtu": 1500}, {"debug": False}, {"bridge": "none"}])
def test_what_daemon_json_says_otherwise_is_a_complaint(config: dict[str, object]) -> None:
    _, complaints = docker.settle(FLAGS, config)
    assert len(complaints) == 1
    assert "/etc/docker/daemon.json" in complaints[0]


def test_repeated_options_are_found_under_their_plural() -> None:
    _, complaints = docker.settle(
        ["--insecure-registry=a", "--dns=192.0.2.1"],
        {"insecure-registries": ["b"], "dns": ["192.0.2.2"]},
    )
    assert len(complaints) == 2


def test_the_units_command_line_is_found_across_lines() -> None:
    unit = "[Service]\nExecStart=/usr/bin/dockerd \\\n    -H fd:// $OPTS\nExecReload=/bin/kill\n"
    assert docker.exec_starts(unit) == ["/usr/bin/dockerd -H fd:// $OPTS"]


def test_short_and_long_flags_are_the_same() -> None:
    words = ["/usr/bin/dockerd", "-H", "fd://", "-b", "br0", "--mtu=1500", "$DOCKER_OPTS", "-D"]
    found = docker.split_arguments(words)
    assert found == [("--host", "fd://"), ("--bridge", "br0"), ("--mtu", "1500"), ("--debug", None)]
    assert docker.clashes(words, FLAGS, "the unit") == [
        "the unit already gives dockerd --bridge=br1",
        "the unit already gives dockerd --mtu=9000",
        "the unit already gives dockerd --debug",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ('#DOCKER_OPTS="--dns 192.0.2.1"\n', []),
        ('DOCKER_OPTS="--dns 192.0.2.1 -b br0"\n', ["--dns", "192.0.2.1", "-b", "br0"]),
        ("DOCKER_OPTS=--mtu=1500 # note\n", ["--mtu=1500"]),
    ],
)
def test_the_defaults_file_is_read(text: str, words: list[str]) -> None:
    assert docker.default_options(text) == words


def test_images_are_compared_by_their_layers() -> None:
    listed = [
        {
            "Id": "sha256:1",
            "RepoTags": ["perfctl/perf-tools:a", "perfctl/perf-tools:latest"],
            "RootFS": {"Layers": ["x"]},
        },
        {"Id": "sha256:2", "RepoTags": ["registry:5000/perf:b"], "RootFS": {"Layers": ["x"]}},
        {"Id": "sha256:3", "RepoTags": None, "RootFS": {}},
    ]
    found = image.images(listed)
    assert set(found) == {"a", "latest", "b"}
    assert found["a"]["content"] == found["b"]["content"]
    assert found["a"]["id"] != found["b"]["id"]


def test_the_release_of_a_debian() -> None:
    assert image.release('ID=debian\nVERSION_CODENAME="bookworm"\n') == "bookworm"
    assert image.release("ID=ubuntu\nVERSION_CODENAME=noble\n") == ""
    assert image.release("") == ""
