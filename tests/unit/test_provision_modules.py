"""The module of the image's role: what it makes of a host's own files."""

from __future__ import annotations

from pathlib import Path

from tests.role_modules import load

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


def test_a_launcher_is_told_by_its_content(tmp_path: Path) -> None:
    assert image.digest(tmp_path / "none") == ""
    launcher = tmp_path / "perfctl-launch"
    launcher.write_bytes(b"")
    assert image.digest(launcher) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
