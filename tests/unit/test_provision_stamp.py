"""When a host may be left alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from perfctl import assets
from perfctl.model import Host
from perfctl.provision import stamp


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that stands for the installed playbooks and roles."""
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "provision.yml").write_text("---\n")
    (tmp_path / "roles" / "perf_bridge" / "tasks").mkdir(parents=True)
    (tmp_path / "roles" / "perf_bridge" / "tasks" / "main.yml").write_text("---\n")
    (tmp_path / "roles" / "perf_lab_hosts").mkdir()
    (tmp_path / "Dockerfile.perf").write_text("FROM x\n")
    (tmp_path / "images").mkdir()
    monkeypatch.setattr(assets, "_root", lambda: tmp_path)
    return tmp_path


def _key(extra: dict[str, Any] | None = None, passthrough: tuple[str, ...] = (), **variables: Any) -> str:
    return stamp.keys([Host("h1", "192.0.2.1", variables=variables)], extra or {}, passthrough)["h1"]


def test_the_same_question_has_the_same_key(shipped: Path) -> None:
    assert _key(perf_bridge_mtu=9000) == _key(perf_bridge_mtu=9000)


def test_our_variables_options_and_extra_variables_count(shipped: Path) -> None:
    keys = {
        _key(perf_bridge_mtu=9000),
        _key(perf_bridge_mtu=1500),
        _key({"perf_bridge_name": "br2"}, perf_bridge_mtu=9000),
        _key(passthrough=("-e", "@secret.yml"), perf_bridge_mtu=9000),
    }
    assert len(keys) == 4


def test_how_a_host_is_reached_does_not_count(shipped: Path) -> None:
    assert _key(ansible_host="192.0.2.1") == _key(ansible_host="192.0.2.2", ansible_password="x")


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("playbooks/provision.yml", True),
        ("roles/perf_bridge/tasks/main.yml", True),
        ("Dockerfile.perf", True),
        ("images/python.Dockerfile", True),
        ("images/notes.md", False),
        ("playbooks/lab.yml", False),
        ("roles/perf_lab_hosts/x.yml", False),
        ("roles/perf_bridge/tasks/main.cpython-311.pyc", False),
    ],
)
def test_the_files_that_count(shipped: Path, file: str, counts: bool) -> None:
    before = _key()
    (shipped / file).write_text("changed\n")
    assert (_key() != before) is counts


def test_the_layers_of_a_host_count(shipped: Path) -> None:
    hosts = [Host("h1", "192.0.2.1"), Host("h2", "192.0.2.2")]
    before = stamp.keys(hosts, {}, ())
    after = stamp.keys(hosts, {}, (), {"h1": [{"name": "python"}]})
    assert (after["h1"] != before["h1"], after["h2"] != before["h2"]) == (True, False)


def test_a_base_archive_counts_by_its_trace(shipped: Path, tmp_path: Path) -> None:
    archive = tmp_path / "base.tar"
    missing = _key(perf_image_base_archive=str(archive))
    archive.write_text("base")
    there = _key(perf_image_base_archive=str(archive))
    os.utime(archive, ns=(1, 1))
    assert len({missing, there, _key(perf_image_base_archive=str(archive))}) == 3


def test_a_file_in_the_build_context_counts(shipped: Path, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    before = _key(perf_image_context=str(context))
    (context / "bench.c").write_text("int main(void) { return 0; }\n")
    assert _key(perf_image_context=str(context)) != before


def test_a_stamp_holds_for_one_boot_and_one_key() -> None:
    answer = stamp.StampReading(boot_id="b1", key="k1", stamped_boot_id="b1")
    assert answer.is_current("k1")
    assert not answer.is_current("k2")
    assert not stamp.StampReading(boot_id="b2", key="k1", stamped_boot_id="b1").is_current("k1")
    assert not stamp.StampReading(boot_id="b1").is_current("")
