"""The module of the image's role: what it makes of a host's own files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.role_modules import load
from tests.role_readmes import ROLES_DIR

image = load("perf_image/library/perf_image_facts.py")


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


@pytest.mark.parametrize("names", [(), ("perfctl-launch",), ("perfctl-launch", "perfctl-measure")])
def test_programs_are_told_by_their_content_as_use_sh_prints_it(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    for name in names:
        (tmp_path / name).write_text(f"program {name}")
    command = (ROLES_DIR / "perf_image" / "files" / "use.sh").read_text().splitlines()[-1]
    done = subprocess.run(
        ["sh", "-euc", command], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=30
    )
    paths = [tmp_path / path.name for path in image.PROGRAMS]
    assert image.digest(*paths) == done.stdout.strip()
    assert len(done.stdout) == 65
