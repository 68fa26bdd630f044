"""The module of the image's role: what it makes of a host's own files."""

from __future__ import annotations

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
