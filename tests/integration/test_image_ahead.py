"""The image for hosts that are still being made: built by this machine's engine, kept for provisioning."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from perfctl.assets import default_inventory
from perfctl.playbook import run_playbook
from tests.tiny_image import tiny_image

pytestmark = [pytest.mark.lab("engine"), pytest.mark.usefixtures("engine")]

PLAYBOOK = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: perf_image, tasks_from: begin}
    - ansible.builtin.include_role: {name: perf_image, tasks_from: keep}
"""
DOCKERFILE = """
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
ARG PACKAGES
RUN echo made > /made
"""


def docker(*argv: str) -> str:
    done = subprocess.run(["docker", *argv], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, Any]:
    """A tiny base as an archive and a Dockerfile, with all that is written below a folder of the test."""
    container = docker("create", tiny_image(), "true").strip()
    docker("export", "--output", str(tmp_path / "base.tar"), container)
    docker("rm", container)
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "playbook.yml").write_text(PLAYBOOK)
    return {
        "perf_image_dockerfile": str(tmp_path / "Dockerfile"),
        "perf_image_base_archive": str(tmp_path / "base.tar"),
        "perf_image_cache_dir": str(tmp_path / "kept"),
        "perf_image_state_dir": str(tmp_path / "building"),
    }


def play(folder: Path, variables: dict[str, Any]) -> Any:
    inventory = [str(default_inventory())]
    return run_playbook(folder / "playbook.yml", inventory=inventory, extra_vars=variables, timeout_s=300)


def test_it_is_kept_for_the_hosts_once_and_nothing_else_stays(
    tmp_path: Path, variables: dict[str, Any]
) -> None:
    play(tmp_path, variables).raise_for_failures()
    note, packed = sorted((tmp_path / "kept").iterdir())
    tag = note.stem
    assert packed.name == f"{tag}.tar.zst"
    unpacked = tmp_path / "image.tar"
    subprocess.run(["zstd", "-q", "-d", str(packed), "-o", str(unpacked)], timeout=60, check=True)
    assert f"perfctl/perf-tools:{tag} " not in docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}} ")
    assert not (tmp_path / "building").exists()
    try:
        docker("image", "load", "--quiet", "--input", str(unpacked))
        found = json.loads(docker("image", "inspect", f"perfctl/perf-tools:{tag}"))[0]
        assert docker("run", "--rm", "--network", "none", found["Id"], "cat", "/made") == "made\n"
    finally:
        docker("image", "rm", f"perfctl/perf-tools:{tag}")
    layers = "\n".join(found["RootFS"]["Layers"])
    assert json.loads(note.read_text()) == {
        "content": hashlib.sha256(layers.encode()).hexdigest(),
        "id": found["Id"],
    }
    before = {path: path.stat().st_mtime_ns for path in (note, packed)}
    again = play(tmp_path, variables)
    again.raise_for_failures()
    assert again.hosts["localhost"].changed == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()} == before


def test_a_build_that_fails_is_told_in_its_own_words(tmp_path: Path, variables: dict[str, Any]) -> None:
    Path(variables["perf_image_dockerfile"]).write_text(
        DOCKERFILE.replace("echo made", "echo no luck >&2; exit 3")
    )
    (failure,) = play(tmp_path, variables).failures
    assert failure.task == "perf_image: Build the image"
    assert "no luck" in failure.message
    assert not (tmp_path / "kept").exists()
