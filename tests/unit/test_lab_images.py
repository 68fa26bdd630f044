"""What a lab hands to its playbook: an image for each release, and what each host is made of."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import perfctl.lab
from perfctl import assets
from perfctl.errors import UsageError
from perfctl.lab import LabRequest, image_tag, up
from perfctl.lab.folder import LabFolder
from perfctl.lab.machine import Archive
from perfctl.lab.topology import resolve

OWN = Archive("bookworm", ("deb http://mirror.example.org/debian/ bookworm main",))


def test_each_release_has_an_image_and_each_host_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perfctl.lab, "cgroup2_mount", lambda: "/sys/fs/cgroup/unified")
    folder = LabFolder(tmp_path, "lab")
    spec = resolve(LabRequest(releases=("12", "13"), cgroups=("machine", "machine", "v2")), None)
    images = {release: perfctl.lab._image(folder, OWN, release) for release in ("12", "13")}
    variables = perfctl.lab._up_variables(folder, spec, images)
    bookworm, trixie = variables["perf_lab_images"]
    assert (bookworm["suite"], trixie["suite"]) == ("bookworm", "trixie")
    assert trixie["sources"] == ["deb http://mirror.example.org/debian/ trixie main"]
    assert bookworm["tag"] == image_tag(OWN) != trixie["tag"]
    made = [
        (host["image"], host["base_archive"], host["cgroup_mount"])
        for host in variables["perf_lab_hosts_members"]
    ]
    folder_of_images = tmp_path / ".state" / "lab-image"
    assert made == [
        (f"perfctl-lab:{tag}", f"{folder_of_images}/base-{tag}.tar", mount)
        for tag, mount in (
            (bookworm["tag"], "/sys/fs/cgroup"),
            (trixie["tag"], "/sys/fs/cgroup"),
            (bookworm["tag"], "/sys/fs/cgroup/unified"),
        )
    ]


def test_the_archive_and_every_file_of_the_recipe_count_for_an_image() -> None:
    assert image_tag(OWN) == image_tag(dataclasses.replace(OWN))
    assert image_tag(OWN) != image_tag(OWN.of("trixie"))
    assert (assets.roles_dir() / "perf_lab_image" / "templates" / "sources.j2").is_file()


def test_one_image_for_provisioning_does_not_fit_hosts_of_several_releases(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the hosts have the releases 12, 13") as caught:
        up(tmp_path, LabRequest(releases=("12", "13")), with_image=True)
    assert caught.value.hint == "leave it out: provisioning makes one image for each release"
    assert not list(tmp_path.iterdir())
