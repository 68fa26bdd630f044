"""The roles on paper: documented, described in one place, and nothing in them that only works here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from perfctl.inventory import load_hosts
from perfctl.provision.ranges import check_ranges
from tests.role_readmes import BENCHMARKS, ROLES, ROLES_DIR, benchmark_packages, readme

EXAMPLE = Path(__file__).resolve().parents[2] / "inventory" / "example"


@pytest.mark.parametrize("role", ROLES)
def test_the_readme_is_up_to_date(role: str) -> None:
    assert (ROLES_DIR / role / "README.md").read_text() == readme(role), "run: python -m tests.role_readmes"


def test_hosts_and_image_get_the_packages_that_workloads_declare() -> None:
    assert BENCHMARKS.read_text() == benchmark_packages(), "run: python -m tests.role_readmes"
    for place in (
        ROLES_DIR / "perf_tools" / "defaults" / "main.yml",
        ROLES_DIR / "perf_image" / "vars" / "main.yml",
        ROLES_DIR.parent / "Dockerfile.perf",
    ):
        assert f"files/{BENCHMARKS.name}" in place.read_text(), place


@pytest.mark.parametrize("role", ROLES)
def test_every_default_is_specified_and_explained(role: str) -> None:
    text = (ROLES_DIR / role / "defaults" / "main.yml").read_text()
    spec = yaml.safe_load((ROLES_DIR / role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    assert set(yaml.safe_load(text)) == set(spec["main"]["options"])
    # Each variable, or the group it belongs to, has a comment above it.
    assert all(block.lstrip("-\n").startswith("#") for block in text.strip().split("\n\n"))


@pytest.mark.parametrize("role", ROLES)
def test_no_role_ignores_errors_or_needs_more_than_ansible_core(role: str) -> None:
    for path in (ROLES_DIR / role).rglob("*.yml"):
        text = path.read_text()
        assert "ignore_errors" not in text, path
        modules = set(re.findall(r"^\s+([a-z_]+\.[a-z_]+)\.[a-z_]+:", text, re.M))
        assert modules <= {"ansible.builtin"}, path


def test_the_example_inventory_is_a_fleet_that_fits_together() -> None:
    hosts = load_hosts([str(EXAMPLE)])
    assert [host.name for host in hosts] == ["perf-a1", "perf-a2", "perf-b1"]
    check_ranges(hosts, {}, ())
    assert all(host.test_address for host in hosts)
    assert {host.resource for host in hosts} == {None, "chassis-b"}
