"""What is another way on Debian 13: sources of packages, and where a kernel's modules are."""

from __future__ import annotations

import pytest

from tests.lab import LabAtHand

pytestmark = pytest.mark.lab("third")


def test_a_host_has_the_release_that_was_asked_for(third_host: LabAtHand) -> None:
    (host,) = third_host.hosts
    assert "VERSION_CODENAME=trixie\n" in third_host.inside(host, "cat", "/etc/os-release")
    assert third_host.inside(host, "python3", "--version").startswith("Python 3.13.")


def test_sources_are_as_the_release_has_them_on_the_host_and_in_what_is_made_of_its_base(
    third_host: LabAtHand,
) -> None:
    (host,) = third_host.hosts
    in_image = ("docker", "run", "--rm", "perfctl/perf-tools:latest")
    for command in ((), in_image):
        sources = third_host.inside(host, *command, "cat", "/etc/apt/sources.list.d/debian.sources")
        paragraphs = [paragraph for paragraph in sources.split("\n\n") if paragraph.strip()]
        assert paragraphs
        for paragraph in paragraphs:
            assert "Types: deb\n" in paragraph
            assert "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg" in paragraph
        kinds = third_host.inside(host, *command, "sh", "-c", "ls /etc/apt/sources.list 2>&1 || true")
        assert "No such file" in kinds


def test_guests_have_the_kernel_of_the_release_with_its_modules(third_host: LabAtHand) -> None:
    (host,) = third_host.hosts
    folder = "/var/lib/perfctl/vm/kernels/linux-image-cloud-amd64"
    release = third_host.inside(host, "ls", f"{folder}/lib/modules").strip()
    assert "deb13" in release
    third_host.inside(host, "test", "-s", f"{folder}/usr/lib/modules/{release}/modules.dep")
    third_host.inside(host, "test", "-s", f"{folder}/boot/vmlinuz-{release}")
