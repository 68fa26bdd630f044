"""Runs with real guests on two hosts: one table for native, container and vm, and nothing left afterwards."""

from __future__ import annotations

import ipaddress
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from perfctl.inventory import load_hosts
from tests.e2e.conftest import Project
from tests.e2e.guests import artifacts, measured, own_rows, project_of, suite
from tests.lab import LabAtHand

pytestmark = pytest.mark.lab("both")

SUITE = """\
[suite]
name = "both"
description = "One benchmark on each host and one on the pair."
baseline = "native"
environments = ["native", "container", "vm"]
blocks = 1

[[benchmark]]
name = "cpu"
workload = "sysbench"
parameters = { test = "cpu", threads = 2, time_s = 2 }

[[benchmark]]
name = "rr"
workload = "netperf"
parameters = { test = "TCP_RR", time_s = 1 }
"""


@pytest.fixture(scope="module")
def vm_lab(provisioned_lab: LabAtHand) -> LabAtHand:
    """Return a lab whose hosts can have guests."""
    for host in provisioned_lab.hosts:
        provisioned_lab.inside(host, "test", "-e", "/var/lib/perfctl/vm/image/manifest.json")
    return provisioned_lab


@pytest.fixture(scope="module")
def measured_run(vm_lab: LabAtHand, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with one run of the suite."""
    folder = tmp_path_factory.mktemp("both")
    path = folder / "both.toml"
    path.write_text(SUITE)
    return measured(vm_lab, folder, "--suite", str(path))


# ---- one table ---------------------------------------------------------------------------------------------


def test_one_table_has_every_environment_with_its_values(measured_run: Project) -> None:
    values = measured_run.rows(
        "SELECT benchmark, target, environment, value FROM v_value WHERE is_headline AND replicate = 1"
    )
    measured_pairs = {(row["benchmark"], row["target"]) for row in values}
    assert {benchmark for benchmark, _ in measured_pairs} == {"cpu", "rr"}
    assert len(measured_pairs) == 2 + 1
    listing = json.loads(measured_run.perfctl("compare", "latest", "--format", "json").stdout)
    for environment in ("container", "vm"):
        own = [row for row in values if row["environment"] == environment]
        assert {(row["benchmark"], row["target"]) for row in own} == measured_pairs
        assert all(row["value"] > 0 for row in own)
        # A busy machine makes values invalid: their lines are there without them.
        rows = [row for row in listing["rows"] if row["environment"] == environment]
        assert measured_pairs <= {(row["benchmark"], row["target"]) for row in rows}
    done = measured_run.perfctl("compare", "latest")
    assert done.returncode == 0, done.stderr
    for environment in ("native", "container", "vm"):
        assert environment in done.stdout


def test_every_invocation_says_what_it_ran_with(measured_run: Project) -> None:
    rows = measured_run.rows("SELECT environment, accelerator, status, fingerprint_id FROM v_invocation")
    assert {row["status"] for row in rows} == {"ok"}
    assert all(row["fingerprint_id"] for row in rows)
    accelerators = {(row["environment"], row["accelerator"]) for row in rows}
    assert accelerators in [
        {("native", None), ("container", None), ("vm", accelerator)} for accelerator in ("tcg", "kvm")
    ]


def test_what_commands_used_is_known_in_guests_as_elsewhere(measured_run: Project) -> None:
    rows = measured_run.rows(
        "SELECT environment, user_s, max_rss_bytes, minor_faults, usage_source, usage_missing"
        " FROM v_invocation WHERE benchmark = 'cpu'"
    )
    assert {row["environment"] for row in rows} == {"native", "container", "vm"}
    for row in rows:
        assert (row["usage_source"], row["usage_missing"]) == ("wait4", None)
        assert row["user_s"] > 0.05 and 100 < row["minor_faults"] < 5000
        assert 1 << 20 < row["max_rss_bytes"] < 20 << 20


def test_every_guest_was_booted_for_its_own_invocation(measured_run: Project) -> None:
    consoles = artifacts(measured_run, "console", "vm")
    definitions = artifacts(measured_run, "domain_xml", "vm")
    invocations = measured_run.rows("SELECT 1 FROM v_invocation WHERE environment = 'vm'")
    assert len(consoles) == len(definitions) == len(invocations)
    assert len(set(definitions)) == len(definitions)
    assert all("perfctl: ssh" in console for console in consoles)
    assert (
        artifacts(measured_run, "console", "native") == artifacts(measured_run, "console", "container") == []
    )


def test_the_console_of_a_server_is_kept_too(measured_run: Project) -> None:
    servers = artifacts(measured_run, "server_domain_xml", "vm")
    assert len(servers) == 1
    assert not set(servers) & set(artifacts(measured_run, "domain_xml", "vm"))


def test_the_host_saw_a_containers_processes_and_a_guests_threads(measured_run: Project) -> None:
    names: dict[str, set[str]] = {}
    for environment in ("native", "container", "vm"):
        views = artifacts(measured_run, "host_view", environment)
        assert views
        names[environment] = {row[6] for view in views for row in own_rows(view)}
        assert all(view.splitlines()[-1].startswith("environment\t") for view in views)
    assert "sysbench" in names["native"]
    assert "sysbench" in names["container"]
    assert any(name.startswith("CPU 0/") for name in names["vm"]), names["vm"]
    assert "sysbench" not in names["vm"]


def test_guests_talk_to_guests_with_large_frames(measured_run: Project, vm_lab: LabAtHand) -> None:
    assert {len(ranges) for ranges in guest_ranges(vm_lab).values()} == {1}
    servers = server_addresses(measured_run)
    ranges = [network for networks in guest_ranges(vm_lab).values() for network in networks]
    assert any(servers["vm"] in network for network in ranges)
    assert not any(servers["container"] in network for network in ranges)
    facts = path_facts(measured_run)
    assert facts
    assert {value for name, value in facts if name.endswith("mtu_bytes")} == {"9000"}
    assert {value for name, value in facts if name.endswith("mtu_ping")} == {"ok"}


def guest_ranges(lab: LabAtHand) -> dict[str, list[Any]]:
    """Return the addresses that guests have on each host."""
    return {
        host: [
            ipaddress.ip_network(
                json.loads(lab.inside(host, "cat", "/var/lib/perfctl/vm/host.json"))["guest_range"]
            )
        ]
        for host in lab.hosts
    }


def server_addresses(project: Project) -> dict[str, Any]:
    """Return an address that was connected to from each environment."""
    found = {}
    sql = "SELECT environment, argv_json FROM v_invocation WHERE workload = 'netperf' AND status = 'ok'"
    for row in project.rows(sql):
        argv: list[str] = json.loads(row["argv_json"])
        found[row["environment"]] = ipaddress.ip_address(argv[argv.index("-H") + 1])
    return found


def path_facts(project: Project) -> list[tuple[str, str]]:
    """Return what was found out inside guests about the way to the other host."""
    sql = (
        "SELECT facts_json FROM fingerprint WHERE fingerprint_id IN (SELECT fingerprint_id FROM v_invocation "
        "WHERE environment = 'vm')"
    )
    with sqlite3.connect(f"file:{project.database}?mode=ro", uri=True) as connection:
        facts = [fact for (text,) in connection.execute(sql) for fact in json.loads(text)]
    return [(name, value) for name, _, value in facts if name.startswith("environment.path.")]


# ---- clients and servers in different environments ---------------------------------------------------------


@pytest.mark.slow
def test_guests_talk_to_containers_and_to_hosts_and_so_do_containers_in_guests(
    vm_lab: LabAtHand, tmp_path: Path
) -> None:
    project = project_of(vm_lab, tmp_path)
    names = ("vm-to-native", "vm-to-container", "container-in-vm")
    options = [word for name in names for word in ("--env", name)]
    path = suite(project, "rr", "netperf", '{ test = "TCP_RR", time_s = 1 }')
    measured(vm_lab, tmp_path, "--suite", path, "--env", "native", *options)
    rates = project.rows(
        "SELECT environment, value FROM v_value WHERE metric = 'transactions_per_second' AND status = 'ok'"
    )
    assert {row["environment"] for row in rates} == {"native", *names}
    assert all(row["value"] > 0 for row in rates)
    servers = server_addresses(project)
    hosts = {host.network_address for host in load_hosts([str(vm_lab.inventory)])}
    ranges = [network for networks in guest_ranges(vm_lab).values() for network in networks]
    assert str(servers["native"]) in hosts
    assert str(servers["vm-to-native"]) in hosts
    assert str(servers["vm-to-container"]) not in hosts
    assert not any(servers["vm-to-container"] in network for network in ranges)
    assert any(servers["container-in-vm"] in network for network in ranges)
    accelerators = project.rows("SELECT DISTINCT environment, accelerator FROM v_invocation")
    assert all((row["accelerator"] is None) == (row["environment"] == "native") for row in accelerators)
